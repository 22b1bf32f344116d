"""MLflow's scoring server, one uvicorn worker."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow

if __name__ == "__main__":
    from network import predict

    class Served(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return predict(model_input)

    folder = Path(tempfile.mkdtemp()) / "model"
    mlflow.pyfunc.save_model(str(folder), python_model=Served(), code_paths=[str(Path(__file__).parent / "network.py")])
    # it looks for uvicorn there
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"] = "60"
    words = [
        "models",
        "serve",
        "-m",
        str(folder),
        "-p",
        sys.argv[1],
        "-h",
        "127.0.0.1",
        "--env-manager",
        "local",
        "-w",
        "1",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *words])
