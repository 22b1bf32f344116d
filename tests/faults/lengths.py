"""How much of the injected faults a run tries: `make test` the short form, `make faults` (GRADMILL_TEST_LONG) all."""

import os

IS_LONG = bool(os.environ.get("GRADMILL_TEST_LONG"))
DATABASES = ["sqlite", "postgresql"] if IS_LONG else ["postgresql"]
"For faults that take long and do not depend on the database."
WHOLE_WORKER = [False, True] if IS_LONG else [False]
"Whether a whole worker is killed, or only its process. The short form kills whole workers in tests/up alone."
LONG_ONLY = ["test_backup.py", "test_lost_database.py"]
"Drills of a lost machine. The short form has tests/worker/backup and tests/worker/intake, on both databases."
