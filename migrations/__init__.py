"""The migrations of the database's schema. Alembic's Config is built in code, without an alembic.ini."""
