"""Example queries: the written ones, the made ones, and who is shown which."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection, run_collection_examples
from hven.site import Site, list_example_queries
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import build_table_from_arrow, open_site_with_uningested_files, open_tiny_site

CAT = """\
collection: cat
title: A catalogue
tables:
  stars:
    title: Stars
    description: One row per star
    position: [ra, dec]
    columns:
      id: {type: int64, rank: 1}
      ra: {type: float64, unit: deg, rank: 2}
      dec: {type: float64, unit: deg, rank: 2}
      Odd name: {type: float64, rank: 25}
    map: {Odd name: ra + dec}
    source: {kind: csv, files: stars.csv}
  bright: {view: SELECT id FROM cat.stars WHERE id < 3}
  hidden: {access: private, source: {kind: csv, files: stars.csv}}
examples:
  - title: Northern <stars>
    description: Those with dec > 0.
    query: SELECT id, dec FROM Stars WHERE dec > 0
  - {title: Nothing, query: SELECT id FROM cat.bright WHERE id > 5}
  - {title: Of the hidden, query: SELECT TOP 1 * FROM cat.hidden}
"""
ROWS = "id,ra,dec\n1,10,-1\n2,20,30\n3,200.5,89.9\n"


@pytest.fixture
def site(tmp_path):
    with open_site_with_uningested_files(tmp_path, CAT, {"stars.csv": ROWS}) as opened:
        ingest_collection(opened, "cat")
        opened.refresh_published_state()
        yield opened


def rows(site: Site, text: str) -> int:
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return sum(batch.num_rows for batch in result.iterate_batches())


def test_written_ones_stand_with_their_tables(site):
    shown = {item.name: item for item in list_example_queries(site.get_published_state())}
    assert shown["Northern <stars>"].tables == ("cat.stars",)
    assert shown["Nothing"].tables == ("cat.bright",)
    assert not any("first look" in name for name in shown)  # each table that may be seen has its example


def test_made_ones_of_tables_with_one_title_name_their_tables(tmp_path):
    table = "{title: Observations, source: {kind: csv, files: stars.csv}}"
    descriptor = f"collection: cat\ntitle: C\ntables:\n  a: {table}\n  b: {table}\n"
    with open_site_with_uningested_files(tmp_path, descriptor, {"stars.csv": ROWS}) as opened:
        ingest_collection(opened, "cat")
        opened.refresh_published_state()
        names = [item.name for item in list_example_queries(opened.get_published_state(), collection="cat")]
    assert names == ["Observations (cat.a): a first look", "Observations (cat.b): a first look"]


def test_nobody_is_shown_what_they_cannot_run(site):
    assert "Of the hidden" not in {
        item.name for item in list_example_queries(site.get_published_state(), ANONYMOUS_PRINCIPAL)
    }
    assert "Of the hidden" in {item.name for item in list_example_queries(site.get_published_state(), OWNER_PRINCIPAL)}
    assert not any(
        "hidden" in item.query for item in list_example_queries(site.get_published_state(), ANONYMOUS_PRINCIPAL)
    )


@pytest.mark.parametrize("place", [(0.0, 0.0), (10.0, 41.8), (359.99, -89.99), (200.0, 66.0), (45.0, 90.0)])
def test_made_ones_run_and_find_rows(tmp_path, place):
    table = pa.table({"id": [1], "ra": [place[0]], "dec": [place[1]], "select": ["x"], "Weird ä": [1.0]})
    with open_tiny_site(tmp_path, {"sky.odd": table, "plain.numbers": pa.table({"x": [1, 2]})}) as site:
        made = list_example_queries(site.get_published_state())
        assert [item.tables[0] for item in made] == ["plain.numbers", "sky.odd", "sky.odd", "TAP_SCHEMA.tables"]
        assert [rows(site, item.query) for item in made[:3]] == [2, 1, 1]
        assert '"select"' in made[1].query
        assert rows(site, made[3].query) == 7


def test_rows_that_are_hidden_lend_no_place(tmp_path):
    table = pa.table({"number": [1, 3], "ra": [10.0, 10.0], "dec": [10.0, 10.0]})
    with open_tiny_site(tmp_path, {"sky.stars": table}) as site:
        assert any("CIRCLE" in item.query for item in list_example_queries(site.get_published_state()))
        assert not any(
            "CIRCLE" in item.query
            for item in list_example_queries(
                site.get_published_state(), ANONYMOUS_PRINCIPAL, build_odd_rows_hidden_policies("number")
            )
        )


def test_they_are_run(site):
    told = run_collection_examples(site, "cat")
    assert [(fault.severity, fault.message) for fault in told] == [("warning", "the example 'Nothing' returns no rows")]
    assert (told[0].place.line, told[0].place.column) == (21, 29)


def test_one_that_fails_has_its_place(tmp_path):
    with open_site_with_uningested_files(
        tmp_path, CAT.replace("SELECT id, dec FROM", "SELECT id, decc FROM"), {"stars.csv": ROWS}
    ) as site:
        ingest_collection(site, "cat")
        site.refresh_published_state()
        (fault, _) = run_collection_examples(site, "cat")
        assert fault.severity == "error"
        assert "did you mean" in fault.message
        assert str(fault.place).endswith("cat.yaml:20:12")


def test_a_place_on_a_body_is_in_no_system_of_the_sky(tmp_path):
    rows_ = pa.table({"ra": [10.0], "dec": [10.0]})
    table = build_table_from_arrow("mars.craters", rows_)
    table = table.copy_with(
        columns=tuple(
            column.copy_with(ucd=ucd)
            for column, ucd in zip(table.columns, ("pos.bodyrc.lon", "pos.bodyrc.lat"), strict=True)
        )
    )
    with open_tiny_site(tmp_path, {"mars.craters": (table, rows_)}) as site:
        assert "POINT('', ra, dec), CIRCLE('', " in list_example_queries(site.get_published_state())[1].query
