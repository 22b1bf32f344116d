"""Requests and answers, one file a resource: what is parsed, and what the OpenAPI page shows."""
