"""Tables that nobody expects: 10^4 choices, one row, none, 300 columns, one column that is always the same; texts of which a language is missing. All pages stand and stay small."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_client import Client
from lxml import html

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import list_statistics_pages, list_word_pages

CHOICES = 10_000
WIDE = [f"c{at}" for at in range(300)]
TABLES: dict[str, tuple[str, list[list[object]]]] = {  # columns, rows
    "codes": ("id: {type: int32}, kind: {type: string, enum: kinds}", [[at, f"k{at % CHOICES}"] for at in range(CHOICES)]),
    "names": ("id: {type: int32}, who: {type: string}", [[at, f"who {at % CHOICES}"] for at in range(2 * CHOICES)]),
    "one": ("id: {type: int32}, size: {type: float64}, t: {type: timestamp, ucd: time.start}", [[1, 2.5, "2004-01-01T00:00:00"]]),
    "none": ("id: {type: int32}, size: {type: float64}, t: {type: timestamp, ucd: time.start}", []),
    "wide": (", ".join(f"{name}: {{type: float64}}" for name in WIDE), [[row * at % 97 for at in range(300)] for row in range(60)]),
    "constant": ("size: {type: float64, unit: m}", [[2.5]] * 50),
    "empty": ("size: {type: float64}, same: {type: string}", [["", "x"]] * 50),
}  # fmt: skip
HEAD = """\
collection: odd
title: {fr: Des choses}
description: {en: Things, fr: Des choses}
tables:
"""
PANES = ("rows", "count", "facets", "take", "histogram?_x={x}", "points?_x={x}&_y={x}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("odd")
    (root / "hven.toml").write_text('title = "Odd"\n', encoding="utf-8")
    folder = root / "collections" / "odd"
    folder.mkdir(parents=True)
    text = HEAD
    for name, (columns, rows) in TABLES.items():
        names = [one.split(":")[0] for one in columns.split("}, ")]
        lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
        key = "    primary: [id]\n" if names[0] == "id" else ""
        text += f"  {name}:\n    title: {{en: Table of {name}}}\n    max_rejects: 1\n{key}    source: {name}.csv\n    columns: {{{columns}}}\n"
        if name == "codes":
            words = ", ".join(f"k{at}: {{en: Kind {at}, fr: Sorte {at}}}" for at in range(CHOICES))
            text += f"    enums: {{kinds: {{{words}}}}}\n"
    (folder / "odd.yaml").write_text(text, encoding="utf-8")
    with Site(load_settings(root, {})) as site:
        ingest_collection(site, "odd")
        yield Client(create_and_start_application(site))


def page(client: Client, path: str) -> tuple[int, Any]:
    answer = client.ask("GET", path, headers={"accept": "text/html"})
    assert answer.status == 200, answer.text[:500]
    return len(gzip.compress(answer.body)), html.fromstring(answer.text)


def fetch_json(client: Client, path: str) -> Any:
    answer = client.ask("GET", path, headers={"accept": "application/json"})
    assert answer.status == 200, answer.text[:500]
    return json.loads(answer.body)


@pytest.mark.parametrize("name", TABLES)
def test_every_pane_responds_and_the_page_stays_small(client: Client, name: str) -> None:
    columns, rows = TABLES[name]
    x = next(part.split(":")[0] for part in columns.split("}, ") if "float64" in part or "int32" in part)
    here = f"/collections/odd/{name}"
    size, found = page(client, here)
    assert size < 40_000  # as it travels
    assert len(found.xpath("//table[@class='rows']/tbody/tr")) == min(len(rows), 50)
    for pane in PANES:
        fetch_json(client, f"{here}/{pane.format(x=x)}")
    assert fetch_json(client, f"{here}/rows")["total"] == len(rows)
    assert sum(fetch_json(client, f"{here}/histogram?_x={x}")["counts"]) == (0 if name == "empty" else len(rows))


@pytest.mark.parametrize("path", ["/", "/collections/odd", "/collections/odd/columns", "/collections/odd/downloads", *list_statistics_pages("odd"), *list_word_pages("kind")])  # fmt: skip
def test_pages_of_the_collection_stand_and_stay_small(client: Client, path: str) -> None:
    assert page(client, path)[0] < 40_000


def test_few_of_ten_thousand_choices_are_shown_and_all_can_be_found(client: Client) -> None:
    _, found = page(client, "/collections/odd/codes")
    assert len(found.xpath("//option")) < 300
    (kinds,) = [one for one in fetch_json(client, "/collections/odd/codes/facets")["facets"] if one["column"] == "kind"]
    assert (len(kinds["choices"]), kinds["more"], kinds["field"]) == (12, True, False)
    some = fetch_json(client, "/collections/odd/codes/facets?_of=kind&_like=k777")["facets"][0]
    assert {one["value"] for one in some["choices"]} == {"k777", *(f"k777{at}" for at in range(10))}
    assert {one["label"] for one in some["choices"]} == {"Kind 777", *(f"Kind 777{at}" for at in range(10))}
    assert fetch_json(client, "/collections/odd/names/facets")["facets"] == [], "names are looked for, not chosen from"
    who = fetch_json(client, "/collections/odd/names/facets?_of=who&_like=who+9999")["facets"][0]["choices"]
    assert [(one["value"], one["rows"]) for one in who] == [("who 9999", 2)]
    assert fetch_json(client, "/collections/odd/codes/count?kind=k5,k6,k99999")["total"] == 2


def test_constant_and_empty_columns_have_no_facet_and_no_plot(client: Client) -> None:
    for name in ("constant", "empty"):
        assert fetch_json(client, f"/collections/odd/{name}/facets")["facets"] == []
    _, found = page(client, "/collections/odd/one")
    assert not found.xpath("//p[@data-alike]/*"), "of one row nothing is said to be alike in all"


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_missing_translation_falls_back_to_the_other_language(client: Client, language: str) -> None:
    _, found = page(client, f"/collections/odd?lang={language}")
    assert found.xpath("string(//h1)").strip() == "Des choses", "there is no other"
    said = [" ".join(one.text_content().split()) for one in found.xpath("//p")]
    assert ("Things" in said, "Des choses" in said) == (language == "en", language == "fr")
    assert found.xpath("//h2/a[text()='Table of codes']"), "there is no French one"
    assert fetch_json(client, f"/collections/odd?lang={language}")["title"] == "Des choses"
