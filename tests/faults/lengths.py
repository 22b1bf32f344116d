"""How much of the injected faults a run tries: `make test` the short form, `make faults` (GRADMILL_TEST_LONG) all."""

import os

IS_LONG = bool(os.environ.get("GRADMILL_TEST_LONG"))
DATABASES = ["sqlite", "postgresql"] if IS_LONG else ["postgresql"]
"For faults that take long and do not depend on the database. Kills at named places are tried on both in either form."
