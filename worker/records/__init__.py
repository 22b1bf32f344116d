"""The record: the tables of the database, and the functions that read and write them. Callers commit the session."""
