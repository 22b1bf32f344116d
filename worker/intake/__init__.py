"""Turns a specification into a stored, queued job: its dataset, its design and cost, and its submission.

May import insight, networks, data, records, backprop and specs; knows no HTTP and no Celery.
"""
