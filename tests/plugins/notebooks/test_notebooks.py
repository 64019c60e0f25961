"""Notebooks of searches and queries: their cells are valid, run, and find what the page shows."""

from __future__ import annotations

import contextlib
import io
import json
from urllib.parse import urlencode

import pytest
from asgi_client import Client

from hven.plugins.notebooks.notebook_cells import NotebookContent, write_cells
from hven.plugins.notebooks.notebook_document import NotebookCell, write_notebook
from hven.site import Site
from process_runner import serve_site

TABLE = "/collections/stars/main/notebook"


def list_code_cells(body: bytes) -> list[str]:
    """List the programs of a notebook."""
    return ["".join(cell["source"]) for cell in json.loads(body)["cells"] if cell["cell_type"] == "code"]


def run_cells(cells: list[str]) -> dict[str, object]:
    """Run the cells of a notebook one after the other, and return its variables."""
    variables: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, cell in enumerate(cells):
            exec(compile(cell, f"cell {number}", "exec"), variables)
    return variables


def test_a_notebook_has_the_search_its_address_and_its_citation(client: Client) -> None:
    answer = client.get(f"{TABLE}?mag=..3&_sort=-mag")
    assert answer.headers["content-type"].startswith("application/x-ipynb+json")
    assert 'filename="stars.main.ipynb"' in answer.headers["content-disposition"]
    document = json.loads(answer.body)
    texts = ["".join(cell["source"]) for cell in document["cells"]]
    assert "/collections/stars/main?mag=..3&_sort=-mag>" in texts[0]
    assert "WHERE" in texts[1]
    assert any('projection="mollweide"' in text for text in texts)
    assert any("download_file" in text and "'picture'" in text for text in texts)
    assert "Tycho Brahe" in texts[-1]
    assert "    @" in texts[-1], "BibTeX"
    for cell in list_code_cells(answer.body):
        compile(cell, "cell", "exec")


def test_all_columns_are_those_of_the_menu_of_downloads(client: Client) -> None:
    shown, whole = (list_code_cells(client.get(f"{TABLE}?_all={all_columns}").body)[0] for all_columns in ("", "1"))
    assert "SELECT *" in whole or len(whole) >= len(shown)


def test_words_of_descriptors_and_queries_cannot_become_programs_or_markup(client: Client) -> None:
    first = "".join(json.loads(client.get(TABLE).body)["cells"][0]["source"])
    assert "\\*not\\*" in first
    hostile = 'SELECT 1 AS "a""""b" -- \\" """ \x00 import os\n'
    cells = write_cells(
        NotebookContent(title="<script>x</script>", address="http://h/", service="http://h/tap", query=hostile)
    )
    assert "\\<script\\>" in cells[0].source, "Markdown shows the characters"
    variables: dict[str, object] = {}
    line = next(line for line in cells[1].source.splitlines() if line.startswith("query = "))
    exec(line, variables)
    assert variables["query"] == hostile


@pytest.mark.parametrize("text", ["SELECT 1", 'x"', 'a """ b', "a\\b", "first\nsecond " + "x" * 90])
def test_queries_are_read_back_as_they_are(text: str) -> None:
    cells = write_cells(NotebookContent(title="t", address="http://h/", service="http://h/tap", query=text))
    variables: dict[str, object] = {}
    source = cells[1].source
    exec(source[source.index("query = ") : source.index("result = ")], variables)
    assert str(variables["query"]).strip() == text


def test_faults_of_searches_and_queries_are_told(client: Client) -> None:
    answer = client.get(f"{TABLE}?mag=bright")
    assert answer.status == 400
    assert "mag" in answer.text
    assert client.get(f"/notebook?{urlencode({'QUERY': 'SELECT nothing FROM stars.main'})}").status == 400
    assert client.get("/notebook").status == 400
    assert client.get("/collections/stars/nothing/notebook").status == 404


def test_private_tables_have_no_notebook_for_strangers(client: Client) -> None:
    assert client.get("/collections/stars/secret/notebook").status == 404
    answer = client.get(f"/notebook?{urlencode({'QUERY': 'SELECT id FROM stars.secret'})}")
    assert answer.status in {400, 403, 404}
    assert "secret" not in client.get(TABLE).text


def test_pages_offer_notebooks(client: Client) -> None:
    assert "/collections/stars/main/notebook?mag=..3" in client.get("/collections/stars/main?mag=..3").text
    assert 'formaction="http://vo.example/notebook"' in client.get("/adql").text


def test_a_row_has_a_notebook_of_its_own(client: Client) -> None:
    """Its link stands beside the row, and its query finds the row alone."""
    key = "[7]"
    row = json.loads(client.get("/collections/stars/main/row", _row=key).body)
    (link,) = [link["href"] for link in row["links"] if "/notebook?" in link["href"]]
    cells = list_code_cells(client.get(link.removeprefix("http://vo.example")).body)
    assert "WHERE" in cells[0]
    variables: dict[str, object] = {}
    source = cells[0]
    exec(source[source.index("query = ") : source.index("result = ")], variables)
    answer = client.get("/tap/sync", LANG="ADQL", FORMAT="csv", QUERY=variables["query"])
    assert [line.split(",")[0] for line in answer.text.splitlines()[1:]] == ["7"]
    assert client.get("/collections/stars/main").text.count("/collections/stars/main/notebook") == 1


def test_an_unchanged_notebook_is_not_sent_again(client: Client) -> None:
    answer = client.get(TABLE)
    assert client.ask("GET", TABLE, headers={"if-none-match": answer.headers["etag"]}).status == 304


def test_the_cells_of_a_query_find_its_rows(site: Site) -> None:
    pytest.importorskip("pyvo")
    with serve_site(site.settings.directory) as server:
        query = "SELECT TOP 7 id, mag FROM stars.main ORDER BY id"
        status, _, body = server.get("/notebook", QUERY=query)
        assert status == 200
        rows = run_cells(list_code_cells(body)[:2])["table"]
        assert [int(number) for number in rows["id"]] == [0, 1, 2, 3, 4, 5, 6]  # type: ignore[index]


def test_a_notebook_is_valid() -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat (dependency group test-all) judges notebooks")
    cells = [NotebookCell("# one"), NotebookCell("x = 1\nx", is_code=True)]
    nbformat.validate(nbformat.reads(write_notebook(cells).decode(), as_version=4))


@pytest.mark.slow
def test_whole_notebooks_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib (dependency group test-all) draws the plots")
    matplotlib.use("Agg")
    with serve_site(site.settings.directory) as server:
        monkeypatch.setattr("astropy.utils.data.download_file", lambda address, cache: f"got {address}")
        _, _, body = server.get(TABLE, mag="..3")
        variables = run_cells(list_code_cells(body))
        assert len(variables["table"]) == 31  # type: ignore[arg-type]
        assert str(variables["path"]).startswith("got https://example.org/")
        _, _, body = server.get("/collections/stars/flux/notebook")
        cells = list_code_cells(body)
        assert "hapi(" in cells[-1]
        variables = run_cells(cells)
        assert len(variables["data"]) == 60  # type: ignore[arg-type]
        _, _, body = server.get("/collections/stars/main/row", _row="[7]")
        (link,) = [link["href"] for link in json.loads(body)["links"] if "/notebook?" in link["href"]]
        _, _, body = server.get(link.partition(f":{server.port}")[2])
        variables = run_cells(list_code_cells(body))
        assert [int(number) for number in variables["table"]["id"]] == [7]  # type: ignore[index]
