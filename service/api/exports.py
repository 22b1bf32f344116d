"""Routes that export a job's or a version's network as a file: safetensors, ONNX, or a PyTorch program."""

from collections.abc import Iterator
from typing import assert_never

from service.api.responses import CONFLICT, NOT_FOUND, NOT_MODIFIED, problem
from service.conditional import conditional
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.reply import Reply
from service.request import request
from service.schemas import exports as schemas
from service.schemas.exports import Format
from worker.networks.pytorch import to_pytorch
from worker.networks.safetensors import to_safetensors
from worker.networks.trained import Origin, read_origin, read_published
from worker.records.blobs import iterate_blob
from worker.records.jobs import get_job
from worker.records.versions import find_version
from worker.records.weights import find_weights, find_weights_id

operations = Operations("exports")

BINARY, PROGRAM = "application/octet-stream", "text/x-python"
SUFFIXES: dict[Format, str] = {"safetensors": "safetensors", "onnx": "onnx", "pytorch": "py"}
EXPORTED = Answer("The file.", None, (BINARY, PROGRAM), headers={"ETag": "By the weights.", "Content-Disposition": ""})


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/export",
    policy="jobs:read",
    query=schemas.JobExportQuery,
    answers={200: EXPORTED, 304: NOT_MODIFIED, 404: NOT_FOUND, 409: CONFLICT},
)
def export_job(job_id: str, query: schemas.JobExportQuery) -> Reply:
    """Export a job's network as a file: the final one, the latest, or that of an epoch that was kept."""
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        origin = read_origin(session, find_weights_id(session, job_id, query.checkpoint))
    return exported(origin, query.format, f"{job_id}-{origin.epoch}")


@operations.declare(
    "GET",
    "/v1/models/<name>/versions/<int:version>/export",
    policy="models:read",
    query=schemas.ExportQuery,
    answers={
        200: EXPORTED,
        304: NOT_MODIFIED,
        404: problem("No such version."),
    },
)
def export_version(name: str, version: int, query: schemas.ExportQuery) -> Reply:
    """Export a model's version as a file."""
    with parts().database.reading() as session:
        found = find_version(session, project_id(), name, version=version)
        origin = read_origin(session, found.weights_id)
    return exported(origin, query.format, f"{name}-{version}")


def exported(origin: Origin, kind: Format, name: str) -> Reply:
    """Return the file as an answer. name: the file's name without its extension."""
    content = b"" if request().if_none_match.contains_weak(origin.weights_id) else _content(origin, kind)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{SUFFIXES[kind]}"'}
    reply = Reply(content, content_type=PROGRAM if kind == "pytorch" else BINARY, headers=headers)
    # weak: another version of gradmill may write another file
    return conditional(reply, origin.weights_id, weak=True)


def _content(origin: Origin, kind: Format) -> Iterator[bytes] | bytes:
    match kind:
        case "safetensors":
            return _safetensors(origin)
        case "pytorch":
            return to_pytorch(origin).encode()
        case "onnx":
            # imported late: onnx takes a seventh of a second, and most processes never export
            from worker.networks.onnx.writer import to_onnx

            with parts().database.reading() as session:
                published = read_published(session, origin.weights_id)
            return to_onnx(published)
        case _:
            assert_never(kind)


def _safetensors(origin: Origin) -> Iterator[bytes]:
    database = parts().database
    with database.reading() as session:
        blob_id = find_weights(session, origin.weights_id).blob_id
    return to_safetensors(origin, iterate_blob(database, blob_id))
