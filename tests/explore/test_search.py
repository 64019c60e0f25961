"""The state of a search: read from an address, written again, and what it finds against a loop over the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_table import ROWS, TABLE

from hven import query
from hven.model.errors import UserError
from hven.model.table import Column, Table
from hven.model.types import INT32, POLYGON
from hven.portal._condition_values import parse_field_values, quote_field_value
from hven.portal._explore import SearchCircle, TableSearch, parse_search
from hven.site import Site
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("search"),
        {"stars.main": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))},
    ) as made:
        yield made


def parse_query_string(text: str, **more: Any) -> TableSearch:
    return parse_search(parse_qsl(text, keep_blank_values=True), TABLE, **more)


def found(site: Site, search: TableSearch) -> set[int]:
    assert search.faults == ()
    with query.run_query(search.build_query(columns=["id"]), site=site) as result:
        ids = result.read_table().column("id").to_pylist()
    with query.run_query(search.write_adql(), site=site) as result:  # the text that a page shows is the same question
        assert sorted(result.read_table().column("id").to_pylist()) == sorted(ids)
    with query.run_query(search.build_count_query(), site=site) as result:
        assert result.read_table().column(0)[0].as_py() == len(ids)
    return set(ids)


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("", lambda row: True),
        ("size=", lambda row: True),
        ("size=1..2", lambda row: row["size"] is not None and 1 <= row["size"] <= 2),
        ("size=..2", lambda row: row["size"] is not None and row["size"] <= 2),
        ("size=<2", lambda row: row["size"] is not None and row["size"] < 2),
        ("size=1000..2000 m", lambda row: row["size"] is not None and 1 <= row["size"] <= 2),
        ("size=null", lambda row: row["size"] is None),
        ("size=!null", lambda row: row["size"] is not None),
        ("size=1,2&size=3", lambda row: row["size"] in {1, 2, 3}),
        ("target_name=Milky Way", lambda row: row["target_name"] == "Milky Way"),
        ('target_name="Venus, the planet",Moon', lambda row: row["target_name"] in {"Venus, the planet", "Moon"}),
        ("target_name=mars", lambda row: (row["target_name"] or "").lower() == "mars"),
        ("target_name=null,Moon", lambda row: row["target_name"] in {None, "Moon"}),
        ("target_name=!null,Moon", lambda row: row["target_name"] not in {None, "Moon"}),
        ("size=null,1,2", lambda row: row["size"] in {None, 1, 2}),
        ('target_name="a*b"', lambda row: row["target_name"] == "a*b"),
        ("target_name=M*", lambda row: (row["target_name"] or "").lower().startswith("m")),
        ("SIZE=..2&target_name=Moon", lambda row: row["size"] is not None and row["size"] <= 2 and row["target_name"] == "Moon"),
        ("solar_longitude=350..10", lambda row: row["solar_longitude"] >= 350 or row["solar_longitude"] <= 10),
        ("solar_longitude=10..20", lambda row: 10 <= row["solar_longitude"] <= 20),
        ("time=2004-01-05", lambda row: row["time_max"] >= 2453009.5 and row["time_min"] < 2453010.5),
        ("_q=milky", lambda row: "milky" in (row["target_name"] or "").lower()),
        ("_q=way milky", lambda row: (row["target_name"] or "") == "Milky Way"),
    ],
)  # fmt: skip
def test_an_address_finds_the_rows_that_it_means(site: Site, text: str, true: Callable[[dict[str, Any]], bool]) -> None:
    wanted = {row["id"] for row in ROWS if true(row)}
    assert wanted or text == "nothing"
    assert found(site, parse_query_string(text)) == wanted


def test_a_place_is_a_circle_or_a_region(site: Site) -> None:
    near = parse_query_string("_near=113.1,-40.1,3")
    assert near.near == SearchCircle(longitude=113.1, latitude=-40.1, radius_degrees=3.0)
    assert 3 in found(site, near)
    assert found(site, parse_query_string("_in=CIRCLE 113.1 -40.1 3")) == found(site, near)
    assert 3 in found(site, parse_query_string("_in=POLYGON 110 -45 116 -45 116 -35 110 -35"))


def test_rows_whose_footprint_holds_a_point(tmp_path: Path) -> None:
    """As the map asks for them where somebody clicks; their positions may lie elsewhere."""
    columns = (
        Column(name="id", type=INT32),
        Column(name="ra"),
        Column(name="dec"),
        Column(name="s_region", type=POLYGON),
    )
    table = Table(schema="sky", name="maps", columns=columns, position=("ra", "dec"), primary=("id",))
    corners = [[x, -2.0, x + 4, -2.0, x + 4, 2.0, x, 2.0] for x in (0.0, 3.0, 358.0, 90.0)]
    data = {"id": [0, 1, 2, 3], "ra": [200.0] * 4, "dec": [50.0] * 4, "s_region": corners}
    with open_tiny_site(tmp_path, {"sky.maps": (table, pa.table(data, schema=table.arrow_schema))}) as site:
        for at, wanted in (("3.5 1", {0, 1}), ("1 0", {0, 2}), ("359.5 -1", {2}), ("50 0", set())):
            assert found(site, parse_search([("_in", f"POINT {at}")], table)) == wanted
    (fault,) = parse_query_string("_in=POINT 1 2").faults
    assert fault.message == "the rows of this table have no footprints"
    assert parse_search([("_in", "POINT 1")], table).faults


def test_a_name_is_located_and_stays_in_the_address() -> None:
    search = parse_query_string(
        "_near=Somewhere, far,2", locate=lambda name: (10.0, 20.0) if name == "Somewhere, far" else (0.0, 0.0)
    )
    assert search.near == SearchCircle(longitude=10.0, latitude=20.0, radius_degrees=2.0, name="Somewhere, far")
    assert ("_near", "Somewhere, far,2.0") in search.list_parameters()


def test_every_fault_is_told_beside_its_field_and_the_rest_still_runs(site: Site) -> None:
    def nobody(name: str) -> tuple[float, float]:
        raise UserError(f"nobody knows {name}", remedy="look at the spelling")

    search = parse_query_string(
        "siez=3&size=abc&target_name=Moon&_sort=nmae&_cols=id,foo&_near=Nowhere,1&_in=BLOB 1 2&time=2004-13-45",
        locate=nobody,
    )
    assert {fault.field for fault in search.faults} == {"siez", "size", "_sort", "_cols", "_near", "_in", "time"}
    assert all(fault.message and fault.remedy for fault in search.faults)
    assert next(fault for fault in search.faults if fault.field == "siez").remedy == "did you mean size?"
    assert search.columns == ("id",)
    assert found(site, search.copy_with(faults=())) == {row["id"] for row in ROWS if row["target_name"] == "Moon"}


@pytest.mark.parametrize(
    "text",
    [
        "_near=1,2",
        "_near=1,2,x",
        "_near=1,95,1",
        "_near=1,2,-1",
        "_near=,1",
        "_in=POLYGON 1 2 3",
        "_in=CIRCLE a b c",
        'target_name="open',
        "_unit.size=K",
        "_unit.siez=m",
    ],
)
def test_tampered_states_are_told(text: str) -> None:
    (fault,) = parse_query_string(text).faults
    assert fault.message
    assert fault.remedy


def test_order_columns_and_the_panes_own_words_are_kept(site: Site) -> None:
    search = parse_query_string("_sort=-size,id&_cols=id,size&_map=1;2;3&_view=grid&_unit.size=m&_row=7")
    assert search.order == (("size", True), ("id", False))
    assert [column.name for column in search.list_shown_columns()] == ["id", "size"]
    assert search.rest == (("_map", "1;2;3"), ("_view", "grid"))
    assert parse_query_string(search.write_query_string()) == search
    with query.run_query(search.build_query(limit=3), site=site) as result:
        assert result.read_table().column("id").to_pylist() == [299, 298, 296]  # 297 is a multiple of 11


def test_counts_of_choices_leave_their_own_condition_out() -> None:
    search = parse_query_string("target_name=Mars&size=1..2")
    assert search.build_condition(excluded_name="target_name") == parse_query_string("size=1..2").build_condition()


WORD = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
VALUE = st.one_of(
    WORD, st.sampled_from(["1..2", "..5 km", "!null", "<3", "Mars,Moon", '"a, b"', "2004-01..2004-02", "350..10"])
)
NAME = st.sampled_from(
    [
        *(column.name for column in TABLE.columns),
        "time",
        "SIZE",
        "nothing",
        "_q",
        "_near",
        "_in",
        "_sort",
        "_cols",
        "_row",
        "_x",
        "_unit.size",
    ]
)


@given(st.lists(st.tuples(NAME, VALUE), max_size=8))
def test_what_was_understood_is_written_so_that_it_reads_the_same(pairs: list[tuple[str, str]]) -> None:
    first = parse_search(pairs, TABLE)
    again = parse_search(parse_qsl(first.write_query_string(), keep_blank_values=True), TABLE)
    assert again.faults == ()
    assert again == first
    assert again.write_query_string() == first.write_query_string()
    first.write_adql()


@given(
    st.lists(st.one_of(st.none(), st.text(), st.sampled_from(["null", "NULL", "", '"', '""', 'a"b', "a,b", "..", "*"])))
)
def test_values_that_are_written_are_read_again(values: list[str | None]) -> None:
    """Choices and branches of the tree are conditions in addresses: each must lead to its own value, whatever that is."""
    if values:
        words = parse_field_values(",".join(map(quote_field_value, values)))
        assert [None if word.is_null else word.text for word in words] == values
