"""Training processes: the process itself (child.py), and how a worker watches over it (parent.py).

The path of a SIGTERM: `worker.tasks` asks the processes to end, `parent.py` passes the signal on, `child.py` sets the
event that `running/stopping.py` reads after each step, and `running/run.py` takes a checkpoint and releases the job.
"""
