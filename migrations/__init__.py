"""The database's schema and how it came to be. Alembic's Config is built in code; there is no alembic.ini."""
