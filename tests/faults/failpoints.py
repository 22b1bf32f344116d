"""Faults at named places of a running product; see sabotage/sitecustomize.py."""

import os
import time
from pathlib import Path

SABOTAGE = Path(__file__).parent / "sabotage"
# the code under test is this tree's, wherever an installed gradmill comes from
PYTHONPATH = os.pathsep.join([str(SABOTAGE), str(Path(__file__).parents[2])])


class Failpoint:
    """Chooses the one place where a process of the product fails next."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "failpoint"

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": PYTHONPATH, "GRADMILL_TEST_FAILPOINT": str(self._file)}

    def set(self, point: str, when: str, action: str) -> None:
        """point: `module:function`, one of those that are wrapped; when: before or after the call."""
        for old in self._file.parent.glob("failpoint.*"):
            old.unlink()
        # whole at once: a process that looks meanwhile sees nothing
        part = self._file.with_suffix(".new")
        part.write_text(f"{point} {when} {action}")
        part.rename(self._file)

    def wait_until_hit(self, seconds: float = 30) -> int:
        """Wait until a process has failed there, and return its pid."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for hit in self._file.parent.glob("failpoint.[0-9]*"):
                return int(hit.suffix[1:])
            time.sleep(0.01)
        raise AssertionError(f"nothing came by {self._file.read_text()}")
