"""What the pages of a table leave out, so that the telling things are seen: columns that say the same in all rows, choices that are names, long regions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.model.table import Column, ColumnGroup, Table
from hven.model.types import FLOAT64, INT32, STRING, ColumnType
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site
from plugin_needs import require_query_editor

HERE = "/collections/mars/cubes"
ROWS = 400
OUTLINE = "Polygon UNKNOWNFrame 1 2 3 2 3 4 1 4"
TABLE = Table(
    schema="mars",
    name="cubes",
    primary=("id",),
    groups=(ColumnGroup(name="flux", roles={"value": "flux", "error": "spread"}),),
    columns=(
        Column(name="id", type=STRING, ucd="meta.id;meta.main", rank=1),
        Column(name="target_name", type=STRING, ucd="meta.id;src", rank=2),
        Column(name="level", type=INT32, unit="m", rank=2),
        Column(name="nothing", type=STRING, rank=2),
        Column(name="mixed", type=FLOAT64, rank=2),
        Column(name="kind", type=STRING, rank=3),
        Column(name="label", type=STRING, rank=3),
        Column(name="s_region", type=STRING, ucd="pos.outline;obs.field", rank=3),
        Column(name="taken", type=ColumnType("char", "*", "timestamp"), ucd="time.epoch", rank=3),
        Column(name="mass", type=FLOAT64, unit="kg", ucd="phys.mass;meta.main", rank=4),
        Column(name="mass_spread", type=FLOAT64, unit="kg", ucd="stat.error;phys.mass", rank=12),
        Column(name="flux", type=FLOAT64, unit="Jy", rank=12),
        Column(name="spread", type=FLOAT64, unit="Jy", rank=12),
        Column(name="orbit", type=INT32, rank=20),
        Column(name="page", type=STRING, ucd="meta.ref.url", rank=12),
    ),
)  # fmt: skip


def rows() -> pa.Table:
    some = [float("nan") if n == ROWS - 1 else 7.0 for n in range(ROWS)]
    return pa.table(
        {
            "id": [f"c{n:03}" for n in range(ROWS)],
            "target_name": ["Mars"] * ROWS,
            "level": pa.array([3] * ROWS, pa.int32()),
            "nothing": pa.array([None] * ROWS, pa.string()),
            "mixed": some,
            "kind": ["sav" if n % 2 else "nc" for n in range(ROWS)],
            "label": [f"Crater {n}" if n < 200 else None for n in range(ROWS)],
            "s_region": [OUTLINE] * (ROWS - 1) + ["CIRCLE 1 2 0.5"],
            "taken": pa.array(np.datetime64("2012-03-05T00:00:00", "us") + np.arange(ROWS) * np.timedelta64(3600, "s")),
            "mass": np.arange(ROWS) + 1.0,
            "mass_spread": np.full(ROWS, 0.5),
            "flux": np.arange(ROWS) + 1.0,
            "spread": np.full(ROWS, 0.25),
            "orbit": np.arange(ROWS, dtype=np.int32),
            "page": [
                f"https://data.example.org/a/very/long/way/to/the/file/of/the/cube/c{n:03}.fits" for n in range(ROWS)
            ],
        }
    )


@pytest.fixture(scope="module")
def published_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("calm"), {"mars.cubes": (TABLE, rows())}) as made:
        yield made


@pytest.fixture(scope="module")
def reader(published_site: Site) -> Client:
    return Client(create_and_start_application(published_site))


def ask(client: Client, path: str) -> Any:
    answer = client.ask("GET", path)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def heads(page: str) -> list[str]:
    grid = page[page.index('<table class="rows">') :]
    return re.findall(r'<th scope="col"[^>]*>(?:<a[^>]*>)?([^<]+)', grid[: grid.index("</thead>")])


def read_alike_line(page: str) -> str:
    line = re.search(r'<p class="alike" data-alike>(.*?)</p>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", line[1]).split()) if line else ""


def test_values_shared_by_all_rows_are_shown_once(reader: Client) -> None:
    page = reader.get(HERE).text
    assert read_alike_line(page) == "All rows: target_name Mars level 3 m Without values: nothing"
    assert heads(page) == ["id", "mixed", "kind", "label", "s_region", "taken", "mass"]
    assert page.count('<td class="n">7') > 0, "a number and NaN are two values"
    told = ask(reader, f"{HERE}/rows")
    assert [one["name"] for one in told["columns"] if one.get("alike")] == ["target_name", "level", "nothing"]


def test_it_is_the_table_that_decides_not_what_is_found(reader: Client) -> None:
    page = reader.get(HERE, kind="nc", mass="..20").text
    assert "kind" in heads(page), "columns stay where they are while a reader narrows down"
    assert read_alike_line(page).startswith("All rows: target_name Mars")
    assert read_alike_line(reader.get(HERE, mass="..0").text) == "", "of no rows nothing is said"


def test_a_reader_has_the_columns_that_they_choose(reader: Client) -> None:
    page = reader.get(HERE, _cols="target_name,kind").text
    assert heads(page) == ["target_name", "kind"]
    assert read_alike_line(page) == ""
    ticked = re.findall(r'name="_cols" value="(\w+)"( checked)?', reader.get(HERE).text)
    assert {name for name, on in ticked if on} == {"id", "mixed", "kind", "label", "s_region", "taken", "mass"}
    assert "target_name" in heads(reader.get(HERE, _sort="target_name").text), "what is sorted by stays"


def test_what_is_counted_over_hidden_rows_is_not_told(published_site: Site) -> None:
    page = (
        Client(create_and_start_application(published_site, policies=build_odd_rows_hidden_policies("orbit")))
        .get(HERE)
        .text
    )
    assert "200</b> of 200" in page
    assert read_alike_line(page) == ""
    assert "target_name" in heads(page)


def test_an_outline_is_told_in_short_and_in_full(reader: Client) -> None:
    page = reader.get(HERE).text
    assert f'<td title="{OUTLINE}">polygon of 4 corners</td>' in page
    assert f'<td title="{OUTLINE}">polygone à 4 sommets</td>' in reader.get(HERE, lang="fr").text
    row = ask(reader, f'{HERE}/row?_row=["c000"]')
    cell = dict(zip((one["name"] for one in row["columns"]), row["row"], strict=True))
    assert cell["s_region"] == {"text": OUTLINE, "corners": 4}
    assert cell["page"]["text"] == cell["page"]["href"], "in full, where one row is looked at"
    assert ask(reader, f'{HERE}/row?_row=["c399"]')["row"][7] == "CIRCLE 1 2 0.5"
    short = ask(reader, f"{HERE}/rows?_cols=page")["rows"][0][0]
    assert (short["text"], short["title"]) == ("c000.fits", cell["page"]["href"])


@pytest.mark.parametrize(
    ("asked", "english", "french"),
    [
        ("2012-03-05", "on 2012-03-05", "le 2012-03-05"),
        ("2012-03-05..2012-03-05", "on 2012-03-05", "le 2012-03-05"),
        ("2012-03", "in 2012-03", "en 2012-03"),
        ("2012-03-05..2012-03-06", "2012-03-05..2012-03-06", "2012-03-05..2012-03-06"),
    ],
)
def test_a_day_is_asked_for_as_one(reader: Client, asked: str, english: str, french: str) -> None:
    for language, told in (("en", english), ("fr", french)):
        page = reader.get(HERE, taken=asked, lang=language).text
        chip = re.search(r'data-name="taken"[^>]*>(.*?)</a>', page, re.DOTALL)
        assert chip is not None
        assert re.sub(r"<[^>]+>", "", chip[1]).split(" ", 1)[1].rpartition(" ")[0] == told
    chips = ask(reader, f"{HERE}/count?taken={asked}")["asked"]
    assert ("when" in chips[0]) == (english != asked)


def test_names_are_looked_for_rather_than_chosen(reader: Client) -> None:
    assert [one["column"] for one in ask(reader, f"{HERE}/facets")["facets"]] == ["kind", "s_region"]
    assert re.search(r'<input name="label" value="" data-complete', reader.get(HERE).text), "its field completes it"
    found = ask(reader, f"{HERE}/facets?_of=label&_like=crater 19")["facets"][0]["choices"]
    assert {one["value"] for one in found} == {"Crater 19", *(f"Crater {n}" for n in range(190, 200))}


@pytest.mark.parametrize(("column", "error", "size"), [("mass", "mass_spread", 0.5), ("flux", "spread", 0.25)])
def test_points_come_with_their_errors(reader: Client, column: str, error: str, size: float) -> None:
    across, up = ask(reader, f"{HERE}/points?_x=level&_y={column}")["axes"]
    assert "error" not in across
    assert up["error"] == {"name": error, "values": [size] * ROWS}


def test_a_job_is_called_by_the_tables_that_it_asks(reader: Client) -> None:
    require_query_editor()
    text = "WITH one AS (SELECT * FROM mars.cubes) SELECT TOP 1 a.id FROM one AS a JOIN mars.cubes AS b ON a.id = b.id"
    begun = reader.post("/jobs", QUERY=text)
    assert begun.status == 303
    cookie = begun.headers["set-cookie"].partition(";")[0]
    page = reader.ask(
        "GET",
        begun.headers["location"].removeprefix("http://vo.example"),
        headers={"cookie": cookie, "accept": "text/html"},
    ).text
    head = re.search(r"<section class=\"job\".*?<h2>(.*?)</h2>", page, re.DOTALL)
    assert head is not None
    assert re.sub(r"<[^>]+>", "", head[1]).strip().startswith("mars.cubes ")
    assert '<span class="phase"' in head[1]
