"""The example of roles: who sees which targets and logs follows from the table of people, through the service."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from asgi_client import Client

from example_sites import prepare_example
from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = {"": "3 5", "anna": "1 2 3 5", "bob": "2 3 5", "carl": "3 4 5", "dora": "3 5", "eve": "3 5"}
NIGHTS = {"": 0, "anna": 2, "bob": 2, "carl": 1, "dora": 2, "eve": 0}


Served = tuple[Site, Client, dict[str, str]]


@pytest.fixture(scope="module")
def roles_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("roles") / "site"
    shutil.copytree(prepare_example("17-roles"), place)
    with Site(settings.load_settings(place)) as made:
        for name in ("people", "spica"):
            ingest_collection(made, name)
        yield (
            made,
            Client(create_and_start_application(made)),
            {name: made.store.users.add_account(name) for name in TARGETS if name},
        )


def query_visible_rows(
    roles_site: Served, name: str, text: str = "SELECT name FROM spica.targets ORDER BY name"
) -> list[str]:
    _, client, tokens = roles_site
    asked = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": text})
    headers = {"authorization": f"Bearer {tokens[name]}"} if name else {}
    return client.ask("GET", f"/tap/sync?{asked}", headers=headers).text.splitlines()[1:]


@pytest.mark.parametrize("name", TARGETS)
def test_who_sees_what(roles_site: Served, name: str) -> None:
    assert query_visible_rows(roles_site, name) == [f"HD {number}" for number in TARGETS[name].split()]
    assert len(query_visible_rows(roles_site, name, "SELECT night FROM spica.nights")) == NIGHTS[name]
    assert "people.members" not in query_visible_rows(roles_site, name, "SELECT table_name FROM TAP_SCHEMA.tables")


def test_a_role_that_is_taken_away_is_gone_with_the_sync(roles_site: Served) -> None:
    site = roles_site[0]
    file = site.settings.collections_directory / "people" / "members.csv"
    file.write_text(file.read_text().replace("bob,,p1.wp2\n", "eve,,p1.wp2\n"))
    with Site(site.settings) as other:  # as another process
        ingest_collection(other, "people")
    wait_until(lambda: query_visible_rows(roles_site, "bob") == ["HD 3", "HD 5"])
    wait_until(lambda: query_visible_rows(roles_site, "eve") == ["HD 2", "HD 3", "HD 5"])
