"""The client of these tests is that of the protocols; `entry_site.py` makes the site, which the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from asgi_client import Client
    from entry_site import Person

    from hven.site import Site


@pytest.fixture(scope="session")
def entry_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Client, dict[str, Person]]]:
    from entry_site import open_entry_site

    with open_entry_site(tmp_path_factory.mktemp("entries")) as found:
        yield found


@pytest.fixture
def site(entry_site: tuple[Site, Client, dict[str, Person]]) -> Site:
    return entry_site[0]


@pytest.fixture
def client(entry_site: tuple[Site, Client, dict[str, Person]]) -> Client:
    return entry_site[1]


@pytest.fixture
def people(entry_site: tuple[Site, Client, dict[str, Person]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Person]:
    from hven.plugins.entries import comment_store

    monkeypatch.setattr(comment_store, "MAX_COMMENTS_PER_HOUR", 1_000)
    return entry_site[2]
