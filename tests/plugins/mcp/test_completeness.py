"""No answer hides that it is a part: the flag, the first line and the numbers agree with what there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from mcp_requests import call

from hven.app._server import create_and_start_application
from hven.plugins.mcp import catalogue_tools, link_tools, row_tools
from hven.plugins.mcp.row_tools import MAX_ROWS, MAX_SAMPLE_ROWS
from hven.plugins.mcp.tools import MAX_CANDIDATES, join_candidates
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

ROWS = 1_300
DESCRIPTOR = """\
collection: spots
description: {description}
tables:
  main:
    primary: id
    position: [ra, dec]
    columns:
      id: {{type: int32, ucd: meta.id;meta.main}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      other: {{type: int32}}
    source: {{kind: csv, files: spots.csv}}
    links:
      - {{semantics: this, text: "https://files.example/{{target.id}}"}}
      - {{semantics: coderived, from: main, where: "main.other = target.other", text: "https://files.example/{{main.id}}"}}
  more:
    primary: id
    columns: {{id: {{type: int32}}}}
    source: {{kind: csv, files: spots.csv}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from hven.ingest.api.runs import ingest_collection

    rows = "".join(f"{number},{number / 4},0.5,{number // 250}\n" for number in range(ROWS))
    files = {"spots.csv": f"id,ra,dec,other\n{rows}"}
    descriptor = DESCRIPTOR.format(description="spots and words " * 40)
    with open_site_with_uningested_files(tmp_path_factory.mktemp("spots"), descriptor, files) as opened:
        report = ingest_collection(opened, "spots")
        assert report.published, report.error
        yield opened


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@given(count=st.integers(0, ROWS), limit=st.integers(1, MAX_ROWS))
def test_a_query_says_whether_it_has_all_rows(client: Client, count: int, limit: int) -> None:
    content = call(client, "query", adql=f"SELECT id FROM spots.main WHERE id < {count}", limit=limit)[
        "structuredContent"
    ]
    assert len(content["rows"]) == content["rows_returned"] == min(count, limit)
    assert content["complete"] is (count <= limit)
    assert content["available"] == (count if count <= limit else "more")
    assert content["limit"] == limit


@given(radius=st.integers(0, 60), limit=st.integers(1, MAX_ROWS))
def test_a_cone_says_whether_it_has_all_rows(client: Client, radius: int, limit: int) -> None:
    content = call(client, "cone", table="main", ra=100, dec=0.5, radius=radius, limit=limit)["structuredContent"]
    if content["complete"]:
        counted = call(client, "query", adql=content["adql"].replace("*", "COUNT(*) AS n", 1))["structuredContent"]
        assert counted["rows"] == [[content["available"]]] == [[len(content["rows"])]]
    else:
        assert len(content["rows"]) == limit


@given(limit=st.integers(1, MAX_SAMPLE_ROWS))
def test_a_sample_says_how_many_rows_there_are(client: Client, limit: int) -> None:
    result = call(client, "sample", table="spots.main", limit=limit)
    assert result["structuredContent"]["available"] == ROWS
    assert f"INCOMPLETE: only the first {limit} of {ROWS} rows" in result["content"][0]["text"]


@given(limit=st.integers(1, 6))
def test_lists_say_how_much_is_left_out(client: Client, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_tools, "MAX_FOUND_TABLES", limit)
        patch.setattr(catalogue_tools, "MAX_DESCRIBED_COLUMNS", limit)
        patch.setattr(link_tools, "MAX_LINKS", limit)
        answers = {
            "tables": (2, call(client, "search_collections")),
            "columns": (4, call(client, "describe_table", table="spots.main")),
            "links": (251, call(client, "links", table="spots.main", id="7")),
        }
    for name, (count, answer) in answers.items():
        content = answer["structuredContent"]
        listed = content["collections"][0]["tables"] if name == "tables" else content[name]
        assert (content["available"], len(listed), content["complete"]) == (count, min(count, limit), count <= limit)
        assert content["limit"] == limit


def test_rows_that_are_too_large_are_refused_and_not_cut(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_tools, "MAX_ANSWER_BYTES", 1 << 10)
    result = call(client, "query", adql="SELECT * FROM spots.main", limit=1000)
    assert result["isError"] is True
    assert "so none are sent; select fewer columns" in result["content"][0]["text"]


def test_a_query_ends_within_the_seconds_of_a_call(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_tools, "MAX_QUERY_SECONDS", 1e-9)
    result = call(client, "query", adql="SELECT COUNT(*) AS n FROM spots.main AS a, spots.main AS b")
    assert result["isError"] is True
    assert "time limit" in result["content"][0]["text"]


def test_texts_and_names_that_are_cut_say_so(client: Client) -> None:
    (collection,) = call(client, "search_collections")["structuredContent"]["collections"]
    assert collection["description"].endswith(".. (shortened)")
    assert ".. (shortened)" in client.ask("GET", "/llms.txt").text
    assert ".. (shortened)" not in client.ask("GET", "/llms/spots.md").text
    names = [f"t{number}" for number in range(MAX_CANDIDATES + 3)]
    assert join_candidates(names).endswith(f"t{MAX_CANDIDATES - 1} and 3 more")
    assert join_candidates(names[:MAX_CANDIDATES]).endswith(f"t{MAX_CANDIDATES - 1}")


def test_the_limits_of_the_tools_are_those_that_they_list(client: Client) -> None:
    result = call(client, "query", adql="SELECT id FROM spots.main", limit=MAX_ROWS + 1)
    assert result["isError"] is True
    assert f"from 1 to {MAX_ROWS}" in result["content"][0]["text"]
