"""Which release this is."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Of the installed package. Kept: reading it takes a quarter of a millisecond."""
    return metadata.version("gradmill")
