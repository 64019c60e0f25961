"""Entries refer only to rows that exist, and that their author sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgi_client import Client
from entry_site import Person, path_of, read_entry

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: plan
title: A plan
tables:
  programmes:
    source:
      - {kind: csv, files: programmes.csv}
      - {kind: push, columns: {programme: string, owner: string}, writers: [mia]}
    entries: {}
    primary: programme
    access: {rows: "owner <> 'bob' or reader in (owner)"}
    columns: {programme: string, owner: string}
  targets:
    source: {kind: push, columns: {target: int64, programme: string, pair: int64, band: string, note: string}, ids: target, writers: [mia]}
    entries: {}
    primary: target
    keys:
      programme: programmes
      pair: {columns: [pair, band], target: pairs, target_columns: [number, band]}
      self: {columns: target, target: targets, target_columns: target}
    columns: {target: int64, programme: string, pair: int64, band: string, note: string}
  pairs:
    source: pairs.csv
    primary: [number, band]
    columns: {number: int64, band: string}
"""
FILES = {"programmes.csv": "programme,owner\nP1,anna\nP2,bob\n", "pairs.csv": "number,band\n1,H\n2,K\n"}


@pytest.fixture(scope="module")
def planned_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Person]]]:
    with open_site_with_uningested_files(tmp_path_factory.mktemp("plan"), DESCRIPTOR, FILES) as site:
        assert ingest_collection(site, "plan").published
        names = ("anna", "bob", "mia")
        for name in names:
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        yield site, {name: Person(client, site, name) for name in names}


@pytest.fixture
def people(planned_site: tuple[Site, dict[str, Person]]) -> dict[str, Person]:
    return planned_site[1]


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("anna", {"programme": "P1"}, ""),
        ("anna", {"programme": "P1", "pair": 2, "band": "K"}, ""),
        ("anna", {"note": "it refers to nothing"}, ""),
        ("anna", {"programme": "P1", "pair": 7}, ""),  # as in SQL, a key with a null refers to nothing
        ("bob", {"programme": "P2"}, ""),
        ("anna", {"programme": "P9"}, "the table plan.programmes has no row 'P9'"),
        ("anna", {"programme": "p1"}, "has no row 'p1'"),
        ("anna", {"programme": "P1' OR '1'='1"}, "has no row"),
        ("anna", {"programme": "x" * 9000}, "has no row"),
        ("anna", {"programme": "P2"}, "has no row 'P2'"),  # a policy hides the row from anna
        ("anna", {"pair": 1, "band": "K"}, "the table plan.pairs has no row 1"),
    ],
)
def test_references_are_checked(people: dict[str, Person], name: str, values: dict[str, object], fault: str) -> None:
    answer = people[name].send("/entries/plan.targets", {"values": values, "action": "submit"})
    if not fault:
        assert read_entry(answer, 201)["state"] == "submitted"
        return
    assert answer.status == 400, answer.text
    assert fault in answer.text


def test_the_form_shows_the_fault_at_its_field(people: dict[str, Person]) -> None:
    fields = {"value.programme": "P9", "action": "submit"}
    page = people["anna"].post_form("/entries/plan.targets", fields, **{"accept-language": "fr"})
    assert page.status == 400
    assert 'id="fault-programme"' in page.text
    assert "la table plan.programmes n&#39;a pas de ligne &#39;P9&#39;" in page.text
    assert 'value="P9"' in page.text, "the draft is kept"


def test_references_are_checked_again_when_a_row_is_accepted(people: dict[str, Person]) -> None:
    programme = people["anna"].submit({"programme": "P3", "owner": "anna"}, "plan.programmes")
    early = people["anna"].send("/entries/plan.targets", {"values": {"programme": "P3"}, "action": "submit"})
    assert early.status == 400, "nobody has accepted the programme yet"
    accepted = read_entry(people["mia"].take(programme, "accept"))
    target = people["anna"].submit({"programme": "P3"}, "plan.targets")
    read_entry(people["mia"].take(accepted, "withdraw", reason="no time"))
    refused = people["mia"].take(target, "accept")
    assert refused.status == 400
    assert "has no row 'P3'" in refused.text
    assert read_entry(people["anna"].get(path_of(target)))["state"] == "submitted"


def test_all_rows_must_exist(people: dict[str, Person]) -> None:
    values = {"programme": "P9", "pair": 1, "band": "K"}
    answer = people["anna"].send("/entries/plan.targets", {"values": values, "action": "submit"})
    assert all(name in answer.text for name in ("programme", "pair", "band"))
