"""The data folder: its owner's only; and its API key: made once, private, and recognisable by its checksum."""

import os
import re
import stat
import string
import zlib
from pathlib import Path

import pytest

from service.up.folder import key_of, tighten


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


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o2750])
def test_a_folder_that_others_may_open_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    """A sentence says so, once."""
    tmp_path.chmod(mode)
    said = tighten(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert said is not None
    assert f"{tmp_path} (mode {mode:04o})" in said
    assert tighten(tmp_path) is None


def test_another_users_folder_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may share it on purpose."""
    tmp_path.chmod(0o755)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert tighten(tmp_path) is None
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
