"""From a specification to a stored, queued job: its datasets, its design and cost, and the submission.

May import insight, networks, data, records, backprop and specs; knows no HTTP and no Celery.
"""
