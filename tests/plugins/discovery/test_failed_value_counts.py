"""Values that could not be counted: they are counted again later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven.model import RetryBackoffLog
from hven.model._failures import FIRST_PAUSE_SECONDS
from hven.model.table import Column, Table
from hven.model.types import INT32, STRING
from hven.plugins.discovery import value_index
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site

TABLE = Table(
    schema="obs",
    name="main",
    primary=("id",),
    columns=(Column(name="id", type=INT32), Column(name="instrument_name", type=STRING)),
)
ROWS = pa.table({"id": pa.array(range(60), pa.int32()), "instrument_name": ["CRISM", "OMEGA", "OMEGA"] * 20})


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


def test_values_that_could_not_be_counted_are_counted_again(
    asking: QueryRunner, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = value_index.ValueIndex()
    with monkeypatch.context() as patch:
        patch.setattr(value_index, "index_table_values", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        assert index.find_values([TABLE], asking, 5.0) == ([], False)
    clock.now += FIRST_PAUSE_SECONDS
    found, _ = index.find_values([TABLE], asking, 5.0)
    assert [one.table.name for one in found] == ["main"]
