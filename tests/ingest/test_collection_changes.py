"""What a plug-in package changes and publishes itself, and its steps in each run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hven import query
from hven.ingest import _disk_space as disk_space
from hven.ingest.api.changes import (
    IngestReport,
    OpenedSource,
    StagedSite,
    create_run_id,
    load_current_descriptor,
    publish_collection_change,
)
from hven.ingest.api.runs import execute_steps_before_removal, ingest_collection
from hven.ingest.api.steps import PluginIngestStep
from hven.model import plugins
from hven.model.errors import DataError, NotFoundError
from hven.model.resource import TableSpec
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.site.store import build_lease_name, format_current_time
from hven.testing.site import open_site_with_uningested_files, open_tiny_site

DESCRIPTOR = """
collection: night
title: A night log
tables:
  lines:
    source: {kind: csv, files: lines.csv}
    primary: n
    columns: {n: int32}
  others:
    source: {kind: csv, files: others.csv}
    primary: n
    columns: {n: int32}
  sums:
    source: {kind: query, adql: "SELECT COUNT(*) AS n FROM night.lines"}
    primary: n
    columns: {n: int32}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR, {"lines.csv": "n\n1\n", "others.csv": "n\n1\n"}
    ) as opened:
        ingest_collection(opened, "night")
        yield opened


class LineChange:
    """A change of the lines."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def may_change_source(self, entry: OpenedSource) -> bool:
        return entry.spec.options["files"] == "lines.csv"

    def may_change_table(self, spec: TableSpec) -> bool:
        return spec.table.name == "lines"

    def check_report(self, report: IngestReport, _site: StagedSite) -> None:
        assert report.tables["night.lines"].read
        if self.error is not None:
            raise self.error


class RunNote:
    """A note of the run in the system state."""

    def insert(self, connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO meta (key, value) VALUES ('note', 'written')"))


def publish_change(site: Site, change: LineChange) -> IngestReport:
    [resource] = site.get_published_state().resources.values()
    report = IngestReport(
        collection="night",
        run=create_run_id(),
        started=format_current_time(),
        kind="note",
        accepted=True,
        by="anna",
    )
    with site.store.leases.hold_lease(build_lease_name("night")) as lease:
        publish_collection_change(site, resource, report, lease, change, pending_writes=[RunNote()])
    return report


def read_counts(site: Site) -> list[tuple[Any, ...]]:
    text = "SELECT COUNT(*) AS a, (SELECT COUNT(*) FROM night.others) AS b, (SELECT MAX(n) FROM night.sums) AS c FROM night.lines"
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for row in result.read_table().to_pylist()]


def has_note(site: Site) -> bool:
    with site.store._database.begin_read() as connection:
        return bool(connection.execute(sa.text("SELECT value FROM meta WHERE key = 'note'")).all())


def test_a_change_touches_only_what_it_may_change(site: Site) -> None:
    for name in ("lines", "others"):
        (site.settings.collections_directory / f"night/{name}.csv").write_text("n\n1\n2\n")
    report = publish_change(site, LineChange())
    assert report.published
    assert report.to_json()["by"] == "anna"
    assert report.changes["night.others"].how == "nothing"
    assert (read_counts(site), has_note(site)) == ([(2, 1, 2)], True)
    assert [run.kind for run in site.store.runs.list_runs("night")] == ["note", "ingest"]


def test_a_refused_change_publishes_and_writes_nothing(site: Site) -> None:
    (site.settings.collections_directory / "night/lines.csv").write_text("n\n1\n2\n")
    with pytest.raises(DataError, match="not today"):
        publish_change(site, LineChange(DataError("not today")))
    assert (read_counts(site), has_note(site)) == ([(1, 1, 1)], False)
    assert site.store.runs.list_runs("night")[0].phase == "ERROR"


def test_runs_of_a_package_delete_no_report_of_an_ingest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "MAX_KEPT_PACKAGE_RUNS", 2)
    monkeypatch.setattr(disk_space, "MAX_KEPT_REPORTS", 1)
    for number in range(4):
        (site.settings.collections_directory / "night/lines.csv").write_text(f"n\n{number}\n")
        with site.store._database.begin_write() as connection:
            connection.execute(sa.text("DELETE FROM meta WHERE key = 'note'"))
        publish_change(site, LineChange())
    runs = site.store.runs.list_runs("night")
    assert [run.kind for run in runs] == ["note", "note", "ingest"]
    kept = [disk_space.get_run_directory(site, run.id).is_dir() for run in runs]
    assert kept == [True, False, True]


def test_steps_of_packages_are_executed_before_a_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool]] = []

    def note_run(site: Site, collection: str, run: str) -> None:
        is_held = bool(site.store.leases.list_leases())
        calls.append((collection, is_held and run not in {known.id for known in site.store.runs.list_runs(collection)}))

    steps = {"notes": PluginIngestStep(before_run=note_run), "nothing": PluginIngestStep()}
    load_records = plugins.load_plugin_records
    monkeypatch.setattr(
        plugins, "load_plugin_records", lambda group: steps if group == "ingest_steps" else load_records(group)
    )
    ingest_collection(site, "night")
    assert calls == [("night", True)]


def test_steps_of_packages_are_executed_before_a_removal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest_collection(site, "night")
    calls: list[tuple[str, bool]] = []

    def note_removal(site: Site, collection: str) -> None:
        calls.append((collection, "night.lines" in site.get_published_state().tables_by_name))

    steps = {"notes": PluginIngestStep(before_removal=note_removal), "nothing": PluginIngestStep()}
    monkeypatch.setattr(plugins, "load_plugin_records", lambda _: steps)
    execute_steps_before_removal(site, "night")
    assert calls == [("night", True)]


def test_a_descriptor_that_does_not_exist_in_a_site_without_any(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {}) as site, pytest.raises(NotFoundError) as caught:
        load_current_descriptor(site, "stars")
    assert caught.value.remedy == "create it with `hven new stars --from FILE`"
