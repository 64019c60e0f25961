"""Match a change of 100,000 rows with 10,000 watches, beside a plain scan of the same rows for each watch of a sample.

The reference asks the rows of a sample of the watches by one query each, as a program without this package would; the
ratio is the time of all watches by that of the sample, scaled to all.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench.measure import CACHE, Journey

SITES = CACHE / "watches"
ROW_COUNT, CHANGED_COUNT = 300_000, 100_000
WATCH_COUNT, ACCOUNT_COUNT = 10_000, 100
TARGET_COUNT = 200  # of each list of targets
SAMPLE = 20
MAX_SECONDS = 2.0
MAX_RATIO = 0.1
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "notifications"))
sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for name, share_of_lists in (("watches.cones", 0.0), ("watches.lists", 1.0), ("watches.mixed", 0.3)):
        if only in name:
            yield measure_matching(name, share_of_lists)


def measure_matching(name: str, share_of_lists: float) -> Journey:
    """Measure the time from a publication to the stored matches of all watches."""
    from watch_site import describe_table

    from hven import query
    from hven.model.settings import Settings
    from hven.plugins.watches.change_matching import ChangeMatcher
    from hven.site import Site
    from hven.testing.site import publish_rows

    directory = SITES / name
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "collections").mkdir(parents=True)
    generator = np.random.default_rng(52)
    rows = draw_rows(generator, ROW_COUNT)
    with Site(Settings(directory=directory)) as site:
        table = describe_table(rows)
        publish_rows(site, table, rows)
        site.refresh_published_state()
        watches = add_watches(site, generator, share_of_lists, is_mixed=name == "watches.mixed")
        changed_rows = change_rows(generator, rows)
        publish_rows(site, table, changed_rows)
        store_changes(site, rows, changed_rows)
    with Site(Settings(directory=directory)) as site:
        begin = time.perf_counter()
        ChangeMatcher(site).match_all_changes()
        seconds = time.perf_counter() - begin
        found = count_matches(site)
        begin = time.perf_counter()
        for watch in watches[:: len(watches) // SAMPLE][:SAMPLE]:
            text = write_query(watch)
            with query.run_query(text, site=site, maxrec=100_000) as result:
                list(result.iterate_batches())
        reference = (time.perf_counter() - begin) / SAMPLE * len(watches)
    return Journey(
        name=name,
        value=seconds,
        unit="s",
        reference=reference,
        ratio=seconds / reference,
        target=MAX_RATIO,
        note=f"{len(watches):,} watches, {CHANGED_COUNT:,} changed rows, {found:,} matches; at most {MAX_SECONDS} s wanted; "
        f"reference: {SAMPLE} queries, scaled",
    )


def draw_rows(generator: np.random.Generator, count: int) -> pa.Table:
    """Draw stars all over the sky."""
    return pa.table(
        {
            "id": pa.array(np.arange(count)),
            "ra": generator.uniform(0, 360, count),
            "dec": np.degrees(np.arcsin(generator.uniform(-1, 1, count))),
            "mag": generator.uniform(2, 20, count),
            "name": pa.array(np.arange(count)).cast(pa.string()),
        }
    )


def change_rows(generator: np.random.Generator, rows: pa.Table) -> pa.Table:
    """Change the magnitudes of half of the rows that differ, and add the other half."""
    half = CHANGED_COUNT // 2
    magnitudes = rows.column("mag").to_numpy().copy()
    magnitudes[:half] += 1
    changed_rows = rows.set_column(3, "mag", pa.array(magnitudes))
    added_rows = draw_rows(generator, half)
    added_rows = added_rows.set_column(0, "id", pa.array(np.arange(half) + rows.num_rows))
    return pa.concat_tables([changed_rows, added_rows]).combine_chunks()


def store_changes(site, rows: pa.Table, changed_rows: pa.Table) -> None:
    """Store the change set, as a sync does."""
    from hven.ingest.sync import change_sets

    half = CHANGED_COUNT // 2
    ids = np.concatenate([np.arange(half), np.arange(half) + rows.num_rows])
    kinds = pa.array(["changed"] * half + ["added"] * half)
    names = pa.array([["mag"]] * half + [None] * half, pa.list_(pa.string()))
    columns = {"id": pa.array(ids), change_sets.CHANGE_COLUMN: kinds, change_sets.CHANGED_COLUMNS_COLUMN: names}
    before, after = (
        record.id for record in sorted(site.store.list_snapshots("stars"), key=lambda one: one.created)[-2:]
    )
    change_sets.store_change_set(
        site,
        "stars.main",
        pa.table(columns),
        snapshot_before=before,
        snapshot_after=after,
        run="x",
        publication_time="x",
    )


def add_watches(site, generator: np.random.Generator, share_of_lists: float, *, is_mixed: bool) -> list:
    """Add watches: lists of targets, cones, and, if mixed, conditions and rows."""
    import sqlalchemy as sa
    from notification_site import Announcer

    from hven.plugins.changes.row_definitions import RowDefinition, encode_positions
    from hven.plugins.watches.store_tables import watches as watch_table
    from hven.plugins.watches.watch_store import Watch, _watch_to_row

    snapshot = site.store.read_published_snapshot_ids()[1]["stars.main"]
    made = []
    for number in range(WATCH_COUNT):
        kind = generator.uniform()
        count = TARGET_COUNT if kind < share_of_lists else 1
        positions = np.stack(
            [generator.uniform(0, 360, count), np.degrees(np.arcsin(generator.uniform(-1, 1, count)))], axis=1
        )
        definition = RowDefinition(targets=encode_positions(positions), radius=1.0 if count == 1 else 0.1)
        if is_mixed and kind > 0.9:
            limit = round(generator.uniform(2.5, 2.6), 2)
            definition = RowDefinition(
                condition=f"SELECT * FROM stars.main WHERE mag < {limit} AND dec > {number / 200}",
                bounds={"mag": (float("-inf"), limit), "dec": (number / 200, float("inf"))},
            )
        elif is_mixed and kind > 0.6:
            definition = RowDefinition(keys=(f"[{generator.integers(ROW_COUNT)}]",))
        made.append(
            Watch(
                number=number + 1,
                account=f"account{number % ACCOUNT_COUNT}",
                table_name="stars.main",
                title="x",
                definition_text=definition.to_json(),
                snapshot=snapshot,
            )
        )
    site.store.get_or_create(Announcer).execute(
        sa.insert(watch_table).values([_watch_to_row(watch) for watch in made[:1]])
    )
    for start in range(1, len(made), 500):
        rows = [_watch_to_row(watch) for watch in made[start : start + 500]]
        site.store.get_or_create(Announcer).execute(sa.insert(watch_table).values(rows))
    return made


def write_query(watch) -> str:
    """Write the query that a program would ask after each publication."""
    definition = watch.definition
    if definition.condition:
        return definition.condition
    if definition.keys:
        return f"SELECT * FROM stars.main WHERE id = {definition.keys[0].strip('[]')}"
    circles = [
        f"1 = CONTAINS(POINT(ra, dec), CIRCLE({lon!r}, {lat!r}, {definition.radius}))"
        for lon, lat in definition.positions.tolist()[:20]
    ]
    return f"SELECT * FROM stars.main WHERE {' OR '.join(circles)}"


def count_matches(site) -> int:
    """Count what was found."""
    import sqlalchemy as sa

    from hven.plugins.watches.store_tables import watch_matches
    from hven.plugins.watches.watch_store import WatchStore

    store = site.store.get_or_create(WatchStore)
    with store._database.begin_read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(watch_matches)).scalar_one())
