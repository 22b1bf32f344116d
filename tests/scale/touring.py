"""A tour of all that is repeated: every address of the service, and every round of a worker."""

import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import insert, update

from service.context import Parts
from tests.conftest import SPEC
from tests.scale.meter import Meter
from tests.service.test_sessions import log_in, token_of
from worker.records.blobs import publish_blob, put_blob, start_blob
from worker.records.clock import seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.lease import Claim, claim_job
from worker.records.queue import claim_oldest
from worker.records.sessions import Database
from worker.records.tables import Checkpoint, HeldOut, Job
from worker.records.workers import any_alive, beat, holds_any
from worker.rescue import rescue_expired, ring_undelivered
from worker.running.attempt import claim_for
from worker.running.predicting import TablePredictor
from worker.running.run import Runner
from worker.settings import Retention
from worker.sweeping import all_sweeps

CSV = "a,b,label\n" + "".join(f"{n},{n * n % 7},{'xyz'[n % 3]}\n" for n in range(60))
ROW = [1.0, 2.0]
ID = re.compile(r"[a-z]{3}_[0-9a-f]{32}")
NO_DATABASE = {"/docs", "/ui/<path:path>", "/ui/static/<version>/<path:name>"}
QUEUED = 30
QUERIES = {
    "/v1/jobs": [
        "",
        "limit=100",
        "status=succeeded",
        "status=queued,running",
        "status=failed,cancelled&limit=100",
        "name=rare",
        "name=rare&status=succeeded",
        "name=common&status=running",
        "tag=rare",
        "tag=common&status=running",
        "tag=common&name=rare",
        "cursor={job_id}",
        "cursor={job_id}&status=succeeded&name=common",
    ],
    "/v1/jobs/<job_id>/curve": ["", "max_points=500", "after_epoch=2"],
    "/v1/jobs/<job_id>/export": ["format=safetensors", "format=onnx"],
    "/v1/models/<name>/versions/<int:version>/export": ["format=safetensors"],
    "/v1/models/<name>/compare": ["a=1&b=2"],
    "/v1/datasets/<dataset_id>/rows": ["limit=5"],
    "/ui/jobs": ["", "status=succeeded", "cursor={job_id}"],
    "/ui/jobs/rows": ["", "status=queued", "top={job_id}", "top={job_id}&status=succeeded"],
}
"The queries of an address; the others have none."


