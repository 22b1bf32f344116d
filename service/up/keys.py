"""API keys: made from a secure generator, with a checksum by which scanners of leaked text know them."""

import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_letters
ID_LENGTH = 10
# 62^32 is 190 bits
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6


def new_key(environment: str = "local") -> str:
    """Such as gm_local_<id>_<secret>_<checksum>; the checksum is the CRC-32 of what is before it, in base 62."""
    parts = (_random(ID_LENGTH), _random(SECRET_LENGTH))
    body = "_".join(("gm", environment, *parts))
    return f"{body}_{_base62(zlib.crc32(body.encode()))}"


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _base62(number: int) -> str:
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits
