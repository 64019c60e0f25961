"""Delegations: given, listed, ended; no circles; what is not known is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import UserError
from hven.site import Site, grant_delegation_and_list_doubts
from process_runner import run_hven

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESCRIPTOR = """\
collection: night
tables:
  main:
    source: {kind: csv, file: rows.csv}
    access: reader in (datapi)
  people:
    access: private
    source: {kind: csv, file: people.csv}
"""


@pytest.fixture
def night_site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "collections" / "night"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text(
        'name = "night"\n[people]\naliases = {bob = ["B. Bok"]}\ntables = ["night.people"]\n'
    )
    (folder / "night.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("id,datapi,progid\n1,Anna Berg,p1\n2,B. Bok,p2\n")
    (folder / "people.csv").write_text("account,name\nanna,Anna Berg\n")
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "night")
        for name in ("anna", "bob", "carl"):
            made.store.users.add_account(name)
        yield made


def give(night_site: Site, account: str, name: str, until: str = "2099-12-31", where: str | None = None) -> list[str]:
    return grant_delegation_and_list_doubts(
        night_site, account, name, row_condition=where, expiry_text=until, granted_by="owner"
    )[1]


def test_other_names_of_an_account_are_not_covered_without_a_word(night_site: Site) -> None:
    doubts = give(night_site, "carl", "bob")
    assert doubts == [
        "the delegation covers the rows that name bob; rows that name b. bok need a delegation for this name"
    ]
    assert give(night_site, "carl", "B. Bok") == []


def test_what_is_kept(night_site: Site) -> None:
    assert give(night_site, "carl", "Anna Berg", where="progid = p1") == []
    (found,) = night_site.store.grants.list_grants("delegation", subject="carl")
    assert (found.object, found.by, dict(found.facts)) == ("Anna Berg", "owner", {"column": "progid", "value": "p1"})
    assert datetime.fromtimestamp(found.until or 0, UTC).isoformat() == "2099-12-31T23:59:59.999999+00:00"


def test_what_is_not_known_is_told(night_site: Site) -> None:
    assert give(night_site, "karl", "Anna Berg", where="progit=p1") == [
        "there is no account karl: did you mean 'carl'?",
        "no table has a column progit: did you mean 'progid'?",
    ]


@pytest.mark.parametrize(
    ("given", "account", "name", "said"),
    [
        ([], "anna", "anna  BERG", "'anna  BERG' is already one of the names of the account 'anna'"),
        ([("anna", "bob")], "bob", "Anna Berg", "the delegations form a cycle: 'bob' for 'Anna Berg' for 'bob';"),
        ([("anna", "b. bok")], "bob", "anna", "the delegations form a cycle: 'bob' for 'anna' for 'b. bok';"),
        (
            [("anna", "bob"), ("bob", "carl")],
            "carl",
            "anna",
            "the delegations form a cycle: 'carl' for 'anna' for 'bob' for 'carl';",
        ),
    ],
)
def test_circles_are_refused(
    night_site: Site, given: list[tuple[str, str]], account: str, name: str, said: str
) -> None:
    for one in given:
        give(night_site, *one)
    with pytest.raises(UserError) as caught:
        give(night_site, account, name)
    assert str(caught.value).startswith(said)
    assert len(night_site.store.grants.list_grants("delegation")) == len(given)


def test_two_may_stand_in_for_one_and_one_for_two(night_site: Site) -> None:
    for account, name in (("bob", "anna"), ("carl", "anna"), ("carl", "bob"), ("carl", "anna")):
        give(night_site, account, name)
    assert len(night_site.store.grants.list_grants("delegation", subject="carl")) == 3


def test_many_among_many_are_looked_through_once(night_site: Site) -> None:
    names = [f"w{number}" for number in range(24)]
    for number, one in enumerate(names):
        for other in names[number + 1 :]:  # all paths through them were 2 ** 22
            night_site.store.grants.add_grant("delegation", subject=other, object=one, actor="owner", expiry_time=4e9)
    assert give(night_site, "anna", "w23") == []
    with pytest.raises(UserError, match="the delegations form a cycle: 'w0' for 'anna' for 'w23' for 'w0';"):
        give(night_site, "w0", "anna")


@pytest.mark.parametrize(
    ("until", "where", "said"),
    [
        ("yesterday", None, "'yesterday' is not a time in the future"),
        ("2001-01-01", None, "'2001-01-01' is not a time in the future"),
        ("2999-01-01", "progid", "'progid' is not a condition"),
        ("2999-01-01", "=p1", "'=p1' is not a condition"),
    ],
)
def test_slips_are_told(night_site: Site, until: str, where: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        give(night_site, "carl", "anna", until, where)


def test_the_verbs(night_site: Site) -> None:
    place = ("--site", night_site.settings.directory)
    told = run_hven(
        *place, "delegate", "to", "karl", "--for", "Anna Berg", "--where", "progid=p1", "--until", "2099-12-31"
    ).stdout
    assert "warning: there is no account karl" in told
    assert "karl sees the rows of Anna Berg where `progid=p1` until 2099-12-31" in told
    (found,) = json.loads(run_hven(*place, "delegate", "--json").stdout)
    listed = run_hven(*place, "delegate").stdout
    assert all(word in listed for word in (found["id"], "karl", "Anna Berg", "progid=p1", "2099-12-31 23:59:59"))
    assert (
        "karl no longer sees the rows of Anna Berg through this delegation"
        in run_hven(*place, "delegate", "end", found["id"]).stdout
    )
    assert json.loads(run_hven(*place, "delegate", "--json").stdout) == []
    assert run_hven(*place, "delegate", "end", "x", expected_code=1).stderr.startswith(
        "hven: there is no grant with the number 'x'; it may have ended; `hven delegate`, "
    )
