"""Pages of strange data come, and they are not huge; a browser tries what they look like."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from asgi_client import Client
from strange_site import ARABIC, CHOICE_COUNT, LONG_NAME, open_strange_site

from hven.app._server import create_and_start_application

MAX_PAGE_BYTES = 1_500_000
HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with open_strange_site(tmp_path_factory.mktemp("strange")) as site:
        yield Client(create_and_start_application(site))


@pytest.mark.parametrize(
    "path",
    ["/", "/collections/strange", "/collections/strange/wide", "/collections/strange/many", "/collections/strange/old"],
)
def test_pages_come_and_are_not_huge(strange: Client, path: str) -> None:
    for language in ("en", "fr"):
        page = strange.ask("GET", path, f"lang={language}".encode(), headers=HTML)
        assert page.status == 200
        assert len(page.body) < MAX_PAGE_BYTES
        heading = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
        assert heading is not None
        assert heading[1].strip(), "a page without a title has the name of what it shows"


def test_a_hundred_thousand_choices_are_not_listed(strange: Client) -> None:
    page = strange.ask("GET", "/collections/strange/many", headers=HTML)
    assert page.text.count("<option") < 500
    assert f"{CHOICE_COUNT:,}" in page.text
    found = strange.ask("GET", "/collections/strange/many", b"choice=choice+99999", headers=HTML)
    assert "choice 99999" in found.text


def test_times_before_1900_are_found_and_shown(strange: Client) -> None:
    page = strange.ask("GET", "/collections/strange/old", b"seen=1572..1610", headers=HTML)
    assert "1572-11-11" in page.text
    assert "1610-01-07" in page.text
    assert "0900-01-01" not in page.text.partition("<tbody")[2]


def test_long_names_and_foreign_letters_are_whole(strange: Client) -> None:
    page = strange.ask("GET", "/collections/strange/old", headers=HTML)
    assert LONG_NAME in page.text
    assert ARABIC in page.text
