"""Rows that a program submits without a file, as JSON or CSV: the same report, difference and transaction as for files."""

from __future__ import annotations

import json

import pytest
from asgi_client import Client
from submission_site import Person, make_image, path_of, query, read_submission

from hven.plugins.submissions import file_checkers
from hven.site import Site

TABLE = "lists.nights"
PATH = f"/submissions/{TABLE}"


def send_csv(person: Person, text: str, path: str = PATH) -> object:
    sent = {"content-type": "text/csv", "accept": "application/json", **person.proof}
    return person.client.ask("POST", path, body=text.encode(), headers=sent)


def test_rows_of_json_are_checked_compared_and_published(client: Client, people: dict[str, Person]) -> None:
    anna = people["anna"]
    rows = [{"UT-DATE": "2026-11-21", "STAR": "zq 1", "B1": 34.5, "MJD": 61365.0}, {"STAR": "zq 2", "B1": "far", "colour": "red"}, {"B1": None}]  # fmt: skip
    submission = read_submission(anna.send(PATH, {"rows": rows}), 201)
    (file,) = submission["files"]
    assert (file["name"], file["state"]) == ("rows.json", "good")
    assert [(finding["severity"], finding["place"], finding["rows"], finding["message"]) for finding in file["findings"]] == [
        ("warning", "b1", [2], "write a number"),
        ("info", "", [], "the table does not accept values for colour"),
    ]  # fmt: skip
    assert [row["values"] for row in submission["rows"]] == [{"night": "2026-11-21", "star": "zq 1", "b1": 34.5, "mjd": 61365.0}, {"star": "zq 2"}, {}]  # fmt: skip
    blocked = anna.take(submission, "submit", note="no baseline")
    assert blocked.status == 400
    report = json.loads(blocked.body)["submission"]["report"]
    third = submission["rows"][2]["number"]
    assert [(finding["rule"], finding["rows"]) for finding in report["findings"]] == [("star: required", [third])]
    assert query(client, f"SELECT star FROM {TABLE} WHERE star LIKE 'zq%'") == [], "all rows or none"
    submission = json.loads(blocked.body)["submission"]
    checked = read_submission(anna.take(submission, "check", values={str(third): {"star": "zq 3"}}))
    assert [row["changes"] for row in checked["report"]["rows"]] == [{}, {}, {}]
    saved = read_submission(anna.take(checked, "submit"))
    assert saved["state"] == "saved"
    found = query(client, f"SELECT star, b1, path FROM {TABLE} WHERE star LIKE 'zq%' ORDER BY star")
    assert found == [["zq 1", "34.5", ""], ["zq 2", "", ""], ["zq 3", "", ""]]
    again = read_submission(anna.send(PATH, {"rows": rows}), 201)
    assert again["files"][0]["state"] == "known", "the same rows are published once"


def test_rows_of_csv_need_no_file_name(people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = read_submission(send_csv(anna, "STAR,B1\nzc 1,30\nzc 2,31\n"), 201)
    assert [row["values"] for row in submission["rows"]] == [{"star": "zc 1", "b1": 30.0}, {"star": "zc 2", "b1": 31.0}]
    more = read_submission(send_csv(anna, "STAR,B1\nzc 3,32\n", f"{path_of(submission)}/files"))
    more = read_submission(anna.send(f"{path_of(more)}/files", {"rows": [{"STAR": "zc 4"}]}))
    assert [row["values"]["star"] for row in more["rows"]] == ["zc 1", "zc 2", "zc 3", "zc 4"]


def test_rows_beside_files(client: Client, people: dict[str, Person]) -> None:
    """A table of files takes rows too; they have no file."""
    anna, mia = people["anna"], people["mia"]
    submission = anna.begin({"zr.fits": make_image(OBJECT="zr 1", EXPTIME=3.0)}, "lists.images")
    submission = read_submission(anna.send(f"{path_of(submission)}/files", {"rows": [{"OBJECT": "zr 2"}]}))
    submitted = read_submission(anna.take(submission, "submit"))
    read_submission(mia.take(submitted, "accept"))
    rows = query(client, "SELECT object, file_name FROM lists.images WHERE object LIKE 'zr%' ORDER BY object")
    assert rows == [["zr 1", f"images/sent/{submission['number']}/zr.fits"], ["zr 2", ""]]


def test_a_request_with_rows_that_comes_twice_begins_one_submission(people: dict[str, Person]) -> None:
    anna, headers = people["anna"], {"idempotency-key": "rows-1"}
    first = read_submission(anna.send(PATH, {"rows": [{"STAR": "zt 1"}]}, **headers), 201)
    second = read_submission(anna.send(PATH, {"rows": [{"STAR": "zt 1"}]}, **headers))
    assert (second["number"], len(second["rows"])) == (first["number"], 1)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rows": []}, "the file has no rows"),
        ({"rows": ["a"]}, "not a list of rows"),
        ({"rows": [{"STAR": {"name": "x"}}]}, "write one value"),
        ({"rows": [{"STAR": "x" * 10_001}]}, "write at most 10,000 characters"),
        ({"rows": [{"STAR": "\0"}]}, "the text contains a zero byte"),
    ],
)
def test_bad_rows_are_reported(people: dict[str, Person], document: object, message: str) -> None:
    submission = read_submission(people["anna"].send(PATH, document), 201)
    assert message in submission["files"][0]["findings"][0]["message"]
    assert people["anna"].take(submission, "submit", note="x").status == 400
    people["anna"].take(submission, "discard")


def test_requests_that_have_no_rows(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    anna = people["anna"]
    for document, message in (({"rows": {"STAR": "x"}}, "`rows` is not a list"), ({"rows": 1}, "`rows` is not a list")):
        answer = anna.send(PATH, document)
        assert (answer.status, message in answer.text) == (400, True), answer.text
    many = [{"STAR": "x"}] * (file_checkers.MAX_SHEET_ROWS + 1)
    submission = read_submission(anna.send(PATH, {"rows": many}), 201)
    assert "a table may have at most 5,000 rows" in submission["files"][0]["findings"][0]["message"]
    anna.take(submission, "discard")
    huge = anna.send(PATH, {"rows": [{"STAR": "x" * file_checkers.MAX_SHEET_BYTES}]})
    assert (huge.status, "a request may have at most 16,777,216 bytes" in huge.text) == (413, True)
    assert people["eve"].send(PATH, {"rows": [{"STAR": "x"}]}).status == 403
    assert people[""].send(PATH, {"rows": [{"STAR": "x"}]}).status == 401


def test_rows_are_invisible_to_others(site: Site, client: Client, people: dict[str, Person]) -> None:
    submission = read_submission(people["anna"].send(PATH, {"rows": [{"STAR": "zi 1"}]}), 201)
    for name in ("bob", "mia", "eve", ""):
        assert people[name].get(path_of(submission)).status in {401, 403, 404}
        assert people[name].send(f"{path_of(submission)}/files", {"rows": [{"STAR": "y"}]}).status in {401, 403, 404}
    assert "zi 1" not in client.get("/tap/sync", LANG="ADQL", QUERY=f"SELECT * FROM {TABLE}", RESPONSEFORMAT="csv").text
