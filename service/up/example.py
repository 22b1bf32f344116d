"""The digits example, run as a client would: submit the job over HTTP, watch its events, predict."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits

from service.up.supervisor import Running
from worker.errors import StartError

SPEC = {
    "name": "digits",
    "dataset": {"source": "builtin", "name": "digits"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 64, "activation": "relu"}, {"type": "dropout", "rate": 0.1}]},
    "training": {"epochs": 60, "test": {"fraction": 0.1}, "early_stopping": {"patience": 10}},
    "tags": ["example"],
}
"The job of the README's example."


def run_example(running: Running, console: Console) -> None:
    """Run the example and print what it gives. Raises StartError if the job does not succeed."""
    if not running.has_worker:
        raise StartError(f"The example needs a worker, which ended at its start: see {running.settings.data_dir}/logs.")
    headers = {"Authorization": f"Bearer {running.settings.api_key.get_secret_value()}"}
    with httpx2.Client(base_url=running.url, headers=headers, timeout=30) as client:
        job = client.post("/v1/jobs", json=SPEC).raise_for_status().json()
        console.print(f"Submitted [bold]{job['name']}[/bold] as {job['id']}: {job['parameters']} parameters.")
        job = _watch(client, job, console)
        if job["status"] != "succeeded":
            raise StartError(f"The example ended as {job['status']}: {job['error']}")
        figures = job["test"]["metrics"]
        console.print(f"Test accuracy [bold]{figures['accuracy']:.3f}[/bold] on rows it never saw.")
        _predict(client, job, running, console)


def _watch(client: httpx2.Client, job: dict[str, Any], console: Console) -> dict[str, Any]:
    """Show the epochs as they arrive. Return the job as it ended."""
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=job["progress"]["epochs"], loss="")
        for event, data in _events(client, job["links"]["events"]):
            if event == "epoch":
                loss = f"loss {data['train_loss']:.4f}  validation {data['validation_loss']:.4f}"
                progress.update(bar, completed=data["epoch"], loss=loss)
            if event == "end":
                return dict(data)
    raise StartError("The stream of events ended before the job did.")


def _events(client: httpx2.Client, address: str) -> Iterator[tuple[str, Any]]:
    with client.stream("GET", address, headers={"Accept": "application/x-ndjson"}) as response:
        for line in response.iter_lines():
            document = json.loads(line)
            yield document["event"], document.get("data")


def _predict(client: httpx2.Client, job: dict[str, Any], running: Running, console: Console) -> None:
    digits = load_digits()
    body = {"rows": [[int(pixel) for pixel in digits.data[0]]]}
    answer = client.post(job["links"]["predict"], json=body).raise_for_status().json()
    probability = max(answer["probabilities"][0])
    console.print(
        f"Predicted [bold]{answer['predictions'][0]}[/bold] ({probability:.1%}) for a {digits.target[0]}, with:\n"
    )
    # not formatted: rich would break the line, and the user copies it
    console.print(_curl(running, job["links"]["predict"], body), highlight=False, markup=False, soft_wrap=True)


def _curl(running: Running, address: str, body: dict[str, Any]) -> str:
    """Return the same request as a shell command. It reads the key from a file, so that the key is not shown."""
    kept = running.settings.data_dir / "api_key"
    key = f"$(cat {shlex.quote(str(kept))})" if kept.exists() else "$GRADMILL_API_KEY"
    document = json.dumps(body, separators=(",", ":"))
    return (
        f'curl -s {running.url}{address} -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d '{document}'"
    )
