"""Another Hven is followed by its feed: both engines on both sides, rows that come, change and go, states that are gone."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import change_sets, sync_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.sources import http_client
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import build_settings, require_plugins
from postgres_cluster import run_cluster
from process_runner import serve_site, wait_until
from sync_states import read_sync_states

THERE = """
collection: stars
title: Stars
engine: {engine}
tables:
  main:
    source: {{kind: csv, files: a.csv}}
    primary: [id, part]
    columns: {{id: int32, part: string, ra: float64, name: string, seen: timestamp}}
"""
HERE = """
collection: copy
title: The same stars
engine: {engine}
tables:
  main:
    source: {{kind: hven, url: "{url}", table: stars.main}}
    primary: [id, part]
    columns: {{id: int32, part: string, seen: timestamp, hours: float64, who: string}}
    map: {{hours: ra / 15, who: upper(name)}}
    {sync}
"""
ROWS = 1500


@pytest.fixture(scope="module")
def database():
    with run_cluster() as found:
        yield found.url


def rows(site, text):
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


def write(site, facts):
    lines = [f"{n},p{n % 3},{ra},{name},2025-11-{n % 28 + 1:02}T00:00:00" for n, (ra, name) in sorted(facts.items())]
    (site.settings.collections_directory / "stars" / "a.csv").write_text(
        "id,part,ra,name,seen\n" + "\n".join(lines) + "\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("there", "here"), [("duckdb", "duckdb"), ("postgres", "duckdb"), ("duckdb", "postgres")])
def test_a_site_is_followed_by_its_feed(there, here, database, tmp_path, monkeypatch):
    require_plugins("protocols", "changes")
    monkeypatch.setenv("KEPT", database)
    dice = random.Random(7)
    facts = {n: (n * 15.0 % 360, f"n{n}") for n in range(ROWS)}
    kept = (
        {"brought": {"postgres": build_settings("postgres", url="$KEPT", namespace=f"there_{there}_{here}")}}
        if there == "postgres"
        else {}
    )
    ours = (
        {"brought": {"postgres": build_settings("postgres", url="$KEPT", namespace=f"here_{there}_{here}")}}
        if here == "postgres"
        else {}
    )
    with open_site_with_uningested_files(
        tmp_path / "there", THERE.format(engine=there), {"a.csv": ""}, keep_snapshots=2, **kept
    ) as source:
        toml = (
            f'keep_snapshots = 2\n[postgres]\nurl = "$KEPT"\nnamespace = "there_{there}_{here}"\n'
            if kept
            else "keep_snapshots = 2\n"
        )
        (tmp_path / "there" / "hven.toml").write_text(toml)
        write(source, facts)
        ingest_collection(source, "stars")
        with serve_site(tmp_path / "there") as server:

            def publish(how):
                before = server.get("/changes/stars.main")[1]["hven-snapshot"]
                write(source, facts)
                how(source, "stars")
                wait_until(lambda: server.get("/changes/stars.main")[1]["hven-snapshot"] != before)

            def check_same_rows(site):
                wanted = [(n, f"p{n % 3}", ra / 15, name.upper()) for n, (ra, name) in sorted(facts.items())]
                assert rows(site, "SELECT id, part, hours, who FROM copy.main ORDER BY id") == wanted

            text = HERE.format(
                engine=here, url=server.url, sync="sync: {overlap: 1 d, watermark: seen}" if here == there else ""
            )
            with open_site_with_uningested_files(tmp_path / "here", text, allow_private=True, **ours) as site:
                sync_collection(site, "copy")
                check_same_rows(site)
                for how in (sync_collection, ingest_collection, sync_collection):
                    gone, new, other = (
                        dice.sample(sorted(facts), 7),
                        dice.sample(range(2000, 9000), 11),
                        dice.sample(sorted(facts), 13),
                    )
                    facts |= {n: (dice.random() * 360, f"edited {n}") for n in (*other, *new)}
                    facts = {n: fact for n, fact in facts.items() if n not in gone}
                    publish(how)
                    change = sync_collection(site, "copy").changes["copy.main"]
                    check_same_rows(site)
                    assert change.how.endswith("according to the source")
                    assert change.removed == 7
                    assert change.read == change.added + change.changed
                # set back: the feed tells the way back
                before = {n: facts[n] for n in facts}
                source.store.roll_back("stars")
                facts = {n: (ra, name) for n, _, ra, name in rows_of(source)}
                assert facts != before
                wait_until(
                    lambda: (
                        server.get("/changes/stars.main")[1]["hven-snapshot"]
                        == source.store.read_published_snapshot_ids()[1]["stars.main"]
                    )
                )
                sync_collection(site, "copy")
                check_same_rows(site)
                # two publications behind, and nothing is kept of how they came to be: everything is read
                for _ in range(3):
                    facts |= {n: (dice.random() * 360, "again") for n in dice.sample(sorted(facts), 5)}
                    publish(ingest_collection)
                for one in change_sets.list_change_sets(source, "stars.main"):
                    one.path.unlink()
                (state,) = read_sync_states(site, "copy")[site.store.read_published_snapshot_ids()[1]["copy.main"]][
                    "fed"
                ].values()
                assert server.get("/changes/stars.main", since=state)[0] == 410
                # the edits did not move the watermark: whoever was told of edits must not miss them now
                assert sync_collection(site, "copy").changes["copy.main"].how == "everything"
                check_same_rows(site)
                assert not sync_collection(site, "copy").has_changes
                assert sync_collection(site, "copy").changes["copy.main"].how == "nothing: the source has not changed"


@contextmanager
def count_received_bytes(monkeypatch):
    """Count the bytes of answers of services."""
    stream, sizes = http_client.stream_answer, []

    def count_parts(parts):
        for part in parts:
            sizes.append(len(part))
            yield part

    @contextmanager
    def listening(*given, **named):
        with stream(*given, **named) as answer:
            yield replace(answer, parts=count_parts(answer.parts))

    with monkeypatch.context() as patched:
        patched.setattr(http_client, "stream_answer", listening)
        yield sizes


@pytest.mark.slow
def test_what_travels_is_in_proportion_to_what_changed(tmp_path, monkeypatch):
    """A few per mille of the rows changed; by `HVEN_PROOF=full` of a big table."""
    require_plugins("protocols", "changes")
    many, few = (1_000_000, 1000) if os.environ.get("HVEN_PROOF") == "full" else (30_000, 60)
    facts = {n: (n * 15.0 % 360, f"n{n}") for n in range(many)}
    with open_site_with_uningested_files(tmp_path / "there", THERE.format(engine="duckdb"), {"a.csv": ""}) as source:
        (tmp_path / "there" / "hven.toml").write_text("")
        write(source, facts)
        ingest_collection(source, "stars")
        with serve_site(tmp_path / "there") as server:
            before = server.get("/changes/stars.main")[1]["hven-snapshot"]
            with open_site_with_uningested_files(
                tmp_path / "here", HERE.format(engine="duckdb", url=server.url, sync=""), allow_private=True
            ) as site:
                with count_received_bytes(monkeypatch) as all_of_it:
                    sync_collection(site, "copy")
                facts |= {n: (1.5, f"edited {n}") for n in random.Random(1).sample(range(many), few)}
                write(source, facts)
                sync_collection(source, "stars")
                wait_until(lambda: server.get("/changes/stars.main")[1]["hven-snapshot"] != before)
                with count_received_bytes(monkeypatch) as some:
                    change = sync_collection(site, "copy").changes["copy.main"]
                assert (change.changed, change.read, change.mapped) == (few, few, few)
                assert sum(some) < 10 * sum(all_of_it) * few / many + 60_000
                with count_received_bytes(monkeypatch) as nothing:
                    assert not sync_collection(site, "copy").has_changes
                assert sum(nothing) < 30_000
                # more than half of the rows: they are not asked for one by one
                facts |= {n: (2.5, name) for n, (_, name) in facts.items() if n % 3}
                write(source, facts)
                sync_collection(source, "stars", accept_changes=True)
                wait_until(
                    lambda: (
                        server.get("/changes/stars.main")[1]["hven-snapshot"]
                        == source.store.read_published_snapshot_ids()[1]["stars.main"]
                    )
                )
                assert sync_collection(site, "copy", accept_changes=True).changes["copy.main"].how == "everything"


def rows_of(source):
    source.refresh_published_state()
    return rows(source, "SELECT id, part, ra, name FROM stars.main")
