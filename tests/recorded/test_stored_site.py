"""The site that an earlier commit wrote: it opens, its files are as they were, and following its sources finds nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
sys.path.insert(0, str(Path(__file__).parent))

from fixed_time import hold_time
from make_stored_site import COLLECTIONS, open_site, unpack_site

from hven.ingest.sync import sync_collection
from hven.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.needs("packages")]
STATES = {"psz2.main", "psz2.files", "followup.targets", "lowz.masses", "brightest.main"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    unpack_site(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def site(directory: Path) -> Iterator[Site]:
    with hold_time(), open_site(directory) as (site, _):
        yield site


def list_states(directory: Path) -> dict[str, tuple[int, int]]:
    """List the files of all states of tables, with their sizes and times."""
    return {
        path.relative_to(directory).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for part in ("var/snapshots", "catalogues")
        for path in (directory / part).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_it_opens_with_all_that_it_holds(site: Site) -> None:
    now = site.get_published_state()
    assert now.problems == ()
    assert now.damages == ()
    served = {name for name, item in now.tables_by_name.items() if item.release is None}
    assert served >= STATES
    assert {name for items in now.released_tables_by_name.values() for name in (item.table.qualified_name for item in items)} == {
        "psz2_r4.main", "psz2_r4.files", "followup_r4.targets", "psz2_r6.main", "psz2_r6.files",
    }  # fmt: skip
    for name, engine in (("psz2.main", "duckdb"), ("brightest.main", "hats")):
        relation = now.tables_by_name[name].relation
        assert relation is not None
        assert site.engines.find_engine(relation) is site.engines.get_engine(engine)


@pytest.fixture
def calls(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note when an engine computes rows, merges changes or begins to write a state."""
    noted: list[str] = []
    for name in ("duckdb", "hats"):
        kind = type(site.engines.get_engine(name))
        for method in ("stage_snapshot", "stage_merge", "evaluate_query"):
            monkeypatch.setattr(kind, method, note_call(getattr(kind, method), noted))
    return noted


def note_call(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    """Wrap a function so that its calls are noted."""

    def noting(*values: Any, **more: Any) -> Any:
        calls.append(function.__name__)
        return function(*values, **more)

    return noting


def test_following_its_sources_finds_no_change_and_computes_nothing(
    site: Site, directory: Path, calls: list[str]
) -> None:
    pointers, before = site.store.read_published_snapshot_ids(), list_states(directory)
    assert len(before) > 20
    for name in COLLECTIONS:
        report = sync_collection(site, name)
        assert report.error is None, report.error
        assert not report.has_changes, f"{name} has changed"
        for table, change in report.changes.items():
            assert (change.added, change.changed, change.removed) == (0, 0, 0), table
            assert change.how.startswith("0 of "), f"{table}: {change.how}"
    assert calls == []
    assert site.store.read_published_snapshot_ids()[1] == pointers[1]
    assert list_states(directory) == before


def test_a_change_of_a_source_is_found(site: Site, directory: Path, calls: list[str]) -> None:
    """What the test above says of nothing would be said of something."""
    path = directory / "collections/lowz/data/masses.csv"
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, *rest, first.replace(first.split(",")[0], "MADE UP"), first]) + "\n")
    report = sync_collection(site, "lowz")
    assert report.error is None, report.error
    assert [(change.added, change.removed) for change in report.changes.values()] == [(1, 0)]
    assert calls
