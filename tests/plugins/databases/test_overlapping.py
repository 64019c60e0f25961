"""Rows are mapped while those before are checked: what is published, rejected and told is what one batch after the other gives."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from hven import query
from hven.ingest import _ledger
from hven.ingest._row_validation import RowValidator
from hven.ingest._transform import MappingTransform
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import DataError
from hven.plugins.databases import database_rows as source_rows
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

TEXT = """
collection: c
title: C
functions: f.py
tables:
  main:
    source: {kind: sql, file: d.sqlite, table: d}
    primary: [id]
    sync: {}
    where: v <> 13
    columns: {id: int64, x: {type: float64, maximum: 300}, word: string}
    map: {x: f(v), word: 'CASE WHEN v > 0 THEN word END'}
    rules: {once: {check: unique, columns: word}}
"""
FUNCTION = 'import pyarrow.compute as pc\n\ndef f(v) -> "float64":\n    assert BAD not in v.to_pylist()\n    return pc.multiply(v, 2.0)\n'
COUNT = 200


@pytest.fixture
def home(tmp_path):
    with open_site_with_uningested_files(tmp_path, TEXT, {"f.py": FUNCTION.replace("BAD", "None")}) as site:
        directory = tmp_path / "collections/c"
        with sqlite3.connect(directory / "d.sqlite") as base:
            base.execute("CREATE TABLE d (id integer, v real, word text)")
            base.executemany(
                "INSERT INTO d VALUES (?, ?, ?)",
                # 151 and more are too large, 114 and 120 have the words of rows long before
                [(n, n if n % 17 else -n, f"w{n % 100 if n in (114, 120) else n}") for n in range(1, COUNT + 1)],
            )
        base.close()
        yield site, directory


def run(site, do=ingest_collection):
    """Run, and give all that is known of it afterwards."""
    report = do(site, "c").tables["c.main"]
    with query.run_query("SELECT * FROM c.main ORDER BY id", OWNER_PRINCIPAL, site=site) as result:
        published = result.read_table().to_pylist()
    found = {
        rule: (one.count, one.severity, one.message, [str(each) for each in one.offenders])
        for rule, one in report.findings.items()
    }
    kept = Path(report.rejects).read_text()
    state = _ledger.load_sync_state(site, site.store.read_published_records()[1]["c.main"].id)
    lines = _ledger.read_ledger(site, "c.main", state.ledger).to_pylist()
    counts = (report.read, report.skipped, report.rejected, report.published)
    return counts, published, dict(sorted(found.items())), kept, lines


@pytest.mark.parametrize("size", [7, 50])
def test_short_batches_give_what_a_long_one_gives(home, monkeypatch, size):
    site, _ = home
    whole = run(site)
    assert whole[0] == (200, 1, 49, 150), "some of everything"
    assert {"once", "x: range"} <= set(whole[2])
    monkeypatch.setattr(source_rows, "BATCH_ROWS", size)
    assert run(site) == whole


def threads():
    return {thread for thread in threading.enumerate() if thread.name in {"reading", "writing"}}


def test_what_fails_fails_in_its_turn(home, monkeypatch):
    site, directory = home
    monkeypatch.setattr(source_rows, "BATCH_ROWS", 10)
    before = threads()
    (directory / "f.py").write_text(FUNCTION.replace("BAD", "174.0"))
    with pytest.raises(DataError, match=r"the function 'f' failed: AssertionError.*in row 174 of None, with 174\.0"):
        ingest_collection(site, "c")
    assert threads() <= before
    (path,) = (site.settings.var_directory).rglob("main.csv")
    kept = [int(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]
    assert kept == [114, 120, *(n for n in range(151, 171) if n % 17)], "those of all batches before, and none behind"
    assert "c.main" not in site.store.read_published_records()[1]
    assert not list(site.settings.var_directory.rglob("*.staging"))


def test_an_interrupted_ingest_leaves_nothing(home, monkeypatch):
    site, _ = home
    monkeypatch.setattr(source_rows, "BATCH_ROWS", 10)
    before, seen = threads(), []

    def stop(progress):
        seen.append(progress.rows)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_collection(site, "c", progress=stop)
    assert threads() <= before
    assert seen == sorted(seen)
    assert not list(site.settings.var_directory.rglob("*.staging"))
    assert site.store.runs.list_runs("c")[0].phase == "ABORTED"
    assert run(site)[0][3] == 150


@pytest.mark.parametrize("do", [ingest_collection, sync_collection])
def test_the_next_batch_is_mapped_before_this_one_is_checked_but_where_rows_are_looked_up(home, monkeypatch, do):
    site, directory = home
    if do is sync_collection:
        sync_collection(site, "c")
        with sqlite3.connect(directory / "d.sqlite") as base:
            base.execute("UPDATE d SET v = v + 0.25")
        base.close()
    monkeypatch.setattr(source_rows, "BATCH_ROWS", 100)
    apply, broken = MappingTransform.map_batch, RowValidator.find_violations_and_set_flags
    mapped, done, order = [], threading.Event(), []

    def mapping(self, batch: pa.RecordBatch):
        yield from apply(self, batch)
        mapped.append(batch.num_rows)
        order.append("mapped")
        if len(mapped) == 2:
            done.set()

    def checking(self, *given):
        if do is ingest_collection:
            assert done.wait(60), "the second batch waits for the first"
        order.append("checked")
        yield from broken(self, *given)

    monkeypatch.setattr(MappingTransform, "map_batch", mapping)
    monkeypatch.setattr(RowValidator, "find_violations_and_set_flags", checking)
    do(site, "c", **({"accept_changes": True} if do is sync_collection else {}))
    assert order == (["mapped"] * 2 + ["checked"] * 2 if do is ingest_collection else ["mapped", "checked"] * 2)
