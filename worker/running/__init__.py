"""One claimed row, job or table prediction, from claim to end: load, fit or predict, record. No Celery here."""
