"""Where a training process begins. Its parent imports this module, and never trains: it does without the rest."""

from multiprocessing.connection import Connection

PULSE_SECONDS = 0.5


def main(parent: Connection, owner: str) -> None:
    """Run a training process. owner: the id of the worker, in whose name jobs are claimed."""
    from worker.processes.child import Child  # the fork server has imported it; the parent need not

    Child(parent, owner).live()
