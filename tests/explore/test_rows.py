"""Pages of rows against a sorted list in Python: any order, any place, and no row twice or never."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from search_table import ROWS, TABLE

from hven.model.table import Column
from hven.model.types import INT32
from hven.portal._explore import parse_search
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.row_pages import (
    build_key_condition,
    count_rows,
    fetch_page,
    fetch_row,
    find_row_number,
)
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("rows"), {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))}
    ) as made:
        yield made


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("_sort", "target_name,-size")],
        [("_sort", "-target_name")],
        [("_sort", "-size"), ("size", "..20")],
        [("size", "5..9")],
        [("_sort", "-ra")],
        [("_sort", "solar_longitude,-id")],
    ],
)
def test_pages_together_are_the_table(asking: QueryRunner, pairs: list[tuple[str, str]], knows: bool) -> None:
    search = parse_search([*pairs, ("_cols", "size,target_name,id")], TABLE)
    total = count_rows(search, asking).rows
    assert total is not None
    found: list[dict[str, Any]] = []
    for offset in range(0, total, 37):
        some = fetch_page(search, asking, offset=offset, limit=37, total_rows=total if knows else None)
        assert some.has_more == (offset + some.rows.num_rows < total)
        assert [column.name for column in some.columns] == ["size", "target_name", "id"] == some.rows.column_names
        assert [json.loads(key) for key in some.keys] == [[value] for value in some.rows.column("id").to_pylist()]
        found += some.rows.to_pylist()
    assert len(found) == total
    assert len({row["id"] for row in found}) == total
    for (name, down), *_ in [search.order] if search.order else []:
        values = [ROWS[row["id"]][name] for row in found if ROWS[row["id"]][name] is not None]
        assert values == sorted(values, reverse=down)
        gone = [number for number, row in enumerate(found) if ROWS[row["id"]][name] is None]
        assert not gone or gone == list(range(gone[0], gone[0] + len(gone))), (
            "nulls stay together, whichever way one comes"
        )
    whole = fetch_page(search, asking, limit=1000)
    assert whole.rows.to_pylist() == found
    assert not whole.has_more


def test_behind_the_end_there_is_nothing(asking: QueryRunner) -> None:
    search = parse_search([("_sort", "size")], TABLE)
    for total in (300, None):
        some = fetch_page(search, asking, offset=300, total_rows=total)
        assert (some.rows.num_rows, some.has_more) == (0, False)


def test_a_row_is_found_by_its_key(asking: QueryRunner) -> None:
    found = fetch_row(parse_search([], TABLE), asking, "[7]")
    assert found.rows.to_pylist() == [ROWS[7]]


@pytest.mark.parametrize("key", ["", "7", "[]", "[7,8]", '["7"]', "[true]", "[null]", "{", '["x\' OR 1=1"]', "[99999]"])
def test_what_is_no_key_finds_nothing(asking: QueryRunner, key: str) -> None:
    assert fetch_row(parse_search([], TABLE), asking, key).rows.num_rows == 0


@pytest.mark.parametrize(
    "pairs", [[], [("_sort", "target_name,-size")], [("_sort", "-size"), ("size", "..20")], [("size", "5..9")]]
)
def test_the_place_of_a_row_is_where_pages_have_it(asking: QueryRunner, pairs: list[tuple[str, str]]) -> None:
    search = parse_search(pairs, TABLE)
    keys = fetch_page(search, asking, limit=1000).keys
    assert len(keys) > 10
    for at in (0, 1, len(keys) // 2, len(keys) - 1):
        assert find_row_number(search, asking, keys[at]) == at
    left_out = {json.dumps([row["id"]]) for row in ROWS} - set(keys)
    for key in (*sorted(left_out)[:3], "[99999]", "7", '["7"]', ""):
        assert find_row_number(search, asking, key) is None


def test_the_address_in_the_reference_opens_a_row() -> None:
    page = Path(__file__).parents[2] / "docs/reference/portal.md"
    address = next(
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("    /collections/")
    )
    table = replace(TABLE, columns=(Column(name="star", type=INT32),), primary=("star",))
    assert (
        build_key_condition(parse_search([], table), parse_qs(urlsplit(address.strip()).query)["_row"][0]) is not None
    )
