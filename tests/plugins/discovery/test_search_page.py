"""The page of a search by words: what it finds, for whom, and what it withstands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_client import Client
from portal_site import build_site

from hven.app._server import create_and_start_application
from hven.site import Site
from hven.site.auth._access_control import Principal


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with build_site(tmp_path_factory.mktemp("portal")) as site:
        yield site


@pytest.fixture(scope="module")
def reader(portal: Site) -> Client:
    return Client(create_and_start_application(portal))


def data(client: Client, path: str) -> Any:
    return json.loads(client.ask("GET", path, headers={"accept": "application/json"}).body)


@pytest.mark.parametrize(
    ("words", "kind", "title"),
    [
        ("exposure", "column", "exposure"),
        ("obs.exposure", "column", "exposure"),
        ("etoiles", "collection", "Étoiles fixes"),
        ("every IMAGE", "table", "Every image"),
        ("10.1234/uraniborg", "collection", "Images of the Sun"),
        ("declination fixes", "column", "dec"),
    ],
)
def test_search_finds_titles_columns_and_ucds(reader: Client, words: str, kind: str, title: str) -> None:
    hits = json.loads(reader.ask("GET", "/search.json", f"q={words.replace(' ', '+')}".encode()).body)["hits"]
    assert (hits[0]["kind"], hits[0]["title"]) == (kind, title)
    page = reader.get("/search", q=words)
    assert page.status == 200
    assert title in page.text


def test_search_is_not_fooled(reader: Client) -> None:
    for words in ("", "   ", "nothing-of-this", "%", "<script>alert(9)</script>", "a" * 5000):
        answer = reader.get("/search", q=words)
        assert answer.status == 200
        assert "alert(9)<" not in answer.text.replace("&lt;", "")
    assert "<script>alert(9)" not in reader.get("/search", q="<script>alert(9)</script>").text


def test_private_tables_are_not_found(reader: Client) -> None:
    assert data(reader, "/search?q=letters")["hits"] == []


def test_the_owner_finds_private_tables(portal: Site) -> None:
    owner = Client(
        create_and_start_application(
            portal, identify_principal=lambda request: Principal(name="owner", groups=frozenset({"owner"}))
        )
    )
    assert data(owner, "/search?q=zweihaender")["hits"][0]["name"] == "images.letters.word"


def test_a_portal_finds_its_own_collections(reader: Client) -> None:
    assert data(reader, "/sunny/search?q=fixes")["hits"] == []
    assert data(reader, "/search?q=fixes")["hits"] != []


def test_misspelt_words_find_the_nearest_ones(reader: Client) -> None:
    for words, corrected, title in [
        ("declinatoin fixes", "declination fixes", "dec"),
        ("etoilles", "etoiles", "Étoiles fixes"),
    ]:
        found = json.loads(reader.ask("GET", "/search.json", f"q={words.replace(' ', '+')}".encode()).body)
        assert (found["corrected"], found["hits"][0]["title"]) == (corrected, title)
        assert f"<b>{corrected}</b>" in reader.get("/search", q=words).text
    assert data(reader, "/search?q=etoiles")["corrected"] == ""
    assert data(reader, "/search?q=lettres")["hits"] == []
    assert data(reader, "/search/suggest?q=etoilles")["corrected"] == "etoiles"


def test_a_doi_is_found_however_it_is_written(reader: Client) -> None:
    for words in ("10.1234/uraniborg", "doi:10.1234/uraniborg", "https://doi.org/10.1234/uraniborg"):
        assert json.loads(reader.get("/search.json", q=words).body)["hits"][0]["title"] == "Images of the Sun"


def test_words_of_private_tables_correct_nothing(reader: Client) -> None:
    assert json.loads(reader.get("/search.json", q="zweihaneder").body)["corrected"] == ""
