"""Write a new migration from what the tables have and the database lacks: `python -m migrations "What it does"`."""

import sys

from alembic import command

from migrations.schema import configuration, upgrade
from worker.records.sessions import make_engine
from worker.settings import Settings

engine = make_engine(Settings().database)
upgrade(engine)
with engine.begin() as connection:
    command.revision(configuration(connection), message=sys.argv[1], autogenerate=True)
