"""Runs that are killed: what is served stays as it was; pages that were read are not asked for again."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from process_runner import start_hven

FULL = os.environ.get("HVEN_PROOF") == "full"
KILLS = 40 if FULL else 3
MOMENTS = (0.6, 3.0) if FULL else (0.1, 1.5)  # seconds after its beginning; a fork has imported everything by then

TEXT = """
collection: s
title: Stars
tables:
  main:
    source: {kind: sql, file: s.db, table: t}
    primary: id
    columns: {id: {type: int64, required: true}, mag: float64}
    sync: {watermark: t, page: 500}
"""


def fill(directory, rows):
    connection = sqlite3.connect(directory / "collections" / "s" / "s.db", isolation_level=None)
    connection.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER, mag REAL, t REAL)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    return connection


def total(site):
    with query.run_query("SELECT COUNT(*) AS n, SUM(mag) AS s FROM s.main", OWNER_PRINCIPAL, site=site) as result:
        return next(iter(result.iterate_batches())).to_pylist()[0]


@pytest.fixture(autouse=True)
def _sql() -> None:
    require_plugins("sources", "sql")


class Died(BaseException):
    """As a kill, but this process lives on."""


@pytest.mark.parametrize("first", [True, False])
def test_a_killed_run_goes_on_behind_its_last_page(tmp_path, monkeypatch, first):
    asked = []
    with open_site_with_uningested_files(tmp_path, TEXT) as site:
        database = fill(tmp_path, [(n, 1.0, float(n)) for n in range(1, 4001)])
        if not first:
            ingest_collection(site, "s")
            database.execute("UPDATE t SET mag = 2, t = t + 10000")
        whole = type(database_source(site)).read_pages

        def pages(self, columns=None, after=None):
            asked.append(after)
            for number, pair in enumerate(whole(self, columns, after)):
                if number == 3 and len(asked) == 1:
                    raise Died
                yield pair

        monkeypatch.setattr(type(database_source(site)), "read_pages", pages)
        with pytest.raises(Died):
            sync_collection(site, "s", accept_changes=True)
        assert sorted(path.stem for path in (tmp_path / "var/sync/pages/s.main/0").glob("*.arrow")) == [
            "000000",
            "000001",
            "000002",
        ]
        (told,) = [
            text for text in sync_collection(site, "s", accept_changes=True).warnings if "from a stopped run" in text
        ]
        assert told.startswith("s.main: 1,500 rows come from a stopped run that began to read at 20")
        assert told.endswith(" UTC; the next run finds any later changes")
        assert not any("stopped" in text for text in sync_collection(site, "s").warnings)
        assert asked[0] is None
        assert asked[1]  # behind the third page
        assert total(site) == {"n": 4000, "s": 4000.0 if first else 8000.0}
        assert not (tmp_path / "var/sync/pages/s.main").exists()
        database.close()


def database_source(site):
    from hven.model import plugins
    from hven.sources import SourceContext

    module = plugins.load_plugin("sources", "sql")
    return module.open(
        module.Options(file="s.db", table="t"), SourceContext(directory=site.settings.collections_directory / "s")
    )


def test_killed_at_any_moment(tmp_path):
    with open_site_with_uningested_files(tmp_path, TEXT) as site:
        (tmp_path / "hven.toml").write_text("")
        database = fill(tmp_path, [(n, 1.0, float(n)) for n in range(1, 20_001)])
        ingest_collection(site, "s")
        before = total(site)
        database.execute("UPDATE t SET mag = 2, t = t + 50000 WHERE id % 4 = 0")
        after = {"n": 20_000, "s": 25_000.0}
        chance = random.Random(7)
        for _ in range(KILLS):
            process = start_hven(["--site", str(tmp_path), "sync", "s"], tmp_path / "sync.log", None)
            time.sleep(chance.uniform(*MOMENTS))
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert total(site) in (before, after)
        sync_collection(site, "s")
        assert total(site) == after
        assert not sync_collection(site, "s").has_changes
        assert site.store.runs.list_runs("s")[0].phase == "COMPLETED"
        database.close()
