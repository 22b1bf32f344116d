"""One attempt at a job or table prediction, from claim to end: load, train or predict, record. No Celery here."""
