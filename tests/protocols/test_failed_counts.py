"""A count that fails is no result: it is tried again after pauses that grow, health says it, and processes share what one has counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.jobs.health import SiteHealthMonitor
from hven.model import RetryBackoffLog
from hven.model._failures import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, STALE_SECONDS
from hven.model.errors import TimeLimitError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING
from hven.portal._explore import collection_overviews, facets, page_queries, parse_search
from hven.portal._explore.count_trees import CountTreeCache
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site

TABLE = Table(
    schema="obs",
    name="main",
    primary=("id",),
    columns=(
        Column(name="id", type=INT32),
        Column(name="instrument_name", type=STRING),
        Column(name="level", type=INT32, enum="levels"),
        Column(name="t_min", type=FLOAT64, unit="d", ucd="time.start;obs.exposure"),
    ),
    enums={"levels": {"1": "raw", "2": "calibrated"}},
)
ROWS = pa.table(
    {
        "id": pa.array(range(60), pa.int32()),
        "instrument_name": ["CRISM", "OMEGA", "OMEGA"] * 20,
        "level": pa.array([1, 2] * 30, pa.int32()),
        "t_min": [50_000.0 + 7.5 * n for n in range(60)],
    }
)
LEVELS, BRANCHES, REACH = ("instrument_name",), 100, "public"


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"obs.main": (TABLE, ROWS)}) as made:
        yield made


@pytest.fixture
def clock(site: Site) -> Clock:
    moved = Clock()
    site.get_or_create(RetryBackoffLog, moved)
    return moved


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every query of the pages is too late, until `undo`."""
    with monkeypatch.context() as patch:

        def late(*_: Any, **__: Any) -> None:
            raise TimeLimitError("too late")

        patch.setattr(page_queries.QueryRunner, "run_query", late)
        yield patch


def tree(trees: CountTreeCache, asking: QueryRunner) -> dict[str | None, int | None]:
    root = trees.build_tree(asking, [TABLE], LEVELS, BRANCHES, REACH)
    return {node.name: node.row_count for node in root.branches.values()}


def test_pauses_grow_up_to_a_limit() -> None:
    clock = Clock()
    failures = RetryBackoffLog(clock)
    pauses = []
    for attempt in range(1, 12):
        failure = failures.record_failure("key", "counts", "late")
        assert failure.attempts == attempt
        assert failures.is_retry_paused("key")
        pauses.append(failure.due_at - clock.now)
        clock.now = failure.due_at
        assert not failures.is_retry_paused("key")
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == MAX_PAUSE_SECONDS
    assert [one.subject for one in failures.list_failures()] == ["counts"]
    failures.record_success("key")
    assert failures.list_failures() == []
    failures.record_failure("other", "counts", "late")
    clock.now += STALE_SECONDS + 1
    assert failures.list_failures() == []  # nobody asks for it any more


def test_a_tree_that_failed_is_counted_again(asking: QueryRunner, clock: Clock, busy: pytest.MonkeyPatch) -> None:
    trees = CountTreeCache()
    assert tree(trees, asking) == {}
    assert trees.count_uncounted_tables(asking, [TABLE], LEVELS, BRANCHES, REACH) == 1
    assert trees.is_ready(asking, [TABLE], LEVELS, BRANCHES, REACH)  # nobody waits for it during the pause
    busy.undo()
    assert tree(trees, asking) == {}
    clock.now += FIRST_PAUSE_SECONDS
    assert not trees.is_ready(asking, [TABLE], LEVELS, BRANCHES, REACH)
    assert tree(trees, asking) == {"CRISM": 20, "OMEGA": 40}
    assert trees.count_uncounted_tables(asking, [TABLE], LEVELS, BRANCHES, REACH) == 0
    assert asking.site.get_or_create(RetryBackoffLog).list_failures() == []


def test_one_process_counts_the_tree_for_all(asking: QueryRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tree(CountTreeCache(), asking)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was counted already")

    monkeypatch.setattr(page_queries.QueryRunner, "run_query", refuse)
    assert tree(CountTreeCache(), asking) == first == {"CRISM": 20, "OMEGA": 40}  # as another process has it


def test_health_says_what_could_not_be_counted(asking: QueryRunner, clock: Clock, busy: pytest.MonkeyPatch) -> None:
    trees = CountTreeCache()
    tree(trees, asking)
    health = SiteHealthMonitor(asking.site)
    (check,) = (one for one in health.run_health_checks() if one.name == "counts")
    assert (check.state, check.reason) == (
        "warning",
        "some counts for the pages could not be computed; Hven will try again",
    )
    assert "the tree's counts of obs.main: failed 1 times: too late" in str(check.message)
    busy.undo()
    clock.now += FIRST_PAUSE_SECONDS
    tree(trees, asking)
    (check,) = (one for one in health.run_health_checks() if one.name == "counts")
    assert check.state == "ok"


def test_choices_that_could_not_be_counted_say_so(asking: QueryRunner, busy: pytest.MonkeyPatch) -> None:
    columns = facets.find_facet_columns(TABLE, asking)
    found = facets.count_facets(parse_search([], TABLE), columns, asking)
    assert [(one.column.name, one.is_counted, one.choices) for one in found] == [("level", False, ())] or not any(
        one.is_counted for one in found
    )
    busy.undo()
    again = facets.count_facets(parse_search([], TABLE), columns, asking)
    assert again
    assert all(one.is_counted and one.choices for one in again)


def test_an_answer_without_any_choices_is_an_error(site: Site, busy: pytest.MonkeyPatch) -> None:
    client = Client(create_and_start_application(site))
    late = client.get("/collections/obs/main/facets")
    assert late.status == 503
    assert int(late.headers["retry-after"]) >= 1
    one = client.get("/collections/obs/main/facets?_of=level")
    assert one.status == 503
    busy.undo()
    assert client.get("/collections/obs/main/facets").status == 200


def test_counts_of_a_state_that_were_late_are_asked_again(
    asking: QueryRunner, clock: Clock, busy: pytest.MonkeyPatch
) -> None:
    asked = parse_search([], TABLE).build_count_query()
    assert asking.fetch_cached_until_change(asked, TABLE, timeout_seconds=1.0) is None
    busy.undo()
    assert asking.fetch_cached_until_change(asked, TABLE, timeout_seconds=1.0) is None
    clock.now += FIRST_PAUSE_SECONDS
    found = asking.fetch_cached_until_change(asked, TABLE, timeout_seconds=1.0)
    assert found is not None
    assert found.column(0).to_pylist() == [60]


def test_a_card_that_lacks_something_is_made_again(
    asking: QueryRunner, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = collection_overviews.CollectionOverviewCache()
    years = ("2001-01-01", "2002-01-01")

    def late(*_: Any) -> None:
        raise TimeLimitError("too late")

    with monkeypatch.context() as patch:
        patch.setattr(collection_overviews, "find_time_range", late)
        assert looks.summarize_collections([[TABLE]], asking, REACH, lambda _: True)[0].years is None
    monkeypatch.setattr(collection_overviews, "find_time_range", lambda *_: years)
    assert looks.summarize_collections([[TABLE]], asking, REACH, lambda _: True)[0].years is None
    clock.now += FIRST_PAUSE_SECONDS
    assert looks.summarize_collections([[TABLE]], asking, REACH, lambda _: True)[0].years == ("2001", "2002")
