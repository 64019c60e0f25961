"""Queries that are computed in a process of their own: the same answers and errors as here, whatever becomes of that process."""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "query"))
sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from query_comparison import NONDETERMINISTIC_WORDS, RANDOM_FUNCTIONS, assert_same_rows, run_query

from hven import query as query_pipeline
from hven.engines import Snapshot
from hven.engines.duckdb import query_process, query_worker
from hven.engines.duckdb.engine import DuckEngine
from hven.engines.duckdb.engine_protocol import RelationRows
from hven.model import deadlines
from hven.model.errors import EvaluationError, HvenError, OperationCancelledError, OverloadedError, TimeLimitError
from hven.site import Site
from hven.testing.site import build_table_from_arrow, open_tiny_site
from process_runner import is_gone
from query_tables import PUBLISHED_TABLES, TABLES
from random_queries import write_random_query

ROWS = 60_000
NEVER = "SELECT COUNT(*) AS n FROM s.big AS a, s.big AS b, s.big AS c WHERE a.v + b.v + c.v > 3"
GROUPS = "SELECT word, COUNT(*) AS n, MIN(v) AS lo FROM s.big GROUP BY word ORDER BY word"


def wait_until_true(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    rows = pa.table(
        {
            "n": np.arange(ROWS),
            "v": np.linspace(0, 1, ROWS),
            "word": pa.array([f"w{number % 97}" for number in range(ROWS)]),
        }
    )
    tables = {table.qualified_name: (table, given) for table, given in PUBLISHED_TABLES}
    with open_tiny_site(
        tmp_path_factory.mktemp("apart"), {**tables, "s.big": (build_table_from_arrow("s.big", rows), rows)}
    ) as made:
        yield made


@pytest.fixture
def engine(site: Site) -> Iterator[DuckEngine]:
    found = site.engines.embedded_engine
    assert isinstance(found, DuckEngine)
    if found._query_process is None:
        found.delegate_long_queries()
    assert query_pipeline.run_query(GROUPS, site=site).read_table().num_rows == 97, (
        "while the process begins, queries are computed here"
    )
    wait_until_true(found.list_helper_processes)
    yield found
    assert found._query_process is not None
    assert not found._query_process._taken_count, "every channel is given back"


def rows_of(site: Site, text: str = GROUPS, **more: float) -> list[dict[str, object]]:
    with query_pipeline.run_query(text, site=site, **more) as result:  # type: ignore[arg-type]
        return result.read_table().to_pylist()  # type: ignore[no-any-return]


def test_made_queries_have_the_same_answers_there(
    site: Site, engine: DuckEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = 0
    taken = engine._query_process.take_channel_or_start_process  # type: ignore[union-attr]

    def take() -> object:
        nonlocal apart
        apart += 1
        found = taken()
        assert found is not None
        return found

    monkeypatch.setattr(engine._query_process, "take_channel_or_start_process", take)
    kinds = set()
    for seed in range(80):
        text = write_random_query(seed, TABLES)
        if RANDOM_FUNCTIONS.search(text):
            continue
        monkeypatch.setattr("hven.engines.duckdb.engine.is_query_worth_delegating", lambda sql, relations: False)
        here = run_query(site, text)
        monkeypatch.setattr("hven.engines.duckdb.engine.is_query_worth_delegating", lambda sql, relations: True)
        there = run_query(site, text)
        kinds.add(type(there))
        if isinstance(here, HvenError) or isinstance(there, HvenError):
            assert (type(here), str(here)) == (type(there), str(there)), text
        elif not NONDETERMINISTIC_WORDS.search(text):
            assert here.schema == there.schema
            assert_same_rows(f"seed {seed}", text, here, there)
    assert apart > 25
    assert kinds >= {pa.Table, EvaluationError}


def test_what_is_dear() -> None:
    small, big = (RelationRows(pa.table({"x": np.zeros(number)}), is_reusable=False) for number in (2_000, 60_000))
    assert not query_process.is_query_worth_delegating('SELECT x FROM "a"', {"a": small})
    assert query_process.is_query_worth_delegating('SELECT x FROM "a"', {"a": big})
    assert not query_process.is_query_worth_delegating('SELECT 1 FROM "a" AS t, "a" AS u', {"a": small})
    assert query_process.is_query_worth_delegating('SELECT 1 FROM "a" AS t, "a" AS u, "a" AS w', {"a": small}), (
        "rows times rows"
    )
    assert query_process.is_query_worth_delegating("SELECT 1 WHERE" + " AND 1 = 1" * 1000, {}), (
        "a long text takes long to be planned"
    )
    sample = RelationRows(big.table, is_reusable=False, is_sample=True)
    assert not query_process.is_query_worth_delegating('SELECT x FROM "a"', {"a": sample}), (
        "it is read faster than sent"
    )
    much = pa.table({"x": pa.nulls(query_process.MAX_SENT_BYTES // 8 + 1, pa.float64())})
    assert not query_process.is_query_worth_delegating(
        'SELECT x FROM "a"', {"a": RelationRows(much, is_reusable=False)}
    ), "it would have to be sent"
    snapshot = Snapshot(id="1", table="s.a", path="s.a/1", rows=much.num_rows)
    assert query_process.is_query_worth_delegating(
        'SELECT x FROM "a"', {"a": RelationRows(much, is_reusable=True, source=(snapshot, None))}
    )


@pytest.mark.skipif(
    tuple(int(part) for part in platform.release().split(".")[:2]) < (6, 12),
    reason="turns are nobody's to say before Linux 6.12",
)
def test_what_computes_there_has_short_turns(site: Site, engine: DuckEngine) -> None:
    (process,) = engine.list_helper_processes()
    rows_of(site)  # the process starts threads for its first query
    told = {thread.name: (thread / "sched").read_text() for thread in Path(f"/proc/{process}/task").iterdir()}
    turns = {name: found[1] for name, text in told.items() if (found := re.search(r"se\.slice +: +([0-9]+)", text))}
    short = {name for name, turn in turns.items() if turn == str(query_worker.TIME_SLICE_NANOSECONDS)}
    assert str(process) in short
    assert len(short) > 2, "those that it starts later have them as well"


def test_what_computes_there_is_below_who_answers(engine: DuckEngine) -> None:
    own = Path("/proc/self/autogroup")
    if not own.is_file():
        pytest.skip("this machine does not share itself among sessions")
    (process,) = engine.list_helper_processes()
    expected = 0 if deadlines.is_autogroup_priority_raised(os.getpid()) else deadlines.QUERY_SESSION_NICENESS
    wait_until_true(lambda: Path(f"/proc/{process}/autogroup").read_text().endswith(f" nice {expected}\n"))


def test_batches_come_as_they_are_wanted(site: Site, engine: DuckEngine) -> None:
    with query_pipeline.run_query(
        "SELECT n, v, word FROM s.big WHERE v >= 0 ORDER BY v", site=site, maxrec=ROWS
    ) as result:
        batches = list(result.iterate_batches())
    assert pa.Table.from_batches(batches)["n"].to_pylist() == list(range(ROWS))
    with query_pipeline.run_query("SELECT n FROM s.big WHERE v >= 0 ORDER BY v", site=site, maxrec=ROWS - 1) as result:
        assert sum(batch.num_rows for batch in result.iterate_batches()) == ROWS - 1
        assert result.overflow


def test_a_reader_who_leaves_stops_it(site: Site, engine: DuckEngine) -> None:
    free = len(engine._query_process._free_channels)  # type: ignore[union-attr]
    result = query_pipeline.run_query(
        "SELECT a.n FROM s.big AS a, s.big AS b WHERE a.v + b.v > 0", site=site, maxrec=1_000_000
    )
    assert next(result.iterate_batches()).num_rows
    result.close()
    assert len(engine._query_process._free_channels) <= free  # type: ignore[union-attr]
    assert len(rows_of(site)) == 97


def test_time_and_cancelling(site: Site, engine: DuckEngine) -> None:
    with pytest.raises(TimeLimitError, match=r"time limit of 0\.5 s"):
        rows_of(site, NEVER, timeout_seconds=0.5)
    result = query_pipeline.run_query(NEVER, site=site)
    raised: list[BaseException] = []

    def read() -> None:
        try:
            result.read_table()
        except HvenError as error:
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until_true(lambda: engine._query_process._taken_count)  # type: ignore[union-attr]
    result.cancel()
    thread.join(30)
    assert [type(error) for error in raised] == [OperationCancelledError]
    (pid,) = engine.list_helper_processes()
    wait_until_true(lambda: idle(pid))


def idle(pid: int) -> bool:
    """Tell whether a process computes nothing for half a second."""
    before = ticks(pid)
    time.sleep(0.5)
    return ticks(pid) - before < 5


def ticks(pid: int) -> int:
    """Give the processor time of a process, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_process_that_dies_is_the_fault_of_one_query(site: Site, engine: DuckEngine) -> None:
    (pid,) = engine.list_helper_processes()
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(OverloadedError, match=r"the query process ended \(SIGKILL\).*run the query again"):
        rows_of(site, NEVER)
    assert len(rows_of(site)) == 97, "computed here, while another one begins"
    wait_until_true(engine.list_helper_processes)
    assert {*engine.list_helper_processes()} != {pid}
    assert len(rows_of(site)) == 97


def test_what_died_while_nobody_asked_is_replaced(site: Site, engine: DuckEngine) -> None:
    (pid,) = engine.list_helper_processes()
    os.kill(pid, signal.SIGKILL)
    wait_until_true(lambda: not engine.list_helper_processes())
    for _ in range(3):
        assert len(rows_of(site)) == 97
    wait_until_true(lambda: {*engine.list_helper_processes()} - {pid})


def test_who_is_not_wanted_goes(site: Site, engine: DuckEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    (pid,) = engine.list_helper_processes()
    monkeypatch.setattr(query_process, "IDLE_TIMEOUT_SECONDS", 0.0)
    engine._query_process._stop_if_idle_or_check_later()  # type: ignore[union-attr]
    wait_until_true(lambda: is_gone(pid))
    assert not list(engine.directory.glob(f".spill-{pid}"))
    assert len(rows_of(site)) == 97


def test_where_none_can_begin_queries_are_computed_here(
    site: Site, engine: DuckEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    engine._query_process._release_process_in_thread()  # type: ignore[union-attr]
    for _ in range(3):
        assert len(rows_of(site)) == 97
    wait_until_true(lambda: engine._query_process._next_start_time)  # type: ignore[union-attr]
    assert not engine.list_helper_processes()
    engine._query_process._next_start_time = 0.0  # type: ignore[union-attr]


def test_a_snapshot_that_is_gone_is_read_where_it_is_mapped(site: Site, engine: DuckEngine) -> None:
    waiting = query_pipeline.run_query(GROUPS, site=site)
    stored = engine.open_snapshot(
        next(
            record.snapshot
            for record in site.store.read_published_records()[1].values()
            if record.snapshot.table == "s.big"
        )
    )
    place, aside = stored.path, stored.path.with_name("aside")
    os.kill(*engine.list_helper_processes(), signal.SIGKILL)  # one that has not mapped it
    wait_until_true(lambda: not engine.list_helper_processes())
    waiting.close()
    rows_of(site)
    wait_until_true(engine.list_helper_processes)
    place.rename(aside)
    try:
        assert len(rows_of(site)) == 97
    finally:
        aside.rename(place)


def test_it_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    rows = pa.table({"n": np.arange(ROWS)})
    with open_tiny_site(tmp_path, {"s.big": (build_table_from_arrow("s.big", rows), rows)}) as site:
        site.engines.embedded_engine.delegate_long_queries()
        rows_of(site, "SELECT COUNT(*) AS k FROM s.big WHERE n * 2 > 7")
        wait_until_true(site.engines.embedded_engine.list_helper_processes)
        (pid,) = site.engines.embedded_engine.list_helper_processes()
    wait_until_true(lambda: is_gone(pid))
    assert not list((tmp_path / "var").glob("snapshots/.spill*"))
