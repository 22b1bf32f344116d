"""`gradmill db`: exit codes and one plain line for each foreseeable fault, and no secret in it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tests.conftest import spec_of
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.settings import Limits

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, _sqlite_template: Path) -> Path:
    """A data folder with an upload."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(_sqlite_template, folder / "gradmill.db")
    database = Database(f"sqlite:///{folder / 'gradmill.db'}")
    Datasets(database, Storage(str(folder / "datasets")), Limits()).store(DEFAULT_PROJECT, "t", b"x,label\n1,2\n2,3\n")
    database.close()
    assert spec_of()
    return folder


@pytest.fixture
def run(folder: Path) -> Run:
    def run(*words: str, data: Path = folder, **environment: str) -> Result:
        environment = {"GRADMILL_DATA_DIR": str(data)} | environment
        return CliRunner().invoke(main, ["db", *words], env=environment, catch_exceptions=False)

    return run


def refused(result: Result, *words: str) -> None:
    """Exit code 1 and one line."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_back_up_restore_and_check_say_what_they_did(run: Run, tmp_path: Path) -> None:
    """Each in a line; exit code 0."""
    backup, new = str(tmp_path / "backup"), tmp_path / "new"
    done = run("backup", backup)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"Backed up 3 rows and 1 object (0.0 MB) to {backup}.\n"
    assert run("check", "--backup", backup).stdout == "Checked no jobs, no blobs, 1 object: no faults.\n"
    restored = run("restore", backup, data=new)
    assert (restored.exit_code, restored.stderr) == (0, "")
    assert restored.stdout.startswith(f"Restored 3 rows and 1 object (0.0 MB) from {backup}, as of 20")
    assert run("check", data=new).stdout == "Checked no jobs, no blobs, 1 object: no faults.\n"


def test_a_fault_is_printed_and_exits_1(run: Run, folder: Path, tmp_path: Path) -> None:
    """A lost object: by check in words and as JSON, and by a backup, which has the rest."""
    (path,) = (folder / "datasets").iterdir()
    path.unlink()
    (folder / "datasets" / "dst_stray").write_text("x")
    done = run("check")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"fault: object {path.name} is not in the storage",
        "unused: object dst_stray is named by no row",
        "Checked no jobs, no blobs, 1 object: 1 fault.",
    ]
    unknown = run("unknown")
    assert (unknown.exit_code, unknown.stdout) == (0, "dst_stray\n")
    as_json = run("check", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (
        1,
        {
            "sound": False,
            "checked": {"jobs": 0, "blobs": 0, "objects": 1},
            "findings": [
                {"subject": f"object {path.name}", "detail": "is not in the storage", "is_fault": True},
                {"subject": "object dst_stray", "detail": "is named by no row", "is_fault": False},
            ],
        },
    )
    backup = run("backup", str(tmp_path / "backup"))
    assert (backup.exit_code, backup.stderr) == (1, f"Not in the backup: object {path.name} is not in the storage.\n")
    (tmp_path / "new").mkdir(mode=0o755)
    restored = run("restore", str(tmp_path / "backup"), data=tmp_path / "new")
    assert restored.exit_code == 0
    assert "(mode 0755). Now only you can (0700)." in restored.stdout
    assert f"The backup lacks the object {path.name}: it is not in the storage" in restored.stderr


def test_foreseeable_faults_are_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    """Nothing to back up, nothing to restore, a place that can't be written, a folder in use."""
    refused(run("backup", str(tmp_path / "backup"), data=tmp_path / "none"), "There is no database at")
    refused(run("restore", str(tmp_path / "none"), data=tmp_path / "new"), "holds no whole backup")
    assert not (tmp_path / "new").exists()
    refused(run("check", "--backup", str(folder)), "holds no whole backup")
    refused(run("backup", str(folder)), "is not an empty folder")
    (tmp_path / "file").write_text("")
    refused(run("backup", str(tmp_path / "file" / "backup")), "Not a directory")
    run("backup", str(tmp_path / "backup"))
    refused(run("restore", str(tmp_path / "backup")), "The database is not empty: it has rows in datasets")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "gradmill.db").write_text("this is no database, whatever its name says" * 100)
    refused(run("check", data=tmp_path / "torn"), "The database can't be used: file is not a database")


def test_a_database_that_is_away_is_one_line_without_its_password(run: Run, tmp_path: Path) -> None:
    """The kind of error and the setting to look at; no part of the URL."""
    url = "postgresql://someone:pass-word@127.0.0.1:9/none"
    for words in (("backup", str(tmp_path / "b")), ("check",), ("unknown",)):
        done = run(*words, GRADMILL_DATABASE_URL=url)
        refused(done, "The database can't be used: OperationalError. Check GRADMILL_DATABASE_URL.")
        assert "pass-word" not in done.output + done.stderr
    assert list(tmp_path.glob("b*")) == []


def test_a_bad_setting_is_one_line(run: Run) -> None:
    """As from every other command."""
    refused(run("check", GRADMILL_DATABASE_URL="mysql://x"), "GRADMILL_DATABASE_URL must begin with")
