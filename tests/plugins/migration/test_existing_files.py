"""hven new from resource descriptors leaves existing files as they are, and leaves nothing behind if it fails."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from migration_sites import convert, create_site

from hven.model.errors import ConflictError, SourceError
from hven.model.settings import Settings
from hven.plugins.migration import draft_pruning
from process_runner import run_hven

DRAFTED_FILES = ("moons.yaml", "dachs_code.py", "migration-report.txt")
CSV_DESCRIPTOR = """<resource schema="sky"><table id="stars" onDisk="True">
<column name="flux" type="real"/><column name="lost" type="real"/></table>
<data id="import"><sources pattern="{pattern}" recurse="{recurse}"/><csvGrammar/>
<make table="stars"><rowmaker><map key="flux" source="flux"/><map key="lost" source="absent"/></rowmaker></make>
</data></resource>"""
KILLED_PROGRAM = """
import os, signal, sys
from pathlib import Path
from migration_sites import convert
from hven.model.settings import load_settings
from hven.plugins.migration import draft_pruning
draft_pruning.check_descriptor = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
site = Path(sys.argv[1])
convert(load_settings(site), "moons", site / "inputs/moons/q.rd")
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return create_site(tmp_path)


def read_tree(directory: Path) -> dict[str, bytes | None]:
    """Read all files and directories; a directory has no bytes."""
    paths = sorted(directory.rglob("*"))
    return {path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.mark.parametrize("name", ["moons", "*"])
def test_files_of_a_curator_survive(name: str, settings: Settings) -> None:
    inputs = settings.directory / "inputs"
    convert(settings, name, inputs)
    for file_name in DRAFTED_FILES:
        with (settings.collections_directory / "moons" / file_name).open("ab") as file:
            file.write(b"# changed by the curator\r\n")
    contents = read_tree(settings.directory)
    with pytest.raises(ConflictError, match="already exists"):
        convert(settings, name, inputs)
    assert read_tree(settings.directory) == contents


@pytest.mark.parametrize("file_name", DRAFTED_FILES)
@pytest.mark.parametrize("name", ["moons", "*"])
def test_one_file_is_enough_to_refuse(
    name: str, file_name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = settings.collections_directory / "moons"
    directory.mkdir(parents=True)
    (directory / file_name).write_bytes(b"mine")
    contents = read_tree(settings.directory)
    monkeypatch.setattr(draft_pruning, "check_descriptor", lambda *_: pytest.fail("it was drafted"))
    with pytest.raises(ConflictError, match=file_name):
        convert(settings, name, settings.directory / "inputs")
    assert read_tree(settings.directory) == contents


@pytest.mark.parametrize("has_data", [False, True])
@pytest.mark.parametrize("error", [SourceError("a fault"), KeyboardInterrupt()])
def test_a_draft_that_fails_leaves_nothing_behind(
    error: BaseException, has_data: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_data:
        (settings.collections_directory / "moons/data").mkdir(parents=True)
        (settings.collections_directory / "moons/data/a.txt").write_text("rows")
    contents = read_tree(settings.directory)
    checked_paths = []

    def fail(path: Path, _settings: Settings) -> None:
        checked_paths.append(path)
        assert path.is_file()
        raise error

    monkeypatch.setattr(draft_pruning, "check_descriptor", fail)
    with pytest.raises(type(error)):
        convert(settings, "moons", settings.directory / "inputs/moons/q.rd")
    assert len(checked_paths) == 1
    assert read_tree(settings.directory) == contents


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_files_that_cannot_be_written_leave_nothing_behind(
    error: BaseException, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = read_tree(settings.directory)
    open_file = Path.open

    def fail(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "migration-report.txt":
            assert path.with_name("moons.yaml").exists()
            raise error
        return open_file(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(type(error)):
        convert(settings, "moons", settings.directory / "inputs/moons/q.rd")
    monkeypatch.undo()
    assert read_tree(settings.directory) == contents


def test_what_a_killed_draft_leaves_is_no_collection(settings: Settings) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_PROGRAM, str(settings.directory)],
        env={"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (leftover,) = settings.collections_directory.iterdir()
    assert list(leftover.rglob("moons.yaml"))
    assert settings.list_collections() == []
    told = run_hven("check", "--site", settings.directory).stdout
    assert "0 descriptors" in told or "no descriptor" in told, told
    with draft_pruning.open_check_directory(settings.collections_directory, "moons") as used_directory:
        assert not leftover.exists()
        convert(settings, "moons", settings.directory / "inputs/moons/q.rd")
        assert used_directory.exists(), "another process uses it"
    assert [path.name for path in settings.collections_directory.iterdir()] == ["moons"]
    assert sorted(path.name for path in (settings.collections_directory / "moons").iterdir()) == sorted(DRAFTED_FILES)


@pytest.mark.parametrize(
    ("pattern", "recurse", "file"),
    [("a.csv", "False", "a.csv"), ("*.csv", "True", "deep/a.csv"), ("data/*.csv", "True", "data/x/a.csv")],
)
def test_data_beside_the_descriptor_are_checked(pattern: str, recurse: str, file: str, settings: Settings) -> None:
    """The data of the collection are found, so that a name that they do not have is taken out."""
    directory = settings.collections_directory / "sky"
    (directory / file).parent.mkdir(parents=True)
    (directory / file).write_text("flux\n1.5\n")
    (directory / "q.rd").write_text(CSV_DESCRIPTOR.format(pattern=pattern, recurse=recurse))
    table = convert(settings, "sky", directory / "q.rd").load_descriptor("sky")["tables"]["stars"]
    inputs = settings.directory / "inputs/sky"
    shutil.copytree(directory, inputs, ignore=shutil.ignore_patterns("*.yaml", "*.txt"))
    shutil.rmtree(directory)
    other_table = convert(settings, "sky", inputs / "q.rd").load_descriptor("sky")["tables"]["stars"]
    assert other_table["source"].pop("files") == f"../../inputs/sky/{table['source'].pop('files')}"
    assert table == other_table
    assert "absent" not in str(table)
