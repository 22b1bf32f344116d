"""Every row of the database. Callers open and commit the session; each file is one use of the record."""
