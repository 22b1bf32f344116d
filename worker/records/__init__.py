"""Every row. Callers open and commit the session; each file is one story of a job's record."""
