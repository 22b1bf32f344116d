"""One job, from claim to end: load, build, fit, record. No Celery here; watchers are told through a callable."""
