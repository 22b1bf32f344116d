"""The data folder's API key: made once, private, and recognisable by its checksum."""

import re
import string
import zlib
from pathlib import Path

from service.up.folder import key_of


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """The second start finds the key of the first, in a file with mode 600; another folder gets another key."""
    key = key_of(tmp_path)
    assert key_of(tmp_path) == key
    assert (tmp_path / "api_key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").mkdir()
    assert key_of(tmp_path / "other") != key


def test_a_keys_checksum_is_the_crc_of_the_text_before_it(tmp_path: Path) -> None:
    """Scanners of leaked text can tell a key from a similar text: its last six characters are a CRC-32 in base 62."""
    found = re.fullmatch(r"(gm_local_[0-9A-Za-z]{10}_[0-9A-Za-z]{32})_([0-9A-Za-z]{6})", key_of(tmp_path))
    assert found is not None
    digits = string.digits + string.ascii_letters
    assert sum(digits.index(digit) * 62**n for n, digit in enumerate(reversed(found[2]))) == zlib.crc32(
        found[1].encode()
    )
