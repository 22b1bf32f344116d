"""An async FastAPI route on uvicorn with uvloop."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from network import predict

app = FastAPI()


@app.post("/predict")
async def answer(request: Request) -> Any:
    return {"probabilities": predict((await request.json())["rows"]).tolist()}


uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop", http="httptools")
