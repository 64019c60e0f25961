"""The client of these tests is that of the protocols; `submission_site.py` makes the site, which the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

for folder in ("protocols", "plugins/submissions"):
    sys.path.insert(0, str(Path(__file__).parents[2] / folder))

if TYPE_CHECKING:
    from asgi_client import Client
    from submission_site import Person

    from hven.site import Site


@pytest.fixture(scope="session")
def submission_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Client, dict[str, Person]]]:
    from submission_site import open_submission_site

    with open_submission_site(tmp_path_factory.mktemp("submissions")) as found:
        yield found


@pytest.fixture
def site(submission_site: tuple[Site, Client, dict[str, Person]]) -> Site:
    return submission_site[0]


@pytest.fixture
def client(submission_site: tuple[Site, Client, dict[str, Person]]) -> Client:
    return submission_site[1]


@pytest.fixture
def people(submission_site: tuple[Site, Client, dict[str, Person]]) -> dict[str, Person]:
    return submission_site[2]
