"""The strip over rows that PostgreSQL keeps: the same choice, bins and counts as of the embedded engine; samples of large tables, of several states, too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from search_table import ROWS, TABLE
from test_strip import ODD, create_query_runner

from hven.engines import MemoryRelation, Snapshot
from hven.model.table import Table
from hven.plugins.overviews import overview_strip
from hven.portal._explore import parse_search
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site
from long_timeouts import long_page_timeouts  # noqa: F401  (a fixture for each test)
from plugin_needs import build_settings, require_setting
from postgres_cluster import run_server

STARS = pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema)
MANY = 60_000


def build_published_tables() -> dict[str, tuple[Table, pa.Table]]:
    """Give the stars, many of them, and the odd tables."""
    lots = np.random.default_rng(7)
    values = {"id": np.arange(MANY), "ra": lots.uniform(0, 360, MANY), "dec": lots.uniform(-80, 80, MANY)}
    values |= {"solar_longitude": lots.uniform(0, 360, MANY), "time_min": 2453005.5 + lots.uniform(0, 300, MANY)}
    many = pa.table({one.name: pa.array(values[one.name], one.type) if one.name in values else pa.nulls(MANY, one.type) for one in TABLE.arrow_schema})  # fmt: skip
    found = {"stars.main": (TABLE, STARS), "stars.many": (TABLE.copy_with(name="many"), many)}
    for name, (columns, rows) in ODD.items():
        table = Table(schema="odd", name=name, columns=columns)
        found[table.qualified_name] = (table, pa.Table.from_pylist(rows, schema=table.arrow_schema))
    return found


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    require_setting("postgres")
    with run_server() as address:
        kept = build_settings("postgres", url=f"postgresql://{address}")
        with (
            open_tiny_site(tmp_path_factory.mktemp("here"), build_published_tables()) as here,
            open_tiny_site(
                tmp_path_factory.mktemp("there"),
                build_published_tables(),
                engine="postgres",
                brought={"postgres": kept},
            ) as there,
        ):
            yield here, there


@pytest.mark.parametrize("name", [f"odd.{name}" for name in ODD])
def test_odd_tables_have_the_strip_that_they_have_here(sites: tuple[Site, Site], name: str) -> None:
    one, other = (create_query_runner(site) for site in sites)
    table = one.published_state.tables_by_name[name].table
    assert are_layouts_equal(
        overview_strip.find_overview_strip_layout(table, one), overview_strip.find_overview_strip_layout(table, other)
    )


def are_layouts_equal(one: overview_strip.OverviewStripLayout, other: overview_strip.OverviewStripLayout) -> bool:
    edges = [[each.edges.tolist() for each in some.bins] for some in (one, other)]
    return edges[0] == edges[1] and (one.ranked_names, one.overview_map, one.column_names) == (
        other.ranked_names,
        other.overview_map,
        other.column_names,
    )


@pytest.mark.parametrize("pairs", [[], [("dec", "0..")], [("target_name", "Moon"), ("size", "5..")], [("id", "<0")]])
@pytest.mark.parametrize("hidden", [False, True])
def test_counts_are_those_of_the_embedded_engine(
    sites: tuple[Site, Site], pairs: list[tuple[str, str]], hidden: bool
) -> None:
    policies = build_odd_rows_hidden_policies("id") if hidden else DEFAULT_POLICIES
    roads = [
        QueryRunner(
            site=site, principal=ANONYMOUS_PRINCIPAL, policies=policies, published_state=site.get_published_state()
        )
        for site in sites
    ]
    chosen = overview_strip.find_overview_strip_layout(TABLE, roads[0])
    assert are_layouts_equal(overview_strip.find_overview_strip_layout(TABLE, roads[1]), chosen)
    one, other = (overview_strip.count_overview_strip_rows(parse_search(pairs, TABLE), road, chosen) for road in roads)
    assert one is not None
    assert other is not None
    assert [counts.tolist() for counts in other.counts] == [counts.tolist() for counts in one.counts]
    assert (other.rows, other.is_exact) == (one.rows, True)


def test_a_large_table_is_counted_by_a_sample_of_it(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("MAX_EXACT_ROWS", 1000), ("COUNT_SAMPLE_ROWS", 20_000), ("MAX_RECOUNTED_ROWS", 500)):
        monkeypatch.setattr(overview_strip, name, number)
    road = create_query_runner(sites[1])
    table = TABLE.copy_with(name="many")
    chosen = overview_strip.find_overview_strip_layout(table, road)
    found = overview_strip.count_overview_strip_rows(parse_search([], table), road, chosen)
    assert found is not None
    assert not found.is_exact
    assert 0.15 < found.share < 0.6
    assert found.rows == pytest.approx(MANY, rel=0.001)
    every = overview_strip.count_overview_strip_rows(parse_search([], table), create_query_runner(sites[0]), chosen)
    assert every is not None
    filled = every.counts[0] > 300
    assert found.counts[0][filled] == pytest.approx(every.counts[0][filled], rel=0.3), "from all over it"
    theirs = QueryRunner(
        site=sites[1],
        principal=ANONYMOUS_PRINCIPAL,
        policies=build_odd_rows_hidden_policies("id"),
        published_state=sites[1].get_published_state(),
    )
    half = overview_strip.count_overview_strip_rows(parse_search([], table), theirs, chosen)
    assert half is not None
    assert not half.is_exact
    assert half.rows == pytest.approx(MANY / 2, rel=0.1), "policies hold in a sample, too"
    few = overview_strip.count_overview_strip_rows(parse_search([("id", "5..9")], table), road, chosen)
    assert few is not None
    assert (few.is_exact, few.rows) == (True, 5), "so few are counted one by one"


def test_samples_are_the_same_ones_and_of_one_state(sites: tuple[Site, Site]) -> None:
    site = sites[1]
    table = TABLE.copy_with(name="many")
    snapshot = site.get_published_state().find_relation(table)
    assert isinstance(snapshot, Snapshot)
    engine = site.engines.find_engine(snapshot)
    some, again, ids = (engine.sample_rows(snapshot, 12_000, names) for names in (["id", "ra"], ["ra", "id"], ["id"]))
    assert isinstance(some, MemoryRelation) and isinstance(again, MemoryRelation) and isinstance(ids, MemoryRelation)  # noqa: PT018
    assert some.rows.equals(again.rows)
    assert some.rows.column("id").equals(ids.rows.column("id"))
    assert some.rows.num_rows == pytest.approx(12_000, rel=0.5)
    assert np.ptp(np.asarray(ids.rows.column("id"))) > 0.8 * MANY
