"""Who may see a submission, and take each of its steps, in each of its states."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from submission_site import Person, make_image, path_of, read_submission

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files

PEOPLE = ("anna", "bob", "mia", "eve", "")  # the author, another submitter, a moderator, others
STATES = ("open", "submitted", "refused", "saved", "discarded")
STEPS = ("edit", "check", "submit", "accept", "refuse", "remove", "discard")
# the steps that each person may take; nobody else learns that the submission exists
ALLOWED_STEPS = {
    ("open", "anna"): ("edit", "check", "submit", "remove", "discard"),
    ("submitted", "anna"): ("submit", "discard"),  # a form may come twice
    ("refused", "anna"): ("edit", "check", "submit", "remove", "discard"),
    ("saved", "anna"): ("submit",),
    ("discarded", "anna"): (),
    ("submitted", "mia"): ("check", "accept", "refuse"),
    ("saved", "mia"): (),
}
_numbers = itertools.count(1)


def make_submission(people: dict[str, Person], state: str) -> dict[str, Any]:
    anna, mia, name = people["anna"], people["mia"], f"right {next(_numbers)}"
    submission = anna.begin({"a.fits": make_image(OBJECT=name, EXPTIME=20.0)}, "lists.images")
    if state == "discarded":
        return read_submission(anna.take(submission, "discard"))
    if state != "open":
        submission = read_submission(anna.take(submission, "submit"))
    if state == "refused":
        submission = read_submission(mia.take(submission, "refuse", reason="why?"))
    if state == "saved":
        submission = read_submission(mia.take(submission, "accept"))
    assert submission["state"] == state
    return submission


def take(person: Person, submission: dict[str, Any], step: str) -> int:
    more = {"edit": {"note": "a note"}, "remove": {"file": str(submission["files"][0]["number"])}}.get(step, {})
    return person.take(submission, step, reason="because", **more).status


@pytest.mark.parametrize("number", [999_999, 2**63 - 1, 2**63, 10**30])
def test_numbers_of_no_submission(people: dict[str, Person], number: int) -> None:
    assert people["anna"].get(f"/submissions/lists.images/{number}").status == 404


@pytest.mark.parametrize("state", STATES)
def test_who_may_take_which_step(people: dict[str, Person], state: str) -> None:
    submission = make_submission(people, state)
    for name in PEOPLE:
        person, allowed_steps = people[name], ALLOWED_STEPS.get((state, name))
        is_visible = allowed_steps is not None
        assert person.get(path_of(submission)).status == (200 if is_visible else 404), name
        listed = person.get("/submissions/lists.images")
        assert (path_of(submission) in listed.text) == (name == "anna" or (name == "mia" and state == "submitted")), (
            name
        )
        for step in STEPS:
            if allowed_steps is None or step not in allowed_steps:
                assert take(person, submission, step) == (409 if is_visible else 404), (name, step)
        added = person.send_file(f"{path_of(submission)}/files", "b.fits", make_image(OBJECT="b"))
        expected = 404
        if is_visible:
            expected = 200 if "edit" in (allowed_steps or ()) else 409
        assert added.status == expected, (name, added.text)
        if expected == 200:
            submission = read_submission(added)
    stored = read_submission(people["anna"].get(path_of(submission)))
    assert (stored["state"], stored["etag"]) == (state, submission["etag"]), "what is refused changes nothing"


@pytest.mark.parametrize(
    ("state", "name", "step"), [(*key, step) for key, steps in ALLOWED_STEPS.items() for step in steps]
)
def test_allowed_steps(people: dict[str, Person], state: str, name: str, step: str) -> None:
    submission = make_submission(people, state)
    assert take(people[name], submission, step) == 200


def test_actions_are_those_that_are_allowed(people: dict[str, Person]) -> None:
    for (state, name), steps in ALLOWED_STEPS.items():
        submission = make_submission(people, state)
        shown = set(read_submission(people[name].get(path_of(submission)))["actions"])
        allowed = set(steps)
        if state in {"submitted", "saved"}:
            allowed.discard("submit")  # only the same request again
        assert shown - {"repair"} == allowed, (state, name)


SECRET_VISITS = 918_273_645  # so many digits stand in no time and no digest by chance
SECRET_PLANS = """\
collection: plans
title: Plans
tables:
  main:
    source: {kind: push, columns: {id: int64, star: string, visits: int32}, ids: id, writers: [mia]}
    submissions: {submitters: [anna], moderated: true, identity: [star]}
    primary: id
    access: {rows: "visits < 100 or reader = 'mia'"}
    columns: {id: int64, star: string, visits: int32}
"""


def test_an_author_does_not_learn_from_the_check_of_a_moderator_what_rows_contain(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, SECRET_PLANS) as site:
        ingest_collection(site, "plans")
        for name in ("anna", "mia"):
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        anna, mia = (Person(client, site, name) for name in ("anna", "mia"))
        assert mia.send("/push/plans.main", [{"star": "alf Lyr", "visits": SECRET_VISITS}]).status == 201
        created = anna.send("/submissions/plans.main", {"rows": [{"star": "alf Lyr", "visits": 5}]})
        submission = read_submission(anna.take(read_submission(created, 201), "submit"))
        checked = read_submission(mia.take(submission, "check"))
        assert checked["report"]["rows"][0]["version"] == 2
        assert str(SECRET_VISITS) not in anna.get(path_of(submission)).text
        read_submission(mia.take(checked, "accept"))
        assert str(SECRET_VISITS) not in anna.get(path_of(submission)).text


@pytest.mark.parametrize("number", ["²", "9" * 30, "9" * 5_000])
def test_numbers_of_nothing_are_refused(people: dict[str, Person], number: str) -> None:
    submission = make_submission(people, "open")
    anna = people["anna"]
    assert anna.take(submission, "edit", values={number: {"observer": "x"}}).status == 400
    unchanged = read_submission(anna.take(submission, "remove", file=number))
    assert len(unchanged["files"]) == 1


def test_another_site_changes_nothing(people: dict[str, Person]) -> None:
    submission = make_submission(people, "open")
    for path in (path_of(submission), "/submissions/lists.images", f"{path_of(submission)}/files"):
        answer = people["anna"].send(path, {"action": "discard"}, origin="https://evil.example")
        assert answer.status in {401, 403}, path
    assert read_submission(people["anna"].get(path_of(submission)))["state"] == "open"
