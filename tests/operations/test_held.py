"""A rollback lasts: neither a schedule nor what a collection is made from changes it, until somebody says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest

from hven.ingest.api.runs import ingest_collection, move_collection_to_engine
from hven.ingest.sync import sync_collection
from hven.jobs._scheduled_run import sync_and_summarize
from hven.jobs.health import FAILING_STATE, FRESH_STATE, HELD_STATE, UNSCHEDULED_STATE, SiteHealthMonitor
from hven.jobs.run_results import run_and_record_sync
from hven.jobs.schedule_planning import MANUAL_TIMING
from hven.model import settings
from hven.model.errors import ConflictError, HvenError
from hven.site import Site
from hven.site.store._state_store import build_lease_name
from process_runner import run_hven
from second_engine import OTHER_NAME, register_other_engine

BASE = """\
collection: {name}
title: {name}
tables:
  main:
    primary: [id]
    source: {source}
    columns: {{id: int32, v: int32}}
sync: {{every: 1 h}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A site with a collection of rows, one made from it, and a source that has been spoilt since."""
    site = settings.create_site_directory(tmp_path / "site")
    for name, source in (("base", "rows.csv"), ("made", "{kind: query, adql: 'SELECT id, v + 1 AS v FROM base.main'}")):
        path = site / "collections" / name
        path.mkdir()
        (path / f"{name}.yaml").write_text(BASE.format(name=name, source=source))
    rows(site, 1)
    with Site(settings.load_settings(site, {})) as opened:
        for name in ("base", "made"):
            ingest_collection(opened, name)
        rows(site, 999)
        sync_collection(opened, "base")
    return site


def rows(site: Path, value: int) -> None:
    (site / "collections" / "base" / "rows.csv").write_text(f"id,v\n1,{value}\n2,2\n")


def values(site: Site, table: str) -> list[int]:
    record = site.store.read_published_records()[1][table]
    return sorted(
        row["v"]
        for batch in site.engines.find_engine(record.snapshot).read_rows(record.snapshot)
        for row in batch.to_pylist()
    )


def test_a_schedule_leaves_it_alone_and_a_persons_word_ends_that(place: Path) -> None:
    told = run_hven("rollback", "base", "--site", place).stdout
    assert "base stays in this state; its schedule (every 1 h) is paused. To publish new rows now, run" in told
    assert "schedule resume base" in told
    with Site(settings.load_settings(place, {})) as site:
        with pytest.raises(ConflictError, match="is on hold after `hven rollback`"):
            sync_and_summarize(site, "base", skip_if_held=True)
        assert values(site, "base.main") == [1, 2]
        assert "on hold" in run_hven("sync", "base", "--unless-held", "--site", place).stderr
        assert values(site, "base.main") == [1, 2]
        (found,) = [
            one for one in SiteHealthMonitor(site).get_status(wait_seconds=None).collections if one.collection == "base"
        ]
        assert (found.state, found.next, found.limit) == (HELD_STATE, None, None)
        assert "hven schedule resume base" in str(found.reason)
        assert "held: base" in run_hven("status", "--site", place).stdout
        assert run_hven("schedule", "resume", "base", "--site", place).stdout == "base is scheduled again\n"
        assert site.store.map_hold_start_times() == {}
        sync_and_summarize(site, "base", skip_if_held=True)
        assert values(site, "base.main") == [2, 999]


@pytest.mark.parametrize("again", [False, True])
def test_going_back_waits_for_the_run_that_is_under_way(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    with Site(settings.load_settings(place, {})) as site:
        _, first = site.store.list_snapshots("base")
        lease = site.store.leases.acquire_lease(build_lease_name("base"), description="the sync of base")

        def ends(_seconds: float) -> None:
            if again:
                site.store.publish_collection("base", [first], run_id="r", lease=lease)
            site.store.leases.release_lease(lease)

        monkeypatch.setattr("hven.app._cli.publish.time", SimpleNamespace(monotonic=monotonic, sleep=ends))
        told = run_hven("rollback", "base", "--site", place, expected_code=int(again))
        assert "waiting: the sync of base is already running: process" in told.stderr
        assert ("base was published again in the meantime" in told.stderr) is again
        assert ("base" in site.store.map_hold_start_times()) is not again
        assert site.store.read_published_snapshot_ids()[1]["base.main"] == first.id


def test_what_was_removed_is_not_published_again_by_a_run_that_nobody_asked_for(place: Path) -> None:
    """One that had begun when `hven remove` was said, or a crontab's."""
    with Site(settings.load_settings(place, {})) as site:
        site.store.unpublish_collection("base")
        with pytest.raises(ConflictError, match="base is not published"):
            sync_and_summarize(site, "base", skip_if_held=True)
        assert "base is not published" in run_hven("sync", "base", "--unless-held", "--site", place).stderr
        assert "base" not in site.store.list_publication_times()
        run_hven("sync", "base", "--site", place)  # a person's word
        assert "base" in site.store.list_publication_times()


def test_a_sync_by_hand_ends_it_also_when_nothing_changed(place: Path) -> None:
    with Site(settings.load_settings(place, {})) as site:
        site.store.roll_back("base")
        rows(place, 1)  # the source has been put right
        assert not sync_collection(site, "base", dry_run=True).has_changes
        assert list(site.store.map_hold_start_times()) == ["base"]
        assert not sync_collection(site, "base").has_changes
        assert site.store.map_hold_start_times() == {}


def test_what_is_made_from_others_stays_as_it_was_left(place: Path) -> None:
    with Site(settings.load_settings(place, {})) as site:
        assert values(site, "made.main") == [3, 1000]
        site.store.roll_back("made")
        assert values(site, "made.main") == [2, 3]
        rows(place, 5)
        report = sync_collection(site, "base")
        assert values(site, "base.main") == [2, 5]
        assert values(site, "made.main") == [2, 3]
        assert any(
            "made.main is made from this table, but is on hold after `hven rollback`" in line
            for line in report.warnings
        )


def test_a_move_and_a_backup_keep_it(place: Path, tmp_path: Path) -> None:
    with register_other_engine(), Site(settings.load_settings(place, {})) as site:
        site.store.roll_back("base")
        move_collection_to_engine(site, "base", OTHER_NAME)
        assert list(site.store.map_hold_start_times()) == ["base"]
        move_collection_to_engine(site, "base", "duckdb")
    run_hven("backup", tmp_path / "all.tar", "--site", place)
    run_hven("restore", tmp_path / "all.tar", tmp_path / "again")
    with Site(settings.load_settings(tmp_path / "again", {})) as site:
        assert list(site.store.map_hold_start_times()) == ["base"]


def test_a_schedule_can_be_paused_before_a_server_plans_it(place: Path) -> None:
    run_hven("schedule", "pause", "made", "--site", place)
    with Site(settings.load_settings(place, {})) as site:
        row = site.store.schedules.get_schedule("made")
        assert (row.timing, row.paused is not None, row.asked) == ("every 1 h", True, None)
        assert run_hven("schedule", "list", "--site", place).stdout.count("paused") >= 1
    run_hven("schedule", "resume", "made", "--site", place)
    path = place / "collections" / "base" / "base.yaml"
    path.write_text(path.read_text().partition("sync:")[0])  # no schedule
    error = run_hven("schedule", "pause", "base", "--site", place, expected_code=1).stderr
    assert "'base' has no schedule" in error
    assert "a published collection whose descriptor has `sync:" in error


# --- runs that somebody begins by hand, or by cron ------------------------------------------------------------


def state(site: Site) -> tuple[str, int]:
    (found,) = [
        one for one in SiteHealthMonitor(site).get_status(wait_seconds=None).collections if one.collection == "base"
    ]
    return found.state, found.failures


@pytest.mark.parametrize("scheduled", [True, False])
def test_health_knows_runs_by_hand(place: Path, *, scheduled: bool) -> None:
    path = place / "collections" / "base" / "base.yaml"
    if not scheduled:
        path.write_text(path.read_text().partition("sync:")[0])
    source = path.with_name("rows.csv")
    (place / "hven.toml").write_text('[alerts]\ncommand = ["./tell"]\n')
    tell = place / "tell"
    tell.write_text(f'#!/bin/sh\ncat >> "{place}/told"\n')
    tell.chmod(0o755)
    source.rename(source.with_suffix(".away"))
    run_hven("sync", "base", "--site", place, expected_code=1)
    with Site(settings.load_settings(place, {})) as site:
        assert state(site) == (FAILING_STATE, 1)
        assert "failed: base" in run_hven("status", "--site", place).stdout
        assert '"kind": "failed"' in (place / "told").read_text()
        source.with_suffix(".away").rename(source)
        run_hven("sync", "base", "--site", place)
        # what is scheduled has no line in the store yet where no server runs, and one that only counts failures goes with them
        assert state(site) == (UNSCHEDULED_STATE, 0)
        assert '"kind": "recovered"' in (place / "told").read_text()
        assert "base" not in site.store.schedules.list_schedules()[1]


def test_a_run_whose_process_was_killed_is_a_failure_until_a_good_one(place: Path) -> None:
    with Site(settings.load_settings(place, {})) as site:
        site.store.runs.begin_run("99991231T000000000-aaaa", "base", "sync")
        site.store.runs.abandon_unfinished_runs("base")
        assert state(site) == (FAILING_STATE, 1)
        site.store.runs.delete_runs(["99991231T000000000-aaaa"])
        assert state(site) == (UNSCHEDULED_STATE, 0)


def test_a_good_run_by_hand_ends_the_failures_of_the_schedule(place: Path) -> None:
    with Site(settings.load_settings(place, {})) as site:

        def fail() -> None:
            raise HvenError("no answer")

        with pytest.raises(HvenError):
            run_and_record_sync(site, "base", fail)
        row = site.store.schedules.get_schedule("base")
        assert (row.failures, row.timing, row.message) == (1, MANUAL_TIMING, "no answer")
        planned = replace(row, timing="every 1 h", failures=3)
        site.store.schedules.update_schedule("base", lambda _row, _now: (planned, ()))
        assert state(site) == (FAILING_STATE, 3)
        run_and_record_sync(site, "base", lambda: None)
        assert state(site) == (FRESH_STATE, 0)
