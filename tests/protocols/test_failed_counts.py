"""A count that fails is no result: it is tried again after pauses that grow, health says it, and processes share what one has counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asking import Client

from hven.app._server import create
from hven.jobs.health import Health
from hven.model import Failures
from hven.model._failures import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, STALE_SECONDS
from hven.model.errors import Timeout
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING
from hven.portal._explore import collection_looks, facets, page_queries, read, strip, value_index
from hven.portal._explore.count_trees import Trees
from hven.portal._explore.page_queries import Asking
from hven.site import Site
from hven.site.auth._permit import ANONYMOUS, DEFAULT
from hven.testing.site import tiny_site

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
    with tiny_site(tmp_path, {"obs.main": (TABLE, ROWS)}) as made:
        yield made


@pytest.fixture
def clock(site: Site) -> Clock:
    moved = Clock()
    site.kept(Failures, moved)
    return moved


@pytest.fixture
def asking(site: Site) -> Asking:
    return Asking(site=site, who=ANONYMOUS, policies=DEFAULT, holdings=site.current())


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every query of the pages is too late, until `undo`."""
    with monkeypatch.context() as patch:

        def late(*_: Any, **__: Any) -> None:
            raise Timeout("too late")

        patch.setattr(page_queries.Asking, "run", late)
        yield patch


def tree(trees: Trees, asking: Asking) -> dict[str | None, int | None]:
    root = trees.of(asking, [TABLE], LEVELS, BRANCHES, REACH)
    return {node.name: node.rows for node in root.branches.values()}


def test_pauses_grow_up_to_a_limit() -> None:
    clock = Clock()
    failures = Failures(clock)
    pauses = []
    for attempt in range(1, 12):
        failure = failures.note("key", "counts", "late")
        assert failure.attempts == attempt
        assert failures.is_paused("key")
        pauses.append(failure.due_at - clock.now)
        clock.now = failure.due_at
        assert not failures.is_paused("key")
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == MAX_PAUSE_SECONDS
    assert [one.subject for one in failures.list()] == ["counts"]
    failures.forget("key")
    assert failures.list() == []
    failures.note("other", "counts", "late")
    clock.now += STALE_SECONDS + 1
    assert failures.list() == []  # nobody asks for it any more


def test_a_tree_that_failed_is_counted_again(asking: Asking, clock: Clock, busy: pytest.MonkeyPatch) -> None:
    trees = Trees()
    assert tree(trees, asking) == {}
    assert trees.count_missing(asking, [TABLE], LEVELS, BRANCHES, REACH) == 1
    assert trees.ready(asking, [TABLE], LEVELS, BRANCHES, REACH)  # nobody waits for it during the pause
    busy.undo()
    assert tree(trees, asking) == {}
    clock.now += FIRST_PAUSE_SECONDS
    assert not trees.ready(asking, [TABLE], LEVELS, BRANCHES, REACH)
    assert tree(trees, asking) == {"CRISM": 20, "OMEGA": 40}
    assert trees.count_missing(asking, [TABLE], LEVELS, BRANCHES, REACH) == 0
    assert asking.site.kept(Failures).list() == []


def test_one_process_counts_the_tree_for_all(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tree(Trees(), asking)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was counted already")

    monkeypatch.setattr(page_queries.Asking, "run", refuse)
    assert tree(Trees(), asking) == first == {"CRISM": 20, "OMEGA": 40}  # as another process has it


def test_health_says_what_could_not_be_counted(asking: Asking, clock: Clock, busy: pytest.MonkeyPatch) -> None:
    trees = Trees()
    tree(trees, asking)
    health = Health(asking.site)
    (check,) = (one for one in health.checks() if one.name == "counts")
    assert (check.state, check.reason) == ("warning", "some counts of the pages failed and are tried again")
    assert "the tree's counts of obs.main: failed 1 times: too late" in str(check.message)
    busy.undo()
    clock.now += FIRST_PAUSE_SECONDS
    tree(trees, asking)
    (check,) = (one for one in health.checks() if one.name == "counts")
    assert check.state == "ok"


def test_choices_that_could_not_be_counted_say_so(asking: Asking, busy: pytest.MonkeyPatch) -> None:
    columns = facets.offered(TABLE, asking)
    found = facets.facets(read([], TABLE), columns, asking)
    assert [(one.column.name, one.counted, one.choices) for one in found] == [("level", False, ())] or not any(
        one.counted for one in found
    )
    busy.undo()
    again = facets.facets(read([], TABLE), columns, asking)
    assert again
    assert all(one.counted and one.choices for one in again)


def test_an_answer_without_any_choices_is_an_error(site: Site, busy: pytest.MonkeyPatch) -> None:
    client = Client(create(site))
    late = client.get("/collections/obs/main/facets")
    assert late.status == 503
    assert int(late.headers["retry-after"]) >= 1
    one = client.get("/collections/obs/main/facets?_of=level")
    assert one.status == 503
    busy.undo()
    assert client.get("/collections/obs/main/facets").status == 200


def test_counts_of_a_state_that_were_late_are_asked_again(
    asking: Asking, clock: Clock, busy: pytest.MonkeyPatch
) -> None:
    asked = read([], TABLE).count()
    assert asking.settled(asked, TABLE, seconds=1.0) is None
    busy.undo()
    assert asking.settled(asked, TABLE, seconds=1.0) is None
    clock.now += FIRST_PAUSE_SECONDS
    found = asking.settled(asked, TABLE, seconds=1.0)
    assert found is not None
    assert found.column(0).to_pylist() == [60]


def test_a_strip_that_was_late_is_laid_out_again(asking: Asking, clock: Clock, busy: pytest.MonkeyPatch) -> None:
    assert strip.layout(TABLE, asking) == strip.Layout()
    busy.undo()
    clock.now += FIRST_PAUSE_SECONDS
    assert strip.layout(TABLE, asking) != strip.Layout()


def test_values_that_could_not_be_counted_are_counted_again(
    asking: Asking, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = value_index.Index()
    with monkeypatch.context() as patch:
        patch.setattr(value_index, "counted", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        assert index.known([TABLE], asking, 5.0) == ([], False)
    clock.now += FIRST_PAUSE_SECONDS
    found, _ = index.known([TABLE], asking, 5.0)
    assert [one.table.name for one in found] == ["main"]


def test_a_card_that_lacks_something_is_made_again(
    asking: Asking, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = collection_looks.Looks()
    years = ("2001-01-01", "2002-01-01")

    def late(*_: Any) -> None:
        raise Timeout("too late")

    with monkeypatch.context() as patch:
        patch.setattr(collection_looks, "bounds", late)
        assert looks.of([[TABLE]], asking, REACH, lambda _: True)[0].years is None
    monkeypatch.setattr(collection_looks, "bounds", lambda *_: years)
    assert looks.of([[TABLE]], asking, REACH, lambda _: True)[0].years is None
    clock.now += FIRST_PAUSE_SECONDS
    assert looks.of([[TABLE]], asking, REACH, lambda _: True)[0].years == ("2001", "2002")
