"""Who is who by tables of the site: groups and other names that a sync brings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from clocks import MovableClock
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site, find_groups_and_aliases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMBERS = """\
account,name,email,group
anna,"Berg, A.; Anna  Berg",anna@example.org,spica
Anna,,,hydra
anna.b@example.org,,,60.A-9237
BOB,Bob,,owner
bob,,,"  owner "
bob,,,project:hesiod
,nobody,,lost
carl,,,
"""
PROGRAMMES = "account,member_of\nanna@EXAMPLE.org / carl,098.B-0001\nanna.b@example.org,60.A-9237\n"
DESCRIPTOR = """\
collection: people
title: Who is who
access: private
tables:
  members:
    source: {kind: csv, file: members.csv}
  programmes:
    source: {kind: csv, file: programmes.csv}
"""


@pytest.fixture
def people_site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "collections" / "people"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text(
        'name = "people"\n[people]\ntables = ["people.members", "people.programmes", "people.none"]\n'
    )
    (folder / "people.yaml").write_text(DESCRIPTOR)
    (folder / "members.csv").write_text(MEMBERS)
    (folder / "programmes.csv").write_text(PROGRAMMES)
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "people")
        yield made


def test_a_table_says_groups_and_other_names(people_site: Site) -> None:
    assert find_groups_and_aliases(people_site, "anna") == (
        {"spica", "hydra", "098.B-0001"},
        {"berg, a.", "anna berg", "anna@example.org"},
    )
    assert find_groups_and_aliases(people_site, "ANNA") == find_groups_and_aliases(people_site, "anna")
    assert find_groups_and_aliases(people_site, "bob") == (
        set(),
        {"bob"},
    )  # neither the site's owner nor a member of a project
    assert find_groups_and_aliases(people_site, "carl") == ({"098.B-0001"}, set())
    assert find_groups_and_aliases(people_site, "anna.b@example.org")[0] == {"60.A-9237"}
    assert find_groups_and_aliases(people_site, "") == find_groups_and_aliases(people_site, "nobody") == (set(), set())


def test_what_a_sync_publishes_holds_within_a_second(people_site: Site, clock: MovableClock) -> None:
    assert find_groups_and_aliases(people_site, "dora") == (set(), set())
    looked = time.monotonic()
    (people_site.settings.collections_directory / "people" / "members.csv").write_text(
        "account,name,email,group\ndora,,,spica\n"
    )
    with Site(people_site.settings) as other:  # as another process
        ingest_collection(other, "people")
    clock.move(1 - (time.monotonic() - looked))  # a second since it looked, however long the ingest took
    assert find_groups_and_aliases(people_site, "dora")[0] == {"spica"}
    assert find_groups_and_aliases(people_site, "anna")[0] == set()


def test_it_is_read_once(people_site: Site) -> None:
    find_groups_and_aliases(people_site, "anna")
    with mock.patch("hven.site._people_tables._read_people_rows", side_effect=AssertionError):
        assert find_groups_and_aliases(people_site, "anna")[1]


def test_what_cannot_be_used_is_told(people_site: Site) -> None:
    assert [problem for problem in people_site.get_published_state().problems if "people" in problem] == [
        "people.tables in hven.toml: people.none is not used: it is not published"
    ]
    (people_site.settings.collections_directory / "people" / "programmes.csv").write_text("progid,group\na,b\n")
    (people_site.settings.collections_directory / "people" / "people.yaml").write_text(
        DESCRIPTOR.replace("access: private\n", "")
    )
    ingest_collection(people_site, "people")
    told = "\n".join(people_site.refresh_published_state().problems)
    assert "everybody can read people.members; set `access: private` for it" in told
    assert (
        "people.programmes is not used: it needs the column account, and one of member_of, group, name, alias, email"
        in told
    )


def test_there_is_a_budget(people_site: Site) -> None:
    with mock.patch("hven.site._people_tables.MAX_PEOPLE_ROWS", 8):
        ingest_collection(people_site, "people")
        assert "people.programmes is not used: with it, there would be more than 8 rows" in "".join(
            people_site.get_published_state().problems
        )
        assert find_groups_and_aliases(people_site, "anna")[0] == {"spica", "hydra"}
