"""Tables of any name have pages: a name that means something else below a collection, or in a path, is written so that it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from asgi_client import Client

import hven
from hven.app._server import create_and_start_application
from hven.model.table import Table
from hven.portal._views.page_addresses import RESERVED_NAMES, build_table_address
from hven.testing.site import open_tiny_site
from plugin_needs import list_absent_packages

SOURCE = Path(hven.__file__).parent
NAMES = (
    "files",
    "descriptor",
    "changes.atom",
    "changes.rss",
    "main",
    "main.json",
    "a b",
    "a/b",
    "..",
    "~files~",
    "~",
    "100%",
    "rows",
    "é#&",
)


@pytest.fixture(scope="module")
def named_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    tables = {
        f"odd.{name}": pa.table({"number": list(range(at + 1)), "named": [name] * (at + 1)})
        for at, name in enumerate(NAMES)
    }
    with open_tiny_site(tmp_path_factory.mktemp("named"), tables) as site:
        yield Client(create_and_start_application(site))


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_its_page_and_its_panes(named_tables: Client, name: str) -> None:
    # a server hands the path on as it was meant
    here = unquote(build_table_address("", Table(schema="odd", name=name, columns=())))
    page = named_tables.get(here)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    told = unescape(re.search(r'data-here="([^"]*)"', page.text)[1])  # type: ignore[index]
    assert unquote(urlsplit(told).path) == here
    rows = named_tables.get(f"{here}/rows")
    assert rows.status == 200
    assert {row[1] for row in json.loads(rows.body)["rows"]} == {name}
    assert named_tables.get(f"{here}.json").headers["content-type"] == "application/json"


def test_what_stands_below_a_collection_is_known_to_be_taken() -> None:
    """A new face below ``/collections/NAME/`` must be named, or a table of its name has no page."""
    found: set[str] = set()
    for path in [
        path for pattern in ("*/faces", "portal/_views", "plugins/*") for path in SOURCE.glob(f"{pattern}/*.py")
    ]:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'(?:[Rr]oute|asking)\(\s*"/collections/\{name\}/([a-z.]+)["/]', text))
    # the core knows the names of packages, too, so that addresses stay as they are without a package
    assert found <= RESERVED_NAMES if list_absent_packages() else found == RESERVED_NAMES


def test_a_page_at_another_host_name_loads_its_scripts_from_the_public_address(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"odd.main": pa.table({"number": [1]})}) as site:
        site.settings = replace(site.settings, public_url="https://vo.example.org/hven")
        client = Client(create_and_start_application(site))
        for path in ("/", "/collections/odd/main", "/login", "/nowhere"):
            for host, is_elsewhere in (("vo.example.org", False), ("data.example.org", True), ("127.0.0.1:8080", True)):
                page = client.ask("GET", path, headers={"host": host, "accept": "text/html"})
                assert 'href="https://vo.example.org/hven/assets/' in page.text
                for directive in page.headers["content-security-policy"].split("; "):
                    if directive.startswith(("style-src", "script-src", "connect-src", "form-action")):
                        assert ("https://vo.example.org" in directive.split()) == is_elsewhere, (path, host)
