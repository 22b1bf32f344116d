"""Requests and answers, one file for each resource: they validate requests and make the OpenAPI document."""
