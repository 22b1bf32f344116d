"""The links in the documents of the API."""

from worker.records.snapshots import Snapshot

OF_A_JOB = (
    "curve", "events", "predict", "weights", "evaluation", "chain-rule", "certificate", "histograms", "steps",
    "held-out",
)  # fmt: skip


def with_links(snapshot: Snapshot) -> Snapshot:
    """Return the job with links to everything that belongs to it."""
    own = f"/v1/jobs/{snapshot['id']}"
    links = (
        {"self": own}
        | {name.replace("-", "_"): f"{own}/{name}" for name in OF_A_JOB}
        | {"page": f"/ui/jobs/{snapshot['id']}"}
    )
    return snapshot | {"links": links}
