"""A table at first sight: bins that people would choose, the columns that tell most, counts as numpy has them, conditions that find what bins count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from search_table import ROWS, TABLE

from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, STRING, TIMESTAMP
from hven.plugins.overviews import overview_strip
from hven.plugins.overviews.strip_bins import ColumnBins, choose_column_bins, to_float_values
from hven.portal._explore import parse_search
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

RANDOM = np.random.default_rng(5)
NUMBER, SINGLE, WHOLE, TIME = (
    Column(name=name, type=kind) for name, kind in (("x", FLOAT64), ("s", FLOAT32), ("n", INT32), ("t", TIMESTAMP))
)
SECOND = 1_000_000
VALUES = {
    "spread": (NUMBER, RANDOM.normal(3, 2, 5000)),
    "rounded": (NUMBER, np.round(RANDOM.uniform(0, 1, 5000), 2)),
    "single": (SINGLE, np.round(RANDOM.uniform(-7, 9, 5000), 1).astype(np.float32)),
    "whole": (WHOLE, RANDOM.integers(-3, 700, 5000).astype(np.int32)),
    "choices": (WHOLE, RANDOM.integers(0, 4, 5000).astype(np.int32)),
    "powers": (NUMBER, 10 ** RANDOM.uniform(-3, 5, 5000)),
    "outlier": (NUMBER, np.append(RANDOM.uniform(0, 1, 4999), -99_999.0)),
    "years": (TIME, RANDOM.integers(0, 10**15, 5000)),
    "seconds": (TIME, 10**15 + RANDOM.integers(0, 9_000, 5000) * SECOND),
    "far": (TIME, np.append(10**15 + RANDOM.integers(0, 10**13, 4999), 253_000_000_000 * SECOND)),
}


def arrow(name: str) -> tuple[Column, pa.Array]:
    column, values = VALUES[name]
    return column, pa.array(values).cast(column.type.arrow)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[QueryRunner, Table]]:
    columns = {name: replace(column, name=name) for name, (column, _) in VALUES.items()}
    table = Table(schema="s", name="t", columns=tuple(columns.values()))
    rows = pa.table({name: arrow(name)[1] for name in VALUES})
    with open_tiny_site(tmp_path_factory.mktemp("kinds"), {"s.t": (table, rows)}) as site:
        yield (
            QueryRunner(
                site=site,
                principal=ANONYMOUS_PRINCIPAL,
                policies=DEFAULT_POLICIES,
                published_state=site.get_published_state(),
            ),
            table,
        )


@pytest.mark.parametrize("name", VALUES)
def test_what_a_bin_counts_its_condition_finds(name: str, kinds: tuple[QueryRunner, Table]) -> None:
    """The whole way: bins of all values, and the rows that the condition of each bin finds."""
    road, table = kinds
    column, array = arrow(name)
    values = to_float_values(array, column)
    made = choose_column_bins(column, values, (float(np.nanmin(values)), float(np.nanmax(values))))
    assert made is not None
    counts = made.count_values(values)
    assert counts[0] == 0
    assert counts.sum() == len(values)
    places = [at for at in range(len(made)) if counts[at + 1]]
    for at in [*places[:3], places[len(places) // 2], *places[-3:]]:
        search = parse_search([(name, f"{made.lows[at]}..{made.highs[at]}")], table)
        assert not search.faults
        assert road.fetch_number(search.build_count_query()) == counts[at + 1], (made.lows[at], made.highs[at])


def bin_column(name: str, bounds: tuple[float, float] | None = None) -> ColumnBins:
    column, array = arrow(name)
    found = choose_column_bins(column, to_float_values(array, column), bounds)
    assert found is not None
    return found


def test_edges_are_round() -> None:
    assert (bin_column("rounded", (0, 1)).lows[:3], bin_column("rounded", (0, 1)).highs[:3]) == (
        ("0", "0.05", "0.1"),
        ("0.04", "0.09", "0.14"),
    )
    assert bin_column("choices", (0, 3)).lows == bin_column("choices", (0, 3)).highs == ("0", "1", "2", "3")
    assert set(bin_column("years", (0, 11574)).lows) <= {f"{year}-{month:02}" for year in range(1970, 2003) for month in (1, 7)} | {str(year) for year in range(1970, 2003)}  # fmt: skip


def test_what_lies_far_out_does_not_press_the_rest_together() -> None:
    found = bin_column("outlier", (-99_999.0, 1.0))
    assert (found.lows[0], found.edges[0]) == ("", 0.0)
    counts = found.count_values(to_float_values(*reversed(arrow("outlier"))))
    assert counts[1:].max() < 1000
    far = bin_column("far", None)
    assert far.edges[-1] < 20_000
    assert far.highs[-1] == ""


@pytest.mark.parametrize(
    "values",
    [[], [None], [1.0, 1.0], [float("nan"), float("inf")], [float("inf"), -float("inf"), 2.0], [1e308, -1e308], [5e-324, 1e-323]],
)  # fmt: skip
def test_odd_values_have_no_bins_or_whole_ones(values: list[float | None]) -> None:
    array = pa.array(values, pa.float64())
    found = choose_column_bins(NUMBER, to_float_values(array, NUMBER), None)
    if found is not None:
        assert np.all(np.diff(found.edges) > 0)
        assert found.count_values(to_float_values(array, NUMBER)).sum() == len(values)


def test_nulls_and_infinities_are_counted_apart_or_at_the_ends() -> None:
    found = bin_column("spread")
    counts = found.count_values(np.array([np.nan, np.inf, -np.inf, 3.0]))
    assert (counts[0], counts[1], counts[-1], counts.sum()) == (1, 1, 1, 4)


@pytest.mark.parametrize(
    ("written", "band"),
    [("0..1", (0.0, 1.0)), ("0.25..0.5", (0.25, 0.5)), ("..0.5", (0.0, 0.5)), ("nonsense", None), ("1,2", None), ("null", None)],
)  # fmt: skip
def test_a_condition_is_shown_as_a_band(written: str, band: tuple[float, float] | None) -> None:
    values = RANDOM.uniform(0, 1, 999)
    found = choose_column_bins(NUMBER, values, (0.0, 1.0))
    assert found is not None
    assert found.find_selected_bin_range([written]) == (None if band is None else pytest.approx(band))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("strip"), {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))}
    ) as made_:
        yield made_


def create_query_runner(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return create_query_runner(site)


def test_the_strip_has_time_a_map_and_the_most_useful_histogram(asking: QueryRunner) -> None:
    found = overview_strip.find_overview_strip_layout(TABLE, asking)
    assert found.time is not None
    assert found.time.column.name == "time_min"
    assert found.overview_map is not None
    assert found.overview_map.kind == "sky"
    # neither the key, nor the place, nor the end; the size of bodies grows with the time, and says no more than it
    assert [one.column.name for one in found.histograms] == ["solar_longitude"]


@pytest.mark.parametrize("pairs", [[], [("dec", "0..")], [("target_name", "Moon"), ("size", "5..")], [("id", "<0")]])
def test_counts_are_numpys(asking: QueryRunner, pairs: list[tuple[str, str]]) -> None:
    chosen = overview_strip.find_overview_strip_layout(TABLE, asking)
    search = parse_search(pairs, TABLE)
    found = overview_strip.count_overview_strip_rows(search, asking, chosen)
    assert found is not None
    tests = {"dec": lambda row: row["dec"] >= 0, "size": lambda row: (row["size"] or 0) >= 5,
             "target_name": lambda row: row["target_name"] == "Moon", "id": lambda row: row["id"] < 0}  # fmt: skip
    rows = [row for row in ROWS if all(tests[name](row) for name, _ in pairs)]
    assert found.is_exact
    assert found.rows == len(rows)
    for one, counts in zip(chosen.bins, found.counts, strict=False):
        zero = 2440587.5 if one.is_time else 0.0
        values = [row[one.column.name] - zero for row in rows]
        assert counts[1:].tolist() == np.histogram(values, bins=one.edges)[0].tolist()
    cells, _, _ = np.histogram2d(
        [row["dec"] for row in rows], [row["ra"] for row in rows], bins=[36, 72], range=[[-90, 90], [0, 360]]
    )
    assert found.counts[-1][1:].tolist() == cells.ravel().tolist()


def test_hidden_rows_are_neither_counted_nor_seen_in_the_choice(site: Site) -> None:
    theirs = QueryRunner(
        site=site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=build_odd_rows_hidden_policies("id"),
        published_state=site.get_published_state(),
    )
    chosen = overview_strip.find_overview_strip_layout(TABLE, theirs)
    found = overview_strip.count_overview_strip_rows(parse_search([], TABLE), theirs, chosen)
    assert found is not None
    assert 0 < found.rows < len(ROWS)
    assert found.rows == theirs.fetch_number(parse_search([], TABLE).build_count_query())


def test_who_sees_no_row_is_shown_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    odd_rows = pa.Table.from_pylist([row for row in ROWS if row["id"] % 2], schema=TABLE.arrow_schema)
    with open_tiny_site(tmp_path_factory.mktemp("hidden"), {"stars.main": (TABLE, odd_rows)}) as hidden:
        theirs = QueryRunner(
            site=hidden,
            principal=ANONYMOUS_PRINCIPAL,
            policies=build_odd_rows_hidden_policies("id"),
            published_state=hidden.get_published_state(),
        )
        assert overview_strip.find_overview_strip_layout(TABLE, theirs) == overview_strip.OverviewStripLayout()


def test_a_large_table_is_counted_by_a_sample_and_says_so(asking: QueryRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("MAX_EXACT_ROWS", 100), ("COUNT_SAMPLE_ROWS", 128), ("MAX_RECOUNTED_ROWS", 20)):
        monkeypatch.setattr(overview_strip, name, number)
    chosen = overview_strip.find_overview_strip_layout(TABLE, asking)
    found = overview_strip.count_overview_strip_rows(parse_search([], TABLE), asking, chosen)
    assert found is not None
    assert not found.is_exact
    assert found.rows == pytest.approx(300, abs=1)
    few = overview_strip.count_overview_strip_rows(parse_search([("id", "5..9")], TABLE), asking, chosen)
    assert few is not None
    assert (few.is_exact, few.rows) == (True, 5)


COLUMNS = tuple(Column(name=f"c{at}", type=FLOAT64) for at in range(300))
ONE, WHEN = (Column(name="x", type=FLOAT64),), (Column(name="x", type=TIMESTAMP, ucd="time.start"),)
ODD = {
    "one": (ONE, [{"x": 1.0}]),
    "nothing": (ONE, []),
    "constant": (ONE, [{"x": 2.0}] * 50),
    "null": (ONE, [{"x": None}] * 50),
    "text": ((Column(name="x", type=STRING),), [{"x": "a"}] * 50),
    "infinite": (ONE, [{"x": float(one)} for one in ["inf", "-inf", "nan", *range(40)]]),
    "far": (WHEN, [{"x": datetime(9999, 12, day, tzinfo=UTC)} for day in range(1, 32)]),
    "wide": (COLUMNS, [{one.name: float(at * number % 97) for at, one in enumerate(COLUMNS)} for number in range(60)]),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryRunner]:
    made_ = {}
    for name, (columns, rows) in ODD.items():
        table = Table(schema="odd", name=name, columns=columns)
        made_[table.qualified_name] = (table, pa.Table.from_pylist(rows, schema=table.arrow_schema))
    with open_tiny_site(tmp_path_factory.mktemp("odd"), made_) as site:
        yield QueryRunner(
            site=site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=DEFAULT_POLICIES,
            published_state=site.get_published_state(),
        )


@pytest.mark.parametrize("name", ODD)
def test_odd_tables_have_a_strip_or_none(name: str, odd: QueryRunner) -> None:
    table = odd.published_state.tables_by_name[f"odd.{name}"].table
    chosen = overview_strip.find_overview_strip_layout(table, odd)
    assert len(chosen.histograms) == {"wide": overview_strip.MAX_HISTOGRAMS, "infinite": 1}.get(name, 0)
    assert (chosen.time is not None) == (name == "far")
    assert bool(chosen.column_names) == (name in {"wide", "infinite", "far"})
    if chosen.column_names:
        found = overview_strip.count_overview_strip_rows(parse_search([], table), odd, chosen)
        assert found is not None
        assert found.rows == len(ODD[name][1])
