"""LitServe, one worker."""

import sys
from typing import Any

import litserve
from network import predict
from starlette.requests import Request


class Served(litserve.LitAPI):
    def setup(self, device: str) -> None:
        """The network is in the module."""

    def decode_request(self, request: Request) -> Any:
        # LitServe reads the annotation, and gives the JSON of such a request
        return request["rows"]  # type: ignore[index]

    def predict(self, rows: Any) -> Any:
        return predict(rows).tolist()

    def encode_response(self, output: Any) -> Any:
        return {"probabilities": output}


if __name__ == "__main__":
    litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1).run(
        port=int(sys.argv[1]), host="127.0.0.1", log_level="warning", generate_client_file=False
    )
