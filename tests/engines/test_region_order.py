"""Rows in a region, in the order of an index: few candidates are tested, and the answer is that of all rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from hven import query
from hven.engines.duckdb import query_plan
from hven.engines.duckdb.arrow_queries import ArrowQuery
from hven.engines.duckdb.snapshot_files import KeyIndex
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING, parse_type
from hven.site import Site
from hven.testing.site import open_tiny_site

ROWS = 12_000
TABLE = Table(
    schema="t",
    name="shapes",
    columns=(
        Column(name="id", type=STRING, required=True),
        Column(name="number", type=FLOAT64, indexed=True),  # null in every third row
        Column(name="s_region", type=parse_type("region")),
    ),
    primary=("id",),
)
WHERE = "WHERE 1 = INTERSECTS(s_region, POLYGON({}))"
POLYGONS = ("10, -40, 90, -40, 90, 40, 10, 40", "200, 10, 240, 10, 240, 60, 200, 60", "1, 1, 2, 1, 2, 2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Open a site with squares of one degree, whose ids are not in the order of the rows."""
    random = np.random.default_rng(8)
    west, south = random.uniform(0, 358, ROWS), random.uniform(-80, 79, ROWS)
    shapes = [
        f"POLYGON {x:.3f} {y:.3f} {x + 1:.3f} {y:.3f} {x + 1:.3f} {y + 1:.3f} {x:.3f} {y + 1:.3f}"
        for x, y in zip(west, south, strict=True)
    ]
    numbers = pa.array(random.uniform(0, 1, ROWS), mask=np.arange(ROWS) % 3 == 0)
    rows = pa.table(
        {"id": [f"{number:05}" for number in random.permutation(ROWS)], "number": numbers, "s_region": shapes}
    )
    with open_tiny_site(tmp_path_factory.mktemp("order"), {"t.shapes": (TABLE, rows)}) as opened_site:
        yield opened_site


def read_values(site: Site, text: str, row_limit: int | None = None) -> list[object]:
    with query.run_query(text, site=site, maxrec=row_limit) as result:
        return result.read_table().column(0).to_pylist()


@pytest.mark.parametrize("polygon", POLYGONS)
@pytest.mark.parametrize(
    ("column", "direction"), [("id", "ASC"), ("id", "DESC"), ("number", "ASC"), ("number", "DESC")]
)
@pytest.mark.parametrize("row_limit", [1, 10, 900])
def test_rows_of_a_region_in_order(site: Site, polygon: str, column: str, direction: str, row_limit: int) -> None:
    where = WHERE.format(polygon)
    values = read_values(site, f"SELECT {column} FROM t.shapes {where}")
    known = sorted((value for value in values if value is not None), reverse=direction == "DESC")
    wanted = [*known, *[None] * (len(values) - len(known))]
    found = read_values(site, f"SELECT {column} FROM t.shapes {where} ORDER BY {column} {direction}", row_limit)
    if direction == "ASC":  # where nulls come in descending order is left to the engine
        assert found == wanted[:row_limit]
    else:
        assert [value for value in found if value is not None] == known[: sum(value is not None for value in found)]
        assert len(found) == min(row_limit, len(values))


def test_few_candidates_are_tested(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows come from a few tests, of which each reads a shape."""
    tested: list[int] = []
    iterate_passing_rows = ArrowQuery.iterate_passing_rows

    def count_rows(self: ArrowQuery, stored: object, rows: np.ndarray, values: object) -> object:
        tested.append(len(rows))
        return iterate_passing_rows(self, stored, rows, values)  # type: ignore[arg-type]

    monkeypatch.setattr(ArrowQuery, "iterate_passing_rows", count_rows)
    where = WHERE.format(POLYGONS[0])
    total = len(read_values(site, f"SELECT id FROM t.shapes {where}"))
    tested.clear()
    assert len(read_values(site, f"SELECT id FROM t.shapes {where} ORDER BY id", 10)) == 10
    assert 0 < sum(tested) < total / 4


def test_an_index_is_not_walked_far_for_few_candidates(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs less to test the candidates themselves, and the memory of a walk would grow with the table."""
    walked: list[int] = []
    list_row_numbers = KeyIndex.list_row_numbers

    def count_places(self: KeyIndex, begin: int, end: int) -> np.ndarray:
        walked.append(end - begin)
        return list_row_numbers(self, begin, end)

    where = WHERE.format("10, 10, 12, 10, 12, 12, 10, 12")
    wanted = sorted(read_values(site, f"SELECT id FROM t.shapes {where}"))  # type: ignore[type-var]
    assert 0 < len(wanted) < 20
    monkeypatch.setattr(query_plan, "MAX_UNORDERED_ROWS", 0)
    monkeypatch.setattr(query_plan, "PLACES_PER_CANDIDATE", 4)
    monkeypatch.setattr(KeyIndex, "list_row_numbers", count_places)
    assert read_values(site, f"SELECT id FROM t.shapes {where} ORDER BY id", 5) == wanted[:5]
    assert sum(walked) < ROWS / 10
    assert read_values(site, f"SELECT TOP 3 id FROM t.shapes {where}") != []
