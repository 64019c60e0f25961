"""The example of roles: who sees which targets and logs follows from the table of people."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from hven import query
from hven.ingest import ingest
from hven.model import settings
from hven.site import Site, people_of
from hven.site.auth import ANONYMOUS, Reader
from made import prepared
from running import until

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = {"": "3 5", "anna": "1 2 3 5", "bob": "2 3 5", "carl": "3 4 5", "dora": "3 5", "eve": "3 5"}
NIGHTS = {"": 0, "anna": 2, "bob": 2, "carl": 1, "dora": 2, "eve": 0}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("roles") / "site"
    shutil.copytree(prepared("17-roles"), place)
    with Site(settings.load(place)) as made:
        for name in ("people", "spica"):
            ingest(made, name)
        yield made


def seen(here: Site, name: str, text: str = "SELECT name FROM spica.targets ORDER BY name") -> list[Any]:
    groups, aliases = people_of(here, name)
    who = Reader(name=name, groups=groups, aliases=aliases) if name else ANONYMOUS
    with query.run(text, who, site=here) as result:
        return [value for batch in result.batches() for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize("name", TARGETS)
def test_who_sees_what(here: Site, name: str) -> None:
    assert seen(here, name) == [f"HD {number}" for number in TARGETS[name].split()]
    assert len(seen(here, name, "SELECT night FROM spica.nights")) == NIGHTS[name]
    assert "people.members" not in seen(here, name, "SELECT table_name FROM TAP_SCHEMA.tables")


def test_a_role_that_is_taken_away_is_gone_with_the_sync(here: Site) -> None:
    file = here.settings.collections / "people" / "members.csv"
    file.write_text(file.read_text().replace("bob,,p1.wp2\n", "eve,,p1.wp2\n"))
    with Site(here.settings) as other:  # as another process
        ingest(other, "people")
    until(lambda: seen(here, "bob") == ["HD 3", "HD 5"], 1)
    assert seen(here, "eve") == ["HD 2", "HD 3", "HD 5"]
