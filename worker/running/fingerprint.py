"""What the bits of a run depend on besides its job."""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_info


def fingerprint(threads: int) -> dict[str, Any]:
    """NumPy, the BLAS kernel, and its threads: by these a resume elsewhere can tell that it is elsewhere."""
    blas: dict[str, Any] = next((info for info in threadpool_info() if info["user_api"] == "blas"), {})
    return {
        "numpy": np.__version__,
        "blas": [blas.get("internal_api"), blas.get("version"), blas.get("architecture")],
        "threads": threads,
    }
