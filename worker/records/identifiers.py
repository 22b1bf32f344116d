"""Ids: a prefix and a UUIDv7, so that listing by id is listing by time. Source: RFC 9562, section 5.7."""

from typing import Literal

import uuid_utils

Prefix = Literal["job", "dst", "mdl", "wts", "blb", "ckp", "wrk", "prj", "mov", "prd", "net"]

DEFAULT_PROJECT = "prj_default"
"The only project, until API keys can be managed."


def new_id(prefix: Prefix) -> str:
    """Return a new id, such as job_01938c6e9f3a7c0e8d5a4b3c2d1e0f9a."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"


def age_key(known: str) -> str:
    """Return the part of an id by which ids of different prefixes sort by time."""
    return known.partition("_")[2]
