"""The road to data: limits, plans that are remembered, turns, cancellation at every moment, what is freed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hven import engines, query
from hven.model.errors import (
    BindError,
    EvaluationError,
    OperationCancelledError,
    OverloadedError,
    RowsReplacedError,
    ServiceError,
    StorageUnavailableError,
    TimeLimitError,
    TooLargeError,
)
from hven.model.settings import QueryLimits
from hven.query import _pipeline as road
from hven.query import _query_result as result
from hven.query import query_queue
from hven.query._planning import MAX_PLAN_BYTES, PLAN_OVERHEAD_BYTES, PlanCache, estimate_plan_bytes
from hven.query._query_result import MAX_PIECE_BYTES
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import build_table_from_arrow, open_tiny_site, publish_rows

ROWS = 100_000
ENDLESS = "SELECT COUNT(*) AS n FROM s.t AS a, s.t AS b WHERE a.n + b.n < -1"


def build_rows(number: int = ROWS) -> pa.Table:
    return pa.table(
        {
            "n": np.arange(number, dtype=np.int32),
            "ra": np.linspace(0, 359, number),
            "dec": np.linspace(-80, 80, number),
            "word": ["12" if n % 2 == 0 else f"hidden{n}" for n in range(number)],
        }
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("road"), {"s.t": build_rows()}, limits=QueryLimits(concurrent=1, maxrec_hard=90_000)
    ) as opened:
        yield opened


def ask(site: Site, text: str, **more: object) -> list[dict[str, object]]:
    with query.run_query(text, site=site, **more) as result:  # type: ignore[arg-type]
        return result.read_table().to_pylist()


def wait_until_true(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maxrec", "rows", "overflow"), [(0, 0, True), (10, 10, True), (None, 90_000, True), (10**9, 90_000, True)]
)
def test_maxrec_cuts_and_says_so(site: Site, maxrec: int | None, rows: int, overflow: bool) -> None:
    with query.run_query("SELECT n FROM s.t WHERE n >= 0", site=site, maxrec=maxrec) as result:
        assert sum(batch.num_rows for batch in result.iterate_batches()) == rows
        end = result.build_status()
    assert (end.row_count, end.overflow, end.error_message) == (rows, overflow, None)


def test_as_many_rows_as_allowed_are_no_overflow(site: Site) -> None:
    with query.run_query("SELECT n FROM s.t WHERE n < 10", site=site, maxrec=10) as result:
        assert len(result.read_table()) == 10
        assert not result.build_status().overflow


def test_big_batches_come_in_pieces_and_whole(site: Site) -> None:
    with query.run_query(
        "SELECT n, ra, dec, word, word AS again, word AS once_more FROM s.t", site=site, maxrec=80_000
    ) as result:
        batches = list(result.iterate_batches())
    assert max(batch.nbytes for batch in batches) < 1.5 * MAX_PIECE_BYTES
    values = [value for batch in batches for value in batch.column(0).to_pylist()]
    assert len(set(values)) == len(values) == 80_000


@pytest.mark.parametrize("item", ["n", "n + 1"])  # read as they are; computed
def test_wide_rows_come_few_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch, item: str) -> None:
    """The clock is looked at before each batch: none may take long, however many columns it has."""
    monkeypatch.setattr(engines, "MAX_BATCH_CELLS", 16_000)
    monkeypatch.setattr(result, "MAX_PIECE_CELLS", 4_000)
    given: list[int] = []
    split = result._split_batch
    monkeypatch.setattr(result, "_split_batch", lambda batch: given.append(batch.num_rows) or split(batch))
    with query.run_query(
        f"SELECT {', '.join(f'{item} AS a{i}' for i in range(8))} FROM s.t", site=site, maxrec=10_000
    ) as asked:
        batches = list(asked.iterate_batches())
    assert max(given) == 2_000
    assert {batch.num_rows for batch in batches} == {500}
    assert sum(batch.num_rows for batch in batches) == 10_000


def test_a_text_that_is_too_long_is_refused_before_it_is_read(site: Site) -> None:
    with pytest.raises(TooLargeError, match="1,000,000"):
        query.run_query("SELECT n FROM s.t --" + "x" * 1_000_000, site=site)


# --- plans ---------------------------------------------------------------------------------------------------


def test_other_numbers_use_the_same_plan_and_get_their_own_rows(site: Site) -> None:
    ask(site, "SELECT n FROM s.t WHERE n = 1")
    before = len(site.get_or_create(PlanCache))
    for number in (5, 7, 99):
        assert ask(site, f"SELECT n FROM s.t WHERE n = {number}") == [{"n": number}]
    assert len(site.get_or_create(PlanCache)) == before


def test_long_lists_are_answered_and_not_kept(site: Site) -> None:
    before = site.get_or_create(PlanCache)._plans.total_bytes
    for size in (4_000, 10_000):
        among = ",".join(str(n) for n in range(size))
        assert len(ask(site, f"SELECT n FROM s.t WHERE n IN ({among})")) == size
    assert site.get_or_create(PlanCache)._plans.total_bytes == before


def test_a_plan_of_another_version_is_not_used(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": build_rows(10)}) as site:
        assert list(ask(site, "SELECT * FROM s.t WHERE n = 1")[0]) == ["n", "ra", "dec", "word"]
        fewer = build_rows(10).select(["n", "word"])
        publish_rows(site, build_table_from_arrow("s.t", fewer), fewer)
        site.refresh_published_state()
        assert list(ask(site, "SELECT * FROM s.t WHERE n = 1")[0]) == ["n", "word"]
        with pytest.raises(BindError):
            query.run_query("SELECT ra FROM s.t", site=site)


def test_rows_that_go_while_a_query_waits_are_not_called_damaged(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": build_rows(10)}) as site:
        waiting = query.run_query("SELECT * FROM s.t WHERE n < 5", site=site)
        site.store.unpublish_collection("s")
        site.engines.drop_snapshots_and_list_problems(site.store.delete_unreferenced_snapshots("s"))
        with pytest.raises(
            RowsReplacedError,
            match=r"the rows of s\.t were replaced or removed while this query was waiting; run the query again",
        ):
            waiting.read_table()
    with open_tiny_site(tmp_path / "other", {"s.t": build_rows(10)}) as site:
        waiting = query.run_query("SELECT * FROM s.t WHERE n < 5", site=site)
        site.engines.drop_snapshots_and_list_problems(
            [record.snapshot for record in site.store.read_published_records()[1].values()]
        )
        with pytest.raises(StorageUnavailableError, match="damaged"):
            waiting.read_table()


class Plan:
    """Stands for a prepared query: only its free slots count here."""

    def __init__(self, free: frozenset[int]) -> None:
        self.bound_query = self
        self.free_slots = free


def test_shapes_are_bounded_by_their_bytes_and_forget_the_oldest() -> None:
    shapes = PlanCache(budget=10 * estimate_plan_bytes(100))
    for number in range(50):
        shapes.store(number, (), Plan(frozenset()), token_count=100)  # type: ignore[arg-type]
        shapes.find(0, ())
    assert len(shapes) == 10
    assert shapes._plans.total_bytes <= 10 * estimate_plan_bytes(100)
    assert shapes.find(0, ()) is not None, "what is used stays"
    assert shapes.find(20, ()) is None
    shapes.store("huge", (), Plan(frozenset()), token_count=MAX_PLAN_BYTES)  # type: ignore[arg-type]
    assert shapes.find("huge", ()) is None
    for number in range(60, 100):
        shapes.store(number, (), Plan(frozenset()), token_count=100)  # type: ignore[arg-type]
    assert len(shapes) == 10
    assert len(shapes._fixed_slots) == 10 * estimate_plan_bytes(100) // PLAN_OVERHEAD_BYTES < 40, (
        "as many as would be plans of no words"
    )


def test_fixed_literals_are_part_of_the_key() -> None:
    shapes = PlanCache()
    deg, rad = Plan(frozenset({0})), Plan(frozenset({0}))
    shapes.store("k", (1, "deg"), deg)  # type: ignore[arg-type]
    shapes.store("k", (1, "rad"), rad)  # type: ignore[arg-type]
    assert shapes.find("k", (77, "deg")) is deg
    assert shapes.find("k", (1, "rad")) is rad
    assert shapes.find("k", (1, "arcsec")) is None


def test_shapes_withstand_many_threads() -> None:
    shapes = PlanCache(budget=20 * estimate_plan_bytes(10))
    wrong: list[object] = []

    def work(seed: int) -> None:
        numbers = np.random.default_rng(seed).integers(0, 60, 3000).tolist()
        for number in numbers:
            found = shapes.find(number, (number,))
            if found is not None and found.number != number:  # type: ignore[attr-defined]
                wrong.append(number)
            plan = Plan(frozenset())
            plan.number = number  # type: ignore[attr-defined]
            shapes.store(number, (number,), plan, token_count=10)  # type: ignore[arg-type]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert shapes._plans.total_bytes == len(shapes) * estimate_plan_bytes(10) <= 20 * estimate_plan_bytes(10)


# --- turns and cancellation ----------------------------------------------------------------------------------


def stopping(result: query.QueryResult) -> tuple[threading.Thread, list[BaseException]]:
    """Read a result in a thread; what it raised is in the list when the thread ends."""
    raised: list[BaseException] = []

    def read() -> None:
        try:
            for _ in result.iterate_batches():
                pass
        except Exception as error:  # noqa: BLE001  (whatever it is, the test looks at it)
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, raised


def test_a_cancelled_query_ends_soon_and_gives_its_turn_back(site: Site) -> None:
    result = query.run_query(ENDLESS, site=site)
    thread, raised = stopping(result)
    wait_until_true(lambda: site.get_or_create(road._build_query_queue, site).running_count == 1)
    time.sleep(0.2)
    result.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(raised[0], OperationCancelledError)
    assert site.get_or_create(road._build_query_queue, site).running_count == 0


def test_one_runs_one_waits_the_third_is_sent_away_and_small_ones_pass(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 60.0)
    monkeypatch.setattr(site.get_or_create(road._build_query_queue, site), "_place_count", 1)
    running, waiting = query.run_query(ENDLESS, site=site), query.run_query(ENDLESS, site=site)
    first = stopping(running)
    wait_until_true(lambda: site.get_or_create(road._build_query_queue, site).running_count == 1)
    second = stopping(waiting)
    wait_until_true(lambda: site.get_or_create(road._build_query_queue, site)._waiting_turns)
    with pytest.raises(OverloadedError, match="try again"):
        ask(site, ENDLESS)
    assert ask(site, "SELECT COUNT(*) AS n FROM s.t") == [{"n": ROWS}]
    waiting.cancel()
    second[0].join(60)
    assert isinstance(second[1][0], OperationCancelledError)
    assert not site.get_or_create(road._build_query_queue, site)._waiting_turns
    running.cancel()
    first[0].join(60)
    assert site.get_or_create(road._build_query_queue, site).running_count == 0


def test_who_waits_too_long_is_sent_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 0.2)
    running = query.run_query(ENDLESS, site=site)
    thread, _ = stopping(running)
    wait_until_true(lambda: site.get_or_create(road._build_query_queue, site).running_count == 1)
    with pytest.raises(OverloadedError):
        ask(site, ENDLESS)
    running.cancel()
    thread.join(60)


def test_the_waiting_query_runs_when_its_turn_comes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 60.0)
    running = query.run_query(ENDLESS, site=site)
    thread, _ = stopping(running)
    wait_until_true(lambda: site.get_or_create(road._build_query_queue, site).running_count == 1)
    threading.Timer(0.3, running.cancel).start()
    assert ask(site, "SELECT MAX(n) AS m FROM s.t WHERE word LIKE '1%'") == [{"m": ROWS - 2}]
    thread.join(60)


@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_what_was_stopped_before_it_began_never_runs(site: Site, stop: str) -> None:
    result = query.run_query(ENDLESS, site=site)
    getattr(result, stop)()
    with pytest.raises(OperationCancelledError):
        list(result.iterate_batches())
    assert site.get_or_create(road._build_query_queue, site).running_count == 0


@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_a_stop_while_the_engine_begins_is_not_lost(site: Site, stop: str) -> None:
    result = query.run_query("SELECT n FROM s.t WHERE n < 5", site=site)
    begin = result._start_execution

    def begin_and_stop() -> object:
        assert begin is not None
        execution = begin()
        getattr(result, stop)()  # another thread, just now: it saw nothing to stop
        return execution

    result._start_execution = begin_and_stop  # type: ignore[assignment]
    with pytest.raises(OperationCancelledError):
        list(result.iterate_batches())


def test_a_reader_who_takes_only_some_gives_the_turn_back(site: Site) -> None:
    with query.run_query("SELECT n, word FROM s.t WHERE word LIKE '%2%'", site=site) as result:
        next(result.iterate_batches())
    assert site.get_or_create(road._build_query_queue, site).running_count == 0
    result.close()
    assert site.get_or_create(road._build_query_queue, site).running_count == 0


def test_an_error_in_the_middle_gives_the_turn_back(site: Site) -> None:
    with query.run_query("SELECT CAST(word AS INTEGER) AS k FROM s.t WHERE n > 50000", site=site) as result:
        with pytest.raises(EvaluationError, match="hidden"):
            list(result.iterate_batches())
        assert "hidden" in str(result.build_status().error_message)
    assert site.get_or_create(road._build_query_queue, site).running_count == 0


def test_the_unforeseen_is_told_in_our_words_and_kept_for_the_log(site: Site) -> None:
    result = query.run_query("SELECT n FROM s.t WHERE n < 5", site=site)

    def broken() -> object:
        raise ZeroDivisionError("secret /etc/passwd")

    result._start_execution = broken  # type: ignore[assignment]
    result.request_id = "abc"
    with pytest.raises(ServiceError) as told:
        list(result.iterate_batches())
    assert "secret" not in str(told.value)
    assert isinstance(result.failure, ZeroDivisionError)
    assert str(result.build_status().error_message).endswith("[request abc]")


# --- policies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a.n FROM s.t AS a JOIN s.t AS b ON a.n = b.n WHERE CAST(b.word AS INTEGER) > 0",
        "SELECT COUNT(*) AS c FROM s.t WHERE CAST(word AS INTEGER) > 0",
        "SELECT n FROM s.t WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, -76, 5)) AND CAST(word AS INTEGER) > 0",
        "SELECT CAST(word AS INTEGER) + n AS k FROM s.t",
        "SELECT 1 / (CAST(word AS INTEGER) - 12) AS k FROM s.t WHERE n = 7",
    ],
)
def test_no_error_quotes_a_value_that_is_hidden(site: Site, text: str) -> None:
    """An engine may compute with a row before the policy drops it; what it says of it must not come out."""
    told = []
    with (
        contextlib.suppress(EvaluationError),
        query.run_query(text, site=site, policies=build_odd_rows_hidden_policies("n")) as result,
    ):
        try:
            list(result.iterate_batches())
        finally:
            told.append(str(result.build_status().error_message))
    assert told
    assert "hidden" not in told[0]


HIDDEN = [
    ("SELECT COUNT(*) AS c FROM s.t WHERE CAST(word AS INTEGER) >= 0", [{"c": ROWS // 2}]),
    ("SELECT COUNT(*) AS c FROM s.t WHERE CAST(word AS INTEGER) >= 0 AND n BETWEEN 10 AND 19", [{"c": 5}]),
    ("SELECT COUNT(*) AS c FROM s.t WHERE 10 / (MOD(n, 2) - 1) < 0 AND CAST(word AS INTEGER) = n", None),
    (
        "SELECT COUNT(*) AS c FROM s.t AS a JOIN s.t AS b ON a.n = b.n WHERE CAST(b.word AS INTEGER) >= CAST(a.word AS INTEGER)",
        [{"c": ROWS // 2}],
    ),
    (
        "SELECT COUNT(*) AS c FROM s.t AS a JOIN s.t AS b ON CAST(a.word AS INTEGER) = CAST(b.word AS INTEGER) WHERE a.n < 200",
        None,
    ),
    ("SELECT COUNT(*) AS c FROM s.t WHERE n IN (SELECT CAST(word AS INTEGER) FROM s.t)", None),
    ("SELECT COUNT(*) AS c FROM (SELECT CAST(word AS INTEGER) AS k FROM s.t) AS d WHERE d.k >= 0", [{"c": ROWS // 2}]),
    ("SELECT COUNT(*) AS c FROM s.t WHERE CASE WHEN CAST(word AS INTEGER) >= 0 THEN 1 END = 1", [{"c": ROWS // 2}]),
    ("SELECT SUM(CAST(word AS INTEGER)) AS c FROM s.t WHERE n < 10", None),
]


@pytest.mark.parametrize(("text", "wanted"), HIDDEN)
def test_no_query_fails_for_a_row_that_is_hidden(site: Site, text: str, wanted: list[dict[str, int]] | None) -> None:
    """Whether a query fails would tell of the values of hidden rows, one bit each time."""
    found = ask(site, text, policies=build_odd_rows_hidden_policies("n"))
    assert len(found) == 1
    if wanted is not None:
        assert found == wanted
    with pytest.raises(EvaluationError):
        ask(site, "SELECT COUNT(*) AS c FROM s.t WHERE CAST(word AS INTEGER) >= 0")


def test_readers_of_other_reach_do_not_share_plans(site: Site) -> None:
    text = "SELECT COUNT(*) AS c FROM s.t WHERE n < 1000"
    for _ in range(2):
        assert ask(site, text, principal=ANONYMOUS_PRINCIPAL, policies=build_odd_rows_hidden_policies("n")) == [
            {"c": 500}
        ]
        assert ask(site, text, principal=OWNER_PRINCIPAL, policies=build_odd_rows_hidden_policies("n")) == [{"c": 1000}]
        assert ask(site, text) == [{"c": 1000}]


def test_what_is_spent_on_writing_counts(site: Site) -> None:
    result = query.run_query("SELECT n, word || 'x' AS w FROM s.t WHERE n >= 0", site=site, timeout_seconds=5)
    rows = result.iterate_batches()
    next(rows)
    assert result.deadline is not None
    result.deadline.expiry_time -= 6
    with pytest.raises(TimeLimitError, match="5 s"):
        list(rows)


def test_a_text_of_a_form_that_was_planned_is_known(site: Site) -> None:
    text = "SELECT n, word FROM s.t WHERE n = {} AND word IS NOT NULL"
    assert query.find_cached_query_plan(text.format(4), ANONYMOUS_PRINCIPAL, site=site) is None
    query.run_query(text.format(4), site=site).close()
    planned = query.find_cached_query_plan(text.format(5), ANONYMOUS_PRINCIPAL, site=site)
    assert planned is not None
    assert planned.literal_values == (5,)
    assert query.find_cached_query_plan("SELECT 'no end", ANONYMOUS_PRINCIPAL, site=site) is None
