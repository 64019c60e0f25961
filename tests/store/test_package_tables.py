"""Tables of a plug-in package in the system state: created, upgraded, backed up, and kept if the package is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from hven.model import plugins
from hven.model.errors import StorageError
from hven.model.plugins import PackageStateTables, PluginPackage
from hven.model.settings import create_site_directory, load_settings
from hven.site import Site
from hven.site.api.store_tables import PackageTableSet, StateDatabase
from hven.site.state_faults import find_state_faults
from hven.site.store import StateStore
from plugin_needs import load_core_fixtures, require_core_fixtures
from postgres_cluster import run_server

BACKUPS = load_core_fixtures("BACKUPS")
OLD_TABLES = PackageTableSet()
notes = OLD_TABLES.define_table("notes", "number int key\ntext text")
NEW_TABLES = PackageTableSet(
    {1: lambda connection: connection.execute(sa.text("ALTER TABLE notes ADD COLUMN by TEXT"))}
)
signed_notes = NEW_TABLES.define_table("notes", "number int key\ntext text\nby text null")
marks = NEW_TABLES.define_table("marks", "note int key")
RECORD = PluginPackage(
    name="notebook",
    title="Take notes",
    store_tables=PackageStateTables(names=("notes",), definitions=f"{__name__}:OLD_TABLES"),
)
NEXT_RECORD = replace(
    RECORD, store_tables=PackageStateTables(names=("notes", "marks"), definitions=f"{__name__}:NEW_TABLES", format=2)
)


class Notebook:
    """The notes of a store."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add(self, text: str) -> None:
        with self._database.begin_write() as connection:
            connection.execute(sa.insert(notes).values(text=text))

    def list_notes(self) -> list[str]:
        with self._database.begin_read() as connection:
            return list(connection.execute(sa.select(notes.c.text)).scalars())


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install packages beside those that are there, and use all of them, or those that are named."""
    builtin_records = plugins._import_builtin_records()

    def install_records(*records: PluginPackage, names: list[str] | None = None) -> None:
        monkeypatch.setattr(plugins, "_import_builtin_records", lambda: (*builtin_records, *records))
        for selection in ("nothing", "all" if names is None else ",".join(names)):  # the first forgets what was found
            monkeypatch.setenv(plugins.SELECTION_VARIABLE, selection)
            plugins.select_plugin_packages(None)

    yield install_records
    monkeypatch.setenv(plugins.SELECTION_VARIABLE, "nothing")
    plugins.select_plugin_packages(None)
    monkeypatch.undo()
    plugins.select_plugin_packages(None)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.outside)])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "sqlite":
        yield None
        return
    with run_server() as address:
        yield f"postgresql+psycopg://{address}"


def list_tables(store: StateStore) -> set[str]:
    with store._database.begin_read() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_tables_are_created_when_the_state_is_opened_with_the_package(
    install: Callable[..., None], tmp_path: Path, url: str | None
) -> None:
    with closing(StateStore(tmp_path, url)) as store:
        assert "notes" not in list_tables(store)
    install(RECORD)
    with closing(StateStore(tmp_path, url)) as store:
        assert "notes" in list_tables(store)
        store.get_or_create(Notebook).add("clouds")
        assert store.get_or_create(Notebook) is store.get_or_create(Notebook)
    install(RECORD)
    with closing(StateStore(tmp_path, url)) as store:
        assert store.get_or_create(Notebook).list_notes() == ["clouds"]


def test_tables_that_the_core_once_had_are_taken_over(
    install: Callable[..., None], tmp_path: Path, url: str | None
) -> None:
    with closing(StateStore(tmp_path, url)) as store, store._database.begin_write() as connection:
        OLD_TABLES.metadata.create_all(connection)
        connection.execute(sa.insert(notes).values(text="clouds"))
    install(RECORD)
    with closing(StateStore(tmp_path, url)) as store:
        assert store.get_or_create(Notebook).list_notes() == ["clouds"]


def test_tables_are_upgraded_and_older_processes_stop(
    install: Callable[..., None], tmp_path: Path, url: str | None
) -> None:
    install(RECORD)
    with closing(StateStore(tmp_path, url)) as old_store:
        old_store.get_or_create(Notebook).add("clouds")
        install(NEXT_RECORD)
        with closing(StateStore(tmp_path, url)) as store:
            assert "marks" in list_tables(store)
            with store._database.begin_write() as connection:
                connection.execute(sa.insert(signed_notes).values(text="rain", by="anna"))
            assert store.get_or_create(Notebook).list_notes() == ["clouds", "rain"]
        changed = "another version of Hven has changed the tables of the plug-in package notebook"
        with pytest.raises(StorageError, match=changed):
            old_store.get_or_create(Notebook).add("snow")
        with pytest.raises(StorageError, match=changed):
            old_store.get_version()
    install(RECORD)
    with pytest.raises(
        StorageError,
        match=r"package notebook .* have format 2, but this version of the package supports only formats up to 1",
    ):
        StateStore(tmp_path, url)


def test_a_package_whose_definitions_cannot_be_loaded_stops_nothing(
    install: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(RECORD, store_tables=PackageStateTables(names=("notes",), definitions=f"{__name__}:NOTHING"))
    install(broken)
    with closing(StateStore(tmp_path)) as store:
        assert store.get_version() == 0
    said = f"the plug-in package notebook names {__name__}:NOTHING, but {__name__} has no NOTHING"
    assert said in caplog.text
    with monkeypatch.context() as context:
        context.setattr(plugins, "_select_external_packages", lambda: ((broken,), ()))
        [error] = plugins.find_plugin_faults()
    assert error.message == said


def test_rows_of_an_absent_package_are_exported(install: Callable[..., None], tmp_path: Path, url: str | None) -> None:
    require_core_fixtures("BACKUPS")
    install(RECORD)
    with closing(StateStore(tmp_path, url)) as store:
        store.get_or_create(Notebook).add("clouds")
    install()
    with closing(StateStore(tmp_path, url)) as store:
        assert store.find_tables_of_unused_packages() == {"notebook": ["notes"]}
        with store.get_or_create(BACKUPS["StateBackupAccess"]).pin_snapshots_and_open_export(
            "label", include_rows=True
        ) as export:
            tables = {name: list(lines) for name, lines in export.iterate_tables()}
    assert tables["notes"] == ['{"number": 1, "text": "clouds"}']


def test_backups_contain_the_rows_and_check_names_an_absent_package(
    install: Callable[..., None], tmp_path: Path
) -> None:
    require_core_fixtures("BACKUPS")
    install(RECORD)
    settings = load_settings(create_site_directory(tmp_path / "site", name="Uraniborg"), {})
    with Site(settings) as site:
        site.store.get_or_create(Notebook).add("clouds")
        assert site.store.find_tables_of_unused_packages() == {}
    whole, left_out, gone = (tmp_path / f"{name}.tar" for name in ("whole", "left_out", "gone"))
    with Site(settings) as site:
        BACKUPS["write"](site, whole)
    install(RECORD, names=["notebook_2"])
    with Site(settings) as site:
        BACKUPS["write"](site, left_out)
    [fault] = find_state_faults(settings)
    assert str(fault) == (
        "the system state has rows of the plug-in package notebook (notes), but `plugins` in hven.toml does not "
        "list the package; "
        "add 'notebook' to `plugins` to use these rows; backups contain them"
    )
    assert fault.severity == "warning"
    with pytest.raises(
        StorageError, match=r"a table 'notes'.*add 'notebook' to `plugins`.*the table belongs to this plug-in package"
    ):
        BACKUPS["restore"](whole, tmp_path / "without")
    install()
    with Site(settings) as site:
        BACKUPS["write"](site, gone)
    assert "package notebook (notes), but the package is not installed" in str(find_state_faults(settings)[0])
    with pytest.raises(StorageError, match=r"a table 'notes'.*use the version of Hven that wrote the archive"):
        BACKUPS["restore"](gone, tmp_path / "without")
    install(RECORD)
    for path in (whole, left_out, gone):
        BACKUPS["restore"](path, tmp_path / path.stem)
        with Site(load_settings(tmp_path / path.stem, {})) as site:
            assert site.store.get_or_create(Notebook).list_notes() == ["clouds"]


def test_a_backup_without_such_rows_needs_no_package(install: Callable[..., None], tmp_path: Path) -> None:
    require_core_fixtures("BACKUPS")
    require_core_fixtures("BACKUPS")
    install(RECORD)
    settings = load_settings(create_site_directory(tmp_path / "site", name="Uraniborg"), {})
    with Site(settings) as site:
        BACKUPS["write"](site, tmp_path / "backup.tar")
    install(RECORD, names=[])
    assert find_state_faults(settings) == []
    BACKUPS["restore"](tmp_path / "backup.tar", tmp_path / "again")
