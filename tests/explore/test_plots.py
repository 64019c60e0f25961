"""What plots draw, against numpy over the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from search_table import ROWS, TABLE

from hven.adql import syntax_tree
from hven.model.errors import UserError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64
from hven.portal._explore import parse_search
from hven.portal._explore.facets import count_facet, find_facet_columns, write_choice_condition
from hven.portal._explore.number_formatting import UnitScale
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.plots import build_density_grid, build_histogram, fetch_plot_points, find_value_range
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("plots"), {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))}
    ) as made:
        yield made


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


@pytest.mark.parametrize("pairs", [[], [("dec", "0..")], [("target_name", "Moon")]])
def test_bins_are_numpys(asking: QueryRunner, pairs: list[tuple[str, str]]) -> None:
    search = parse_search(pairs, TABLE)
    found = build_histogram(search, TABLE.find_column("size"), asking, bin_count=20)
    assert found is not None
    rows = [
        row for row in ROWS if not pairs or (row["dec"] >= 0 if pairs[0][0] == "dec" else row["target_name"] == "Moon")
    ]
    values = np.array([row["size"] for row in rows if row["size"] is not None])
    counts, edges = np.histogram(values, bins=20)
    assert np.abs(np.array(found.counts) - counts).sum() <= 2, "a value at an edge may fall to either side"
    assert sum(found.counts) == len(values)
    assert (found.low, found.high) == (pytest.approx(edges[0]), pytest.approx(edges[-1]))
    assert found.missing_count == len(rows) - len(values)


@pytest.mark.parametrize(
    "scale", [UnitScale(unit="m", factor=1000.0), UnitScale(unit="um", factor=600.0, is_inverse=True)]
)
def test_bins_are_even_in_what_values_are_told_in(asking: QueryRunner, scale: UnitScale) -> None:
    search = parse_search([("size", "0.5..")], TABLE)
    found = build_histogram(search, TABLE.find_column("size"), asking, bin_count=20, scale=scale)
    assert found is not None
    values = np.array([row["size"] for row in ROWS if (row["size"] or 0) >= 0.5])
    counts, edges = np.histogram(600 / values if scale.is_inverse else values * 1000, bins=20)
    assert found.scale == scale
    assert np.abs(np.array(found.counts) - counts).sum() <= 2
    assert (found.low, found.high) == (pytest.approx(edges[0]), pytest.approx(edges[-1]))
    cells = build_density_grid(
        search, TABLE.find_column("size"), TABLE.find_column("ra"), asking, cell_count=8, scales=(scale, None)
    )
    assert cells is not None
    across = [
        600 / row["size"] if scale.is_inverse else row["size"] * 1000 for row in ROWS if (row["size"] or 0) >= 0.5
    ]
    wanted, *_ = np.histogram2d([row["ra"] for row in ROWS if (row["size"] or 0) >= 0.5], across, bins=8)
    assert np.abs(cells.counts - wanted).sum() <= 4
    assert cells.box[:2] == (pytest.approx(min(across)), pytest.approx(max(across)))


def test_what_cannot_be_told_so_stays_as_it_is(asking: QueryRunner) -> None:
    """A frequency of 0 has no wavelength."""
    found = build_histogram(
        parse_search([], TABLE),
        TABLE.find_column("id"),
        asking,
        scale=UnitScale(unit="um", factor=1.0, is_inverse=True),
    )
    assert found is not None
    assert found.scale is None
    assert (found.low, sum(found.counts)) == (0, len(ROWS))


def test_a_few_integers_have_one_bin_each(asking: QueryRunner) -> None:
    found = build_histogram(parse_search([("id", "10..14")], TABLE), TABLE.find_column("id"), asking)
    assert found is not None
    assert (found.low, found.high, found.counts) == (10, 15, (1, 1, 1, 1, 1))


def test_infinities_are_counted_as_missing(tmp_path: Path) -> None:
    values = [float("inf"), float("-inf"), float("nan"), None, *np.linspace(-3, 3, 61).tolist()]
    table = Table(schema="stars", name="main", columns=(Column(name="size", type=FLOAT64),))
    with open_tiny_site(tmp_path, {"stars.main": (table, pa.table({"size": pa.array(values, pa.float64())}))}) as site:
        published = site.get_published_state()
        runner = QueryRunner(
            site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=published
        )
        for pairs in ([], [("size", "!null")]):
            found = build_histogram(parse_search(pairs, table), table.columns[0], runner, bin_count=6)
            assert found is not None
            assert (found.low, found.high) == (-3, 3)
            assert sum(found.counts) == 61
            assert found.missing_count == (2 if pairs else 4), "NaN is null"
            density = build_density_grid(parse_search(pairs, table), table.columns[0], table.columns[0], runner)
            assert density is not None


def test_nothing_has_no_histogram(asking: QueryRunner) -> None:
    search = parse_search([("id", "..-1")], TABLE)
    assert build_histogram(search, TABLE.find_column("size"), asking) is None
    assert build_density_grid(search, TABLE.find_column("ra"), TABLE.find_column("dec"), asking) is None
    assert fetch_plot_points(search, [TABLE.find_column("ra")], asking).values.num_rows == 0


def test_text_is_not_drawn(asking: QueryRunner) -> None:
    with pytest.raises(UserError, match="neither numbers nor times"):
        build_histogram(parse_search([], TABLE), TABLE.find_column("target_name"), asking)


def test_points_have_keys_and_say_when_there_are_more(asking: QueryRunner) -> None:
    search = parse_search([("id", "100..199")], TABLE)
    found = fetch_plot_points(search, [TABLE.find_column("ra"), TABLE.find_column("dec")], asking, row_limit=1000)
    assert not found.has_more
    assert dict(zip(found.keys, found.values.column("ra").to_pylist(), strict=True)) == {
        f"[{n}]": ROWS[n]["ra"] for n in range(100, 200)
    }
    some = fetch_plot_points(search, [TABLE.find_column("ra")], asking, row_limit=10)
    assert (some.has_more, some.values.num_rows) == (True, 10)


def test_a_density_counts_every_row_once(asking: QueryRunner) -> None:
    found = build_density_grid(
        parse_search([], TABLE), TABLE.find_column("ra"), TABLE.find_column("dec"), asking, cell_count=8
    )
    assert found is not None
    wanted, *_ = np.histogram2d([row["dec"] for row in ROWS], [row["ra"] for row in ROWS], bins=8)
    assert found.counts.sum() == len(ROWS)
    assert np.abs(found.counts - wanted).sum() <= 4


def test_facets_are_counted_without_their_own_condition(asking: QueryRunner) -> None:
    search = parse_search([("target_name", 'Moon,"Venus, the planet"'), ("id", "..99")], TABLE)
    found = count_facet(search, TABLE.find_column("target_name"), asking)
    assert found is not None
    assert found.is_exact
    counted = {choice.value: choice.row_count for choice in found.choices}
    wanted: dict[str | None, int] = {}
    for row in ROWS[:100]:
        wanted[row["target_name"]] = wanted.get(row["target_name"], 0) + 1
    assert counted == wanted
    assert {choice.value for choice in found.choices if choice.is_chosen} == {"Moon", "Venus, the planet"}


@pytest.mark.parametrize("value", ["Moon", "Venus, the planet", "a*b", "1..2", "!x", "<3", " blanks ", None])
def test_a_choice_as_a_condition_finds_its_rows(value: str | None) -> None:
    search = parse_search([("target_name", write_choice_condition([value]))], TABLE)
    assert search.faults == ()
    (test,) = search.tests
    if value is None:
        assert isinstance(test, syntax_tree.NullPredicate)
    else:
        assert any(isinstance(node, syntax_tree.Literal) for node in _nodes(test))


def _nodes(node: syntax_tree.Expr) -> list[object]:
    found: list[object] = [node]
    for name in ("left", "right", "parts", "args", "operand", "choices"):
        value = getattr(node, name, ())
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, syntax_tree.SyntaxNode):
                found += _nodes(one)  # type: ignore[arg-type]
    return found


def test_columns_with_few_values_become_facets(asking: QueryRunner) -> None:
    assert [column.name for column in find_facet_columns(TABLE, asking)] == ["target_name"]


def test_hidden_rows_are_nowhere(site: Site) -> None:
    policies = build_odd_rows_hidden_policies("id")
    asking = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=policies, published_state=site.get_published_state()
    )
    search = parse_search([], TABLE)
    assert find_value_range(search, TABLE.find_column("id"), asking) == (0, 298)
    found = build_histogram(search, TABLE.find_column("id"), asking)
    assert found is not None
    assert sum(found.counts) == 150
    assert fetch_plot_points(search, [TABLE.find_column("ra")], asking).values.num_rows == 150
    choices = count_facet(search, TABLE.find_column("target_name"), asking)
    assert choices is not None
    assert sum(choice.row_count for choice in choices.choices) == 150