class Tour:
    """Takes the tour on one database, and counts what each step touches."""

    def __init__(self, app: Flask, client: FlaskClient, parts: Parts, meter: Meter) -> None:
        self.app, self.client, self.parts, self.meter = app, client, parts, meter
        self.visited: set[tuple[str, str]] = set()
        app.before_request(self._note)
        self.browser = app.test_client()
        log_in(self.browser)
        known: dict[str, Any] = {"database": parts.database, "datasets": parts.datasets, "settings": parts.settings}
        known |= {"shutdown": threading.Event(), "owner": "wrk_test"}
        self.runner = Runner(**known, announce=parts.doorbell.announce)
        self.predictor = TablePredictor(**known, storage=parts.storage)
        self.ids: dict[str, Any] = {}

    def _note(self) -> None:
        if request.url_rule is not None:
            self.visited.add((request.method, request.url_rule.rule))

    def do(self, step: str, work: Callable[[], Any]) -> Any:
        self.meter.step = step
        try:
            return work()
        finally:
            self.meter.step = ""

    def send(self, method: str, path: str, *, browser: bool = False, **options: Any) -> Any:
        """Send a request as a step of the tour, and return the answer, which must not be a refusal."""
        client = self.browser if browser else self.client
        answer = self.do(f"{method} {ID.sub('ID', path)}", lambda: client.open(path, method=method, **options))
        assert answer.status_code < 400, (method, path, answer.status_code, answer.get_data(as_text=True)[:500])
        return answer

    def unvisited(self) -> set[tuple[str, str]]:
        """Return the method and path of each address that the tour has not been to."""
        known = {
            (method, rule.rule)
            for rule in self.app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if rule.rule not in NO_DATABASE
        }
        return known - self.visited

    def seed(self) -> None:
        """Make what is then copied: jobs that have ended in each way, a model, and all that belongs to them."""
        dataset_id = self._upload(CSV)
        dataset: dict[str, Any] = {
            "dataset": {"source": "stored", "id": dataset_id},
            "name": "common",
            "tags": ["common"],
        }
        training = {"epochs": 3, "batch_size": 20, "snapshots": 2, "replay_steps": [1]}
        first = self._submit(**dataset, model="seed", training=training, key="first")
        self._run(first)
        self._run(self._submit(**dataset, model="seed", training={"epochs": 1}))
        self._run(self._submit(**dataset, training={"epochs": 1}, start_from={"job": first}))
        self._run(self._submit(**dataset, training={"optimizer": {"type": "sgd", "learning_rate": 1000.0}}))
        self.client.post(f"/v1/jobs/{self._submit(**dataset)}/cancel")
        for version in (1, 2, 1):
            self.client.put("/v1/models/seed/aliases/production", json={"version": version})
        weights = self.client.get("/v1/models/seed/versions/1/export?format=safetensors").data
        self._import("imported", weights)
        predicted = self.client.post("/v1/models/seed/predict", json={"dataset": dataset["dataset"]}).get_json()["id"]
        assert self.predictor.run_prediction(predicted) == "succeeded"
        self.parts.database.write(lambda session: start_blob(session, DEFAULT_PROJECT, b"abandoned"))

        def add_checkpoint(session: Any) -> None:
            blob_id = put_blob(session, DEFAULT_PROJECT, b"state")
            publish_blob(session, blob_id)
            known = {"id": new_id("ckp"), "project_id": DEFAULT_PROJECT, "job_id": first, "blob_id": blob_id}
            session.execute(insert(Checkpoint).values(**known, attempt=1, epoch=1, step=0, fingerprint={}))

        self.parts.database.write(add_checkpoint)
        self._hold_out(first)

    def _hold_out(self, job_id: str) -> None:
        """Give a job what one with folds has: no job can have that and kept steps."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([("row", pa.int64())])):
            pass

        def add(session: Any) -> None:
            blob_id = put_blob(session, DEFAULT_PROJECT, sink.getvalue().to_pybytes())
            publish_blob(session, blob_id)
            session.execute(insert(HeldOut).values(project_id=DEFAULT_PROJECT, job_id=job_id, blob_id=blob_id))

        self.parts.database.write(add)

    def settle(self) -> None:
        """Make what is rare, and a queue: the same beside few rows as beside many."""
        dataset_id = self._upload(CSV.replace("\n1,", "\n1.5,"))
        dataset: dict[str, Any] = {"dataset": {"source": "stored", "id": dataset_id}}
        training = {"epochs": 5, "batch_size": 20, "snapshots": 2, "replay_steps": [1]}
        job_id = self._submit(**dataset, name="rare", tags=["rare"], model="rare", training=training)
        self._run(job_id)
        self._hold_out(job_id)
        self._run(self._submit(**dataset, name="rare", model="rare", training={"epochs": 1}))
        self.client.put("/v1/models/rare/aliases/production", json={"version": 1})
        predicted = self.client.post("/v1/models/rare/predict", json=dataset).get_json()["id"]
        assert self.predictor.run_prediction(predicted) == "succeeded"
        for _ in range(QUEUED):
            self._submit(name="waits", training={"epochs": 1})
        self.ids = {"job_id": job_id, "name": "rare", "alias": "production", "version": 1, "step": 1}
        self.ids |= {"dataset_id": dataset_id, "prediction_id": predicted}

    def take(self) -> None:
        """Visit every address, and do what a worker does."""
        self._read()
        self._ask()
        self._write()
        self._work()

    def _read(self) -> None:
        for rule in sorted(self.app.url_map.iter_rules(), key=str):
            if "GET" not in (rule.methods or set()) or rule.rule in NO_DATABASE:
                continue
            path = rule.rule.replace("<int:version>", "<version>")
            path = path.replace("<", "{").replace(">", "}").format(**self.ids)
            for query in QUERIES.get(rule.rule, [""]):
                address = path + ("?" + query.format(**self.ids) if query else "")
                self.send("GET", address, browser=rule.rule.startswith("/ui") or rule.rule == "/")

    def _ask(self) -> None:
        body = {"rows": [ROW]}
        for path in ("models/rare", "models/rare/versions/1", "models/rare/aliases/production"):
            self.send("POST", f"/v1/{path}/predict", json=body)
        self.send("POST", f"/v1/jobs/{self.ids['job_id']}/predict", json=body)
        tensor = {"name": "rows", "datatype": "FP64", "shape": [1, 2], "data": ROW}
        for path in ("rare", "rare/versions/1"):
            self.send("POST", f"/v2/models/{path}/infer", json={"inputs": [tensor]})
            self.send("POST", f"/models/{path}/invocations", json={"inputs": [ROW]})
        self.send("POST", "/v2/repository/index", json={})
        question = {"weight": {"layer": 0, "from": 1, "to": 2}}
        self.send("POST", f"/v1/jobs/{self.ids['job_id']}/chain-rule", json=question | {"dataset_row": 3})

    def _write(self) -> None:
        table: dict[str, Any] = {"data": b"a,b\n1,2\n3,4\n", "content_type": "text/csv"}
        dataset_id = self.send("POST", "/v1/datasets", **table).get_json()["id"]
        headers = {"Idempotency-Key": "again"}
        job_id = self.send("POST", "/v1/jobs", json=SPEC, headers=headers).get_json()["id"]
        self.send("POST", "/v1/jobs", json=SPEC, headers=headers)
        for change in ("pause", "resume", "cancel"):
            self.send("POST", f"/v1/jobs/{job_id}/{change}")
        self.send("POST", f"/v1/jobs/{job_id}/retry", json={})
        self.send("DELETE", f"/v1/jobs/{job_id}")
        rare = self.ids["job_id"]
        self.send("POST", "/v1/models", json={"name": "other", "job_id": rare})
        self.send("PATCH", "/v1/models/other", json={"description": "one more"})
        weights = self.client.get(f"/v1/jobs/{rare}/export?format=safetensors").data
        self.do("import", partial(self._import, "other", weights))
        self.send("PUT", "/v1/models/other/aliases/new", json={"version": 1})
        self.send("DELETE", "/v1/models/other/aliases/new")
        self.send("DELETE", "/v1/models/other/versions/2")
        self.send("DELETE", "/v1/models/other")
        asked = {"dataset": {"source": "stored", "id": self.ids["dataset_id"]}}
        predicted = self.send("POST", "/v1/models/rare/predict", json=asked).get_json()["id"]
        self.do("predict a table", lambda: self.predictor.run_prediction(predicted))
        self.send("DELETE", f"/v1/predictions/{predicted}")
        self.send("DELETE", f"/v1/datasets/{dataset_id}")
        token = token_of(self.browser, "/ui/jobs")
        form: dict[str, Any] = {"browser": True, "data": {"csrf_token": token}}
        self.send("POST", "/ui/jobs/example", **form)
        waiting = self._submit(name="waits")
        for change in ("pause", "resume", "cancel"):
            self.send("POST", f"/ui/jobs/{waiting}/{change}", **form)
        self.send("POST", "/ui/logout", **form)
        self.do("log in", lambda: log_in(self.browser))

    def _work(self) -> None:
        database, doorbell = self.parts.database, self.parts.doorbell
        known: dict[str, Any] = {"hostname": "here", "pid": 1, "processes": 2, "version": "1"}
        for _ in range(2):
            self.do("beat", lambda: database.write(lambda session: beat(session, "wrk_test", **known)))
        with database.reading() as session:
            self.do("look for workers", lambda: any_alive(session, lease_seconds=30))
            self.do("look for own work", lambda: holds_any(session, "wrk_test"))
        self.do("ring", lambda: ring_undelivered(database, doorbell))
        claim = self.do("claim", lambda: claim_for(self.runner, claim_oldest))
        assert isinstance(claim, Claim)
        assert self.do("run", lambda: self.runner.run_claim(claim)) == "succeeded"
        long = self._submit(
            name="rare",
            dataset={"source": "stored", "id": self.ids["dataset_id"]},
            model="rare",
            training={"epochs": 400, "batch_size": 1, "checkpoint_seconds": 0.1, "snapshots": 3, "replay_steps": [1]},
        )
        assert self.do("run a long job", lambda: self.runner.run_job(long)) == "succeeded"
        self.do("delete a job", lambda: self.client.delete(f"/v1/jobs/{self._finished()}"))
        self._expire(database)
        assert self.do("rescue", lambda: rescue_expired(database, doorbell))
        retention = Retention.model_validate(dict.fromkeys(Retention.model_fields, 30.0))
        # once each: how often they find time in a round depends on the machine, and so does what is left to the next
        for sweep in all_sweeps(retention):
            self.do("sweep", partial(database.write, sweep))
        self.do("sweep", self.parts.datasets.sweep)

    def _finished(self) -> str:
        job_id = self._submit(name="gone", training={"epochs": 2, "snapshots": 2})
        self._run(job_id)
        return job_id

    def _expire(self, database: Database) -> None:
        """Have a job whose worker has died."""
        job_id = self._submit(name="lost")
        claimed = partial(claim_job, job_id=job_id, owner="wrk_gone", lease_seconds=30)
        assert database.write(claimed) is not None
        lost = update(Job).where(Job.id == job_id).values(lease_until=seconds_from_now(-60))
        database.write(lambda session: session.execute(lost))

    def _upload(self, table: str) -> str:
        answer = self.client.post("/v1/datasets", data=table.encode(), content_type="text/csv")
        found: str = answer.get_json()["id"]
        return found

    def _submit(self, key: str | None = None, **changes: Any) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        spec = SPEC | changes | {"training": SPEC["training"] | changes.get("training", {})}
        answer = self.client.post("/v1/jobs", json=spec, headers=headers)
        assert answer.status_code == 202, answer.get_json()
        found: str = answer.get_json()["id"]
        return found

    def _run(self, job_id: str) -> None:
        assert self.runner.run_job(job_id) in ("succeeded", "failed")

    def _import(self, name: str, weights: bytes) -> None:
        address = f"/v1/models/{name}/versions?format=safetensors"
        answer = self.client.post(address, data=weights, content_type="application/octet-stream")
        assert answer.status_code == 201, answer.get_json()
