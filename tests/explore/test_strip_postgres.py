"""The strip over rows that PostgreSQL keeps: the same choice, bins and counts as of the embedded engine; samples of large tables, of several states, too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from searched import ROWS, TABLE
from test_strip import ODD, asked_of

from hven.engines import Memory, Snapshot
from hven.engines.postgres.settings import Postgres
from hven.model.table import Table
from hven.portal._explore import read, strip
from hven.portal._explore.page_queries import Asking
from hven.site import Site
from hven.site.auth._permit import ANONYMOUS, DEFAULT
from hven.testing.policies import half_hidden
from hven.testing.site import tiny_site
from postgres import server

STARS = pa.Table.from_pylist(ROWS, schema=TABLE.arrow)
MANY = 60_000


def published() -> dict[str, tuple[Table, pa.Table]]:
    """Give the stars, many of them, and the odd tables."""
    lots = np.random.default_rng(7)
    values = {"id": np.arange(MANY), "ra": lots.uniform(0, 360, MANY), "dec": lots.uniform(-80, 80, MANY)}
    values |= {"solar_longitude": lots.uniform(0, 360, MANY), "time_min": 2453005.5 + lots.uniform(0, 300, MANY)}
    many = pa.table({one.name: pa.array(values[one.name], one.type) if one.name in values else pa.nulls(MANY, one.type) for one in TABLE.arrow})  # fmt: skip
    found = {"stars.main": (TABLE, STARS), "stars.many": (TABLE.having(name="many"), many)}
    for name, (columns, rows) in ODD.items():
        table = Table(schema="odd", name=name, columns=columns)
        found[table.qualified] = (table, pa.Table.from_pylist(rows, schema=table.arrow))
    return found


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    with server() as address:
        kept = Postgres(url=f"postgresql://{address}")
        with (
            tiny_site(tmp_path_factory.mktemp("here"), published()) as here,
            tiny_site(
                tmp_path_factory.mktemp("there"), published(), engine="postgres", brought={"postgres": kept}
            ) as there,
        ):
            yield here, there


@pytest.mark.parametrize("name", [f"odd.{name}" for name in ODD])
def test_odd_tables_have_the_strip_that_they_have_here(sites: tuple[Site, Site], name: str) -> None:
    one, other = (asked_of(site) for site in sites)
    table = one.holdings.published[name].table
    assert alike(strip.layout(table, one), strip.layout(table, other))


def alike(one: strip.Layout, other: strip.Layout) -> bool:
    edges = [[each.edges.tolist() for each in some.bins] for some in (one, other)]
    return edges[0] == edges[1] and (one.best, one.ground, one.columns) == (other.best, other.ground, other.columns)


@pytest.mark.parametrize("pairs", [[], [("dec", "0..")], [("target_name", "Moon"), ("size", "5..")], [("id", "<0")]])
@pytest.mark.parametrize("hidden", [False, True])
def test_counts_are_those_of_the_embedded_engine(
    sites: tuple[Site, Site], pairs: list[tuple[str, str]], hidden: bool
) -> None:
    policies = half_hidden("id") if hidden else DEFAULT
    roads = [Asking(site=site, who=ANONYMOUS, policies=policies, holdings=site.current()) for site in sites]
    chosen = strip.layout(TABLE, roads[0])
    assert alike(strip.layout(TABLE, roads[1]), chosen)
    one, other = (strip.counted(read(pairs, TABLE), road, chosen) for road in roads)
    assert one is not None
    assert other is not None
    assert [counts.tolist() for counts in other.counts] == [counts.tolist() for counts in one.counts]
    assert (other.rows, other.exact) == (one.rows, True)


def test_a_large_table_is_counted_by_a_sample_of_it(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("EXACT", 1000), ("SAMPLE", 20_000), ("FEW", 500)):
        monkeypatch.setattr(strip, name, number)
    road = asked_of(sites[1])
    table = TABLE.having(name="many")
    chosen = strip.layout(table, road)
    found = strip.counted(read([], table), road, chosen)
    assert found is not None
    assert not found.exact
    assert 0.15 < found.share < 0.6
    assert found.rows == pytest.approx(MANY, rel=0.001)
    every = strip.counted(read([], table), asked_of(sites[0]), chosen)
    assert every is not None
    filled = every.counts[0] > 300
    assert found.counts[0][filled] == pytest.approx(every.counts[0][filled], rel=0.3), "from all over it"
    theirs = Asking(site=sites[1], who=ANONYMOUS, policies=half_hidden("id"), holdings=sites[1].current())
    half = strip.counted(read([], table), theirs, chosen)
    assert half is not None
    assert not half.exact
    assert half.rows == pytest.approx(MANY / 2, rel=0.1), "policies hold in a sample, too"
    few = strip.counted(read([("id", "5..9")], table), road, chosen)
    assert few is not None
    assert (few.exact, few.rows) == (True, 5), "so few are counted one by one"


def test_samples_are_the_same_ones_and_of_one_state(sites: tuple[Site, Site]) -> None:
    site = sites[1]
    table = TABLE.having(name="many")
    snapshot = site.current().relation(table)
    assert isinstance(snapshot, Snapshot)
    engine = site.engines.of(snapshot)
    some, again, ids = (engine.sample(snapshot, 12_000, names) for names in (["id", "ra"], ["ra", "id"], ["id"]))
    assert isinstance(some, Memory) and isinstance(again, Memory) and isinstance(ids, Memory)  # noqa: PT018
    assert some.rows.equals(again.rows)
    assert some.rows.column("id").equals(ids.rows.column("id"))
    assert some.rows.num_rows == pytest.approx(12_000, rel=0.5)
    assert np.ptp(np.asarray(ids.rows.column("id"))) > 0.8 * MANY
