"""Celery and Redis at the edge: the app, its transport and pool, and the doorbell.

A message carries an id and nothing else; the truth is in SQL.
"""
