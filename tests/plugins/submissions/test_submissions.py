"""Submissions: from files to rows of the table; what is checked, and what happens to requests that come twice."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from submission_site import Person, make_file, make_image, pack, path_of, query, read_submission

from hven.model.errors import StorageError
from hven.plugins.push.push_store import ClientPushStore
from hven.plugins.submissions import submission_workflow
from hven.plugins.submissions.account_removal import remove_account_from_submissions
from hven.plugins.submissions.staging import PublishedFolder
from hven.plugins.submissions.submission_store import Submission, SubmissionStore
from hven.site import Site


def test_files_become_rows_and_published_files(client: Client, people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = anna.begin({"a.fits": make_file("alf"), "notes.txt": b"no FITS", "b.fits": make_file("bet")})
    states = {
        file["name"]: (file["state"], [finding["rule"] for finding in file["findings"]]) for file in submission["files"]
    }
    assert states == {"a.fits": ("good", []), "notes.txt": ("bad", ["name", "FILE_LOAD"]), "b.fits": ("good", [])}
    assert [row["values"]["target_name"] for row in submission["rows"]] == ["alf", "bet"]
    first_row = submission["rows"][0]["number"]
    edited = read_submission(
        anna.take(
            submission,
            "edit",
            values={"shared": {"obs_collection": "chara", "calib_level": "3"}, str(first_row): {"quality": "A"}},
        )
    )
    checked = read_submission(anna.take(edited, "check"))
    assert checked["report"]["obstacles"] == []
    assert checked["report"]["files"] == {"good": 2, "bad": 1}
    assert [row["released"] for row in checked["report"]["rows"]] == ["2016-06-09 02:24:00"] * 2
    assert query(client, "SELECT id FROM oidb.granules WHERE target_name = 'alf'") == []
    saved = read_submission(anna.take(checked, "submit"))
    assert saved["state"] == "saved"
    rows = query(client, "SELECT id, quality, calib_level, version, path FROM oidb.granules WHERE target_name = 'alf'")
    path = f"submitted/{saved['number']}/a.fits"
    assert rows == [[str(saved["keys"][0]), "A", "3", "1", path]]
    assert anna.client.ask("GET", f"/collections/oidb/files/{path}").body == make_file("alf")
    assert read_submission(anna.take(saved, "submit"))["state"] == "saved", "the same request again has the same answer"
    assert path_of(saved) in anna.get("/submissions").text


def test_the_same_content_is_published_once_and_other_content_is_a_version(
    client: Client, people: dict[str, Person]
) -> None:
    anna, content = people["anna"], make_file("gam")
    first = read_submission(anna.take(anna.begin({"g.fits": content, "copy.fits": content}), "submit"))
    assert [(file["name"], file["state"]) for file in first["files"]] == [
        ("g.fits", "good"),
        ("copy.fits", "known"),
    ]
    again = people["bob"].begin({"other_name.fits": content})
    assert again["files"][0]["state"] == "known"
    assert again["files"][0]["findings"][0]["message"] == "the content of the file is already in oidb.granules"
    assert again["rows"] == []
    assert people["bob"].take(again, "submit").status == 400, "there is nothing to publish"
    second = anna.begin({"g.fits": make_file("gam", PROG_ID="60.A-1")})
    row_number = str(second["rows"][0]["number"])
    second = read_submission(anna.take(second, "check", values={row_number: {"quality": "B"}}))
    row = second["report"]["rows"][0]
    assert (row["version"], row["replaces"]) == (2, [first["keys"][0]])
    assert row["changes"] == {"progid": [None, "60.A-1"], "quality": [None, "B"]}
    assert "<ins>60.A-1</ins>" in anna.show(path_of(second))
    read_submission(anna.take(second, "submit"))
    rows = query(client, "SELECT version, progid, path FROM oidb.granules WHERE target_name = 'gam' ORDER BY id")
    assert [row[:2] for row in rows] == [["1", ""], ["2", "60.A-1"]]
    for _, _, path in rows:
        assert client.ask("GET", f"/collections/oidb/files/{path}", headers=anna.proof).status == 200, "old links stay"


def test_moderators_decide_where_the_table_says_so(client: Client, people: dict[str, Person]) -> None:
    anna, mia = people["anna"], people["mia"]
    files = {"m31.fits": make_image(OBJECT="M 31", EXPTIME=2000.0, PI="Anna"), "m32.fits": make_image(EXPTIME=-1.0)}
    submission = anna.begin(files, "lists.images")
    negative = submission["files"][1]
    assert negative["state"] == "good"
    assert [(finding["rule"], finding["place"], finding["message"]) for finding in negative["findings"]] == [
        ("value", "exptime", "write a number that is at least 0")
    ]
    blocked = anna.take(submission, "submit")
    assert blocked.status == 400
    report = json.loads(blocked.body)["submission"]["report"]
    numbers = [row["number"] for row in submission["rows"]]
    assert [(finding["rule"], finding["rows"]) for finding in report["findings"]] == [
        ("object: required", [numbers[1]]), ("short", [numbers[0]]),
    ]  # fmt: skip
    submission = json.loads(blocked.body)["submission"]
    values = {str(numbers[1]): {"object": "M 32"}}
    blocked = anna.take(submission, "submit", values=values)
    assert "explain in the note why the warnings are acceptable" in blocked.text
    submission = json.loads(blocked.body)["submission"]
    assert [row["values"].get("object") for row in submission["rows"]] == ["M 31", "M 32"], "the values are kept"
    assert mia.get(path_of(submission)).status == 404, "an open submission is its author's alone"
    submitted = read_submission(anna.take(submission, "submit", note="a long night"))
    assert (submitted["state"], query(client, "SELECT id FROM lists.images WHERE object = 'M 31'")) == ("submitted", [])
    assert path_of(submitted) in mia.show("/submissions/lists.images")
    assert anna.take(submitted, "accept").status == 409
    waiting = read_submission(mia.get(path_of(submitted)))
    assert mia.take(waiting, "refuse").status == 400, "without a reason"
    refused = read_submission(mia.take(waiting, "refuse", reason="which filter?"))
    assert refused["state"] == "refused"


def test_a_refused_submission_is_corrected_and_accepted(client: Client, people: dict[str, Person]) -> None:
    anna, mia = people["anna"], people["mia"]
    submission = anna.begin({"m33.fits": make_image(OBJECT="M 33", EXPTIME=20.0)}, "lists.images")
    submitted = read_submission(anna.take(submission, "submit"))
    read_submission(mia.take(submitted, "refuse", reason="who observed?"))
    refused = read_submission(anna.get(path_of(submitted)))
    assert "who observed?" in anna.show(path_of(refused))
    values = {str(refused["rows"][0]["number"]): {"observer": "Anna"}}
    again = read_submission(anna.take(refused, "submit", values=values))
    accepted = read_submission(mia.take(again, "accept"))
    assert accepted["state"] == "saved"
    rows = query(client, "SELECT object, observer, file_name FROM lists.images WHERE object = 'M 33'")
    assert rows == [["M 33", "Anna", f"images/sent/{accepted['number']}/m33.fits"]]
    steps = [(step["by"], step["action"]) for step in accepted["steps"]]
    assert steps == [("anna", "open"), ("anna", "submit"), ("mia", "refuse"), ("anna", "submit"), ("mia", "accept")]


CHARA_SHEET = """\
UT-DATE,STAR,PI,PROGRAM,COMBINER,TYPE,MJD,FILTER,SCOPES,B1,B2,B3,T0_OBS,T0_500nm
2026-11-20,HD 1,Anna,2026B-1,MIRC-X,SCI,61364.2,H,S1S2E1,34.1,200.5,210.2,5.1,4.2
2026-11-20,HD 2,Anna,2026B-1,MIRC-X,CAL,61364.3,H,S1S2E1,34.0,bad,210.1,,
"""


def test_a_table_of_chara_becomes_rows_without_files(client: Client, people: dict[str, Person]) -> None:
    submission = people["anna"].begin({"night.csv": CHARA_SHEET.encode()}, "lists.nights")
    findings = submission["files"][0]["findings"]
    assert [(finding["place"], finding["rows"], finding["message"]) for finding in findings] == [
        ("b2", [2], "write a number")
    ]
    assert submission["rows"][0]["values"] == {
        "night": "2026-11-20", "star": "HD 1", "pi": "Anna", "program": "2026B-1", "combiner": "MIRC-X", "kind": "SCI", "mjd": 61364.2,
        "band": "H", "scopes": "S1S2E1", "b1": 34.1, "b2": 200.5, "b3": 210.2, "t0_obs": 5.1, "t0_500": 4.2,
    }  # fmt: skip
    values = {str(submission["rows"][1]["number"]): {"b2": "200.4"}}
    saved = read_submission(people["anna"].take(submission, "submit", values=values, note="B2 was missing"))
    assert saved["state"] == "saved"
    assert query(client, "SELECT star, mjd, b1, path FROM lists.nights ORDER BY id") == [
        ["HD 1", "61364.2", "34.1", ""], ["HD 2", "61364.3", "34", ""],
    ]  # fmt: skip
    again = people["anna"].begin({"renamed.csv": CHARA_SHEET.encode()}, "lists.nights")
    assert again["files"][0]["state"] == "known"


def test_all_works_with_forms_alone(client: Client, people: dict[str, Person]) -> None:
    anna = people["anna"]
    page = anna.show("/submissions/oidb.granules")
    assert 'enctype="multipart/form-data"' in page
    begun = anna.post_form(
        "/submissions/oidb.granules", {"token": "f1", "url": ""}, {"d.fits": make_file("del"), "": b""}
    )
    assert begun.status == 303, begun.text
    address = begun.headers["location"].removeprefix("http://vo.example")
    twice = anna.post_form("/submissions/oidb.granules", {"token": "f1", "url": ""}, {"d.fits": make_file("del")})
    assert twice.headers["location"] == begun.headers["location"], "the form came twice"
    submission = read_submission(anna.get(address))
    assert len(submission["files"]) == 1
    added = anna.post_form(f"{address}/files", {"etag": submission["etag"]}, {"e.fits": make_file("eps")})
    assert added.status == 303
    submission = read_submission(anna.get(address))
    page = anna.show(address)
    number = submission["rows"][0]["number"]
    for text in (
        f'name="VALUE.{number}.quality"',
        'name="VALUE.shared.obs_collection"',
        ">PIONIER</option>",
        "e.fits",
    ):
        assert text in page, text
    fields = {
        "etag": submission["etag"], "action": "check", "note": "", "VALUE.shared.obs_collection": "pionier", "VALUE.shared.calib_level": "2",
        f"VALUE.{number}.quality": "A", f"VALUE.{number}.t_max": "57000.1",
    }  # fmt: skip
    sent = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html", **anna.proof}
    assert client.ask("POST", address, body=urlencode(fields).encode(), headers=sent).status == 303
    page = anna.show(address)
    assert "2014-12-09 (at once)" in page, "without months, a row is public at the end of the observation"
    submission = read_submission(anna.get(address))
    fields = {"etag": submission["etag"], "action": "submit", "VALUE.shared.calib_level": "7"}
    wrong = client.ask("POST", address, body=urlencode(fields).encode(), headers=sent)
    assert (wrong.status, "write a number that is at most 3" in wrong.text) == (400, True)
    fields["VALUE.shared.calib_level"] = "3"
    assert client.ask("POST", address, body=urlencode(fields).encode(), headers=sent).status == 303
    assert query(client, "SELECT target_name, quality, calib_level FROM oidb.granules WHERE target_name IN ('del', 'eps') ORDER BY id") == [
        ["del", "A", "3"], ["eps", "", "3"],
    ]  # fmt: skip


def test_rows_keep_the_values_of_files_where_a_shared_field_is_empty(people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = anna.begin({"s.csv": b"OBJECT,INSMODE,NIGHT,MJD-END,obs_collection\nempty,m,n,57000.1,chara\n"})
    shared_values = {"obs_collection": "", "calib_level": "2"}  # as the form sends them
    checked = read_submission(anna.take(submission, "check", values={"shared": shared_values}))
    (row,) = checked["report"]["rows"]
    assert row["released"].startswith("2016-06-09"), "the embargo of 18 months of the collection chara"
    checked = read_submission(anna.take(checked, "check", values={"shared": {"obs_collection": "pionier"}}))
    assert checked["report"]["rows"][0]["released"].startswith("2014-12-09")


def test_files_are_removed_and_the_submission_discarded(site: Site, people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = anna.begin({"z.fits": make_file("zet"), "y.fits": make_file("eta")})
    folder = site.settings.var_directory / "submissions" / str(submission["number"])
    assert len(list(folder.iterdir())) == 2
    first = submission["files"][0]["number"]
    submission = read_submission(anna.take(submission, "remove", file=str(first)))
    assert ([file["name"] for file in submission["files"]], len(submission["rows"])) == (["y.fits"], 1)
    assert len(list(folder.iterdir())) == 1
    discarded = read_submission(anna.take(submission, "discard"))
    assert (discarded["state"], folder.exists()) == ("discarded", False)
    assert anna.take(discarded, "submit").status == 409


def test_open_submissions_expire(site: Site, people: dict[str, Person]) -> None:
    submission = people["anna"].begin({"o.fits": make_file("omi")})
    store = site.store.get_or_create(SubmissionStore)
    stored = store.find_submission(submission["number"])
    assert stored is not None
    store.change_submission(stored, {"expires": "2020-01-01T00:00:00Z"})
    people["bob"].get("/submissions")
    assert read_submission(people["anna"].get(path_of(submission)))["state"] == "discarded"
    assert not (site.settings.var_directory / "submissions" / str(submission["number"])).exists()


def test_nothing_is_lost_if_the_publication_fails(
    site: Site, client: Client, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = people["anna"]
    submission = read_submission(anna.take(anna.begin({"t.fits": make_file("the")}), "check"))

    def fail(*_: object) -> None:
        raise StorageError("the disk is full", remedy="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(ClientPushStore, "compact_pieces", fail)
        patch.setattr(submission_workflow, "update_submission", fail)
        assert anna.take(submission, "submit").status == 503
    assert query(client, "SELECT id FROM oidb.granules WHERE target_name = 'the'") == []
    folder = site.settings.collections_directory / "oidb" / "submitted" / str(submission["number"])
    assert not folder.exists(), "files without rows are removed again"
    kept = read_submission(anna.get(path_of(submission)))
    assert (kept["state"], len(kept["rows"])) == ("open", 1)
    saved = read_submission(anna.take(kept, "submit"))
    assert (saved["state"], [path.name for path in folder.iterdir()]) == ("saved", ["t.fits"])


def test_two_windows_never_overwrite_each_other(people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = anna.begin({"i.fits": make_file("iot")})
    number = str(submission["rows"][0]["number"])
    read_submission(anna.take(submission, "edit", values={number: {"quality": "A"}}))
    late = anna.take(submission, "edit", values={number: {"quality": "B"}})
    assert late.status == 412
    kept = read_submission(anna.get(path_of(submission)))
    assert kept["rows"][0]["values"]["quality"] == "A"
    back = read_submission(anna.take(kept, "edit", values={number: {"target_name": "other"}}))
    back = read_submission(anna.take(back, "edit", values={number: {"target_name": "iot"}}))
    assert back["rows"][0]["values"]["target_name"] == "iot"


@pytest.mark.parametrize("action", ["refuse", "accept"])
def test_two_curators_in_one_moment(
    site: Site, client: Client, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """One curator decides while the files of the other's decision are copied: the first decision counts."""
    anna, mia = people["anna"], people["mia"]
    name = f"at once {action}"
    submission = anna.begin({"a.fits": make_image(OBJECT=name, EXPTIME=20.0)}, "lists.images")
    submitted = read_submission(anna.take(submission, "submit"))
    original = PublishedFolder.sync_to_disk
    first_answers = []

    def sync_to_disk(folder: PublishedFolder) -> None:
        original(folder)
        if not first_answers:
            first_answers.append(None)
            current = read_submission(mia.get(path_of(submitted)))
            first_answers.append(mia.take(current, action, reason="too late").status)

    with monkeypatch.context() as patch:
        patch.setattr(PublishedFolder, "sync_to_disk", sync_to_disk)
        second = mia.take(submitted, "accept")
    assert (first_answers[-1], second.status) == (200, 412), second.text
    stored = read_submission(anna.get(path_of(submission)))
    is_accepted = action == "accept"
    assert stored["state"] == ("saved" if is_accepted else "refused")
    rows = query(client, f"SELECT file_name FROM lists.images WHERE object = '{name}'")
    path = f"images/sent/{submission['number']}/a.fits"
    assert rows == ([[path]] if is_accepted else [])
    published = site.settings.collections_directory / "lists" / path
    assert published.exists() == is_accepted, "the file of the decision that counts stays"


def test_content_that_came_in_the_meantime_is_not_published_twice(people: dict[str, Person]) -> None:
    anna, bob, content = people["anna"], people["bob"], make_file("chi")
    late = anna.begin({"c.fits": content})
    read_submission(bob.take(bob.begin({"c2.fits": content}), "submit"))
    answer = anna.take(late, "submit")
    assert (answer.status, "c.fits is already in the table: remove the file" in answer.text) == (400, True), answer.text


def test_rows_that_come_during_a_publication_do_not_spoil_versions(
    people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, mia = people["anna"], people["mia"]
    submission = anna.begin({"p.fits": make_file("psi")})
    original = submission_workflow.SubmissionWorkflow._plan_rows
    calls = []

    def plan_rows(workflow: submission_workflow.SubmissionWorkflow, planned: Submission) -> Any:
        plan = original(workflow, planned)
        calls.append(planned.number)
        if len(calls) == 2:  # the first plan is that of the check
            row = {"target_name": "psi", "instrument_mode": "LOW", "night": "2014-12-08", "version": 1}
            assert mia.send("/push/oidb.granules", row).status == 201
        return plan

    with monkeypatch.context() as patch:
        patch.setattr(submission_workflow.SubmissionWorkflow, "_plan_rows", plan_rows)
        assert anna.take(submission, "submit").status == 412
    kept = read_submission(anna.get(path_of(submission)))
    assert kept["state"] == "open"
    saved = read_submission(anna.take(kept, "submit"))
    assert saved["report"]["rows"][0]["version"] == 2


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_archives_are_refused_in_words(site: Site, people: dict[str, Person]) -> None:
    anna = people["anna"]
    limit = site.settings.limits.upload
    bomb = pack({"bomb.fits": bytes(limit + 1)})
    many = pack({f"{number}.fits": b"" for number in range(10_000)})
    for content, words, status in (
        (bomb, "exceed", 413), (many, "an archive may contain at most 1,000 files", 413), (pack({})[:-3] + b"PK", "the file has no name", 400),
    ):  # fmt: skip
        answer = anna.send_file("/submissions/oidb.granules", "" if status == 400 else "x.zip", content)
        assert (answer.status, words in answer.text) == (status, True), answer.text[:500]
    archive = pack({"a.fits": make_file("kap")})
    for name, broken, words in (
        ("x.zip", archive[:-30], "the archive 'x.zip' is damaged"),
        ("x.zip", archive[:60] + bytes(40) + archive[100:], "cannot be unpacked"),
        (".bashrc", b"x", "is not a valid file name"),
    ):
        listed = read_submission(anna.send_file("/submissions/oidb.granules", name, broken), 201)
        (file,) = listed["files"]
        assert (file["state"], words in file["findings"][0]["message"]) == ("bad", True), file
    page = anna.begin({"page.html": make_file("phi")})
    assert (page["files"][0]["state"], page["files"][0]["findings"][0]["rule"], page["rows"]) == ("bad", "name", [])
    nested = anna.begin({"night/1/l.fits": make_file("lam")})
    assert [file["name"] for file in nested["files"]] == ["l.fits"], "folders of archives do not count"


def test_too_many_files_in_a_form_are_refused_in_words(people: dict[str, Person]) -> None:
    before = json.loads(people["anna"].get("/submissions").body)["submissions"]
    answer = people["anna"].post_form("/submissions/oidb.granules", {}, {f"{n}.fits": b"x" for n in range(10_000)})
    assert (answer.status, "send at most 1,000 files in one request" in answer.text) == (400, True)
    assert json.loads(people["anna"].get("/submissions").body)["submissions"] == before, "nothing is begun"


def test_texts_that_are_too_long_are_refused(people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = anna.begin({"n.fits": make_file("note", PROG_ID="n")})
    number = str(submission["rows"][0]["number"])
    for change, status in (
        ({"note": "x" * 4_001}, 400),
        ({"note": "x" * 10_000_000}, 413),
        ({"values": {number: {"quality": "x" * 10_001}}}, 400),
    ):
        answer = anna.take(submission, "edit", **change)
        assert (answer.status, len(answer.text) < 100_000) == (status, True)
    kept = read_submission(anna.take(submission, "edit", note="<script>alert(1)</script>"))
    page = anna.show(path_of(kept))
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.fits", "http://localhost/a.fits", "http://169.254.169.254/latest", "file:///etc/passwd", "gopher://x"])  # fmt: skip
def test_addresses_that_lead_inwards_are_refused(url: str, people: dict[str, Person]) -> None:
    answer = people["anna"].send("/submissions/oidb.granules", {"url": url})
    assert answer.status in {400, 403}, answer.text
    assert people["anna"].get("/submissions").text.count(url) == 0


def test_a_quota_limits_what_is_staged(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    bob = people["bob"]
    submission = bob.begin({"m.fits": make_file("mu")})
    monkeypatch.setattr(submission_workflow, "QUOTA_FACTOR", 0)
    answer = bob.send_file(f"{path_of(submission)}/files", "n.fits", make_file("nu"))
    assert (answer.status, "your open submissions may have at most" in answer.text) == (413, True)
    assert len(read_submission(bob.get(path_of(submission)))["files"]) == 1


def test_wrong_values_and_steps_are_refused(people: dict[str, Person]) -> None:
    anna = people["anna"]
    submission = anna.begin({"x.fits": make_file("xi")})
    for values, words in (
        ({"999999": {"quality": "A"}}, "the submission has no row 999999"),
        ({"x": {"quality": "A"}}, "does not identify a value of a row"),
        ({str(submission["rows"][0]["number"]): {"path": "/etc/passwd"}}, "you cannot enter a value for"),
        ({"shared": {"quality": "A"}}, "you cannot enter a value for"),
        ({"shared": {"calib_level": "high"}}, "these values are not valid: calib_level"),
    ):
        answer = anna.take(submission, "edit", values=values)
        assert (answer.status, words in answer.text) == (400, True), answer.text[:300]
    assert anna.take(submission, "explode").status == 409
    assert anna.send(path_of(submission), {"action": "edit"}, **{"sec-fetch-site": "cross-site"}).status == 403
    assert (
        anna.send_file(f"{path_of(submission)}/files", "x.fits", make_file("pi"), **{"if-match": '"1-1"'}).status == 412
    )


# --- rights -----------------------------------------------------------------------------------------------------------


def test_a_submission_is_invisible_to_all_others(client: Client, people: dict[str, Person]) -> None:
    submission = people["anna"].begin({"r.fits": make_file("rho")})
    for name in ("bob", "mia", "eve", ""):
        person = people[name]
        assert person.get(path_of(submission)).status in {401, 404}, name
        assert person.take(submission, "discard").status in {401, 404}, name
        assert person.send_file(f"{path_of(submission)}/files", "x.fits", b"x").status in {401, 404}, name
        assert path_of(submission) not in person.get("/submissions").text
    assert (
        "rho"
        not in client.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM oidb.granules", RESPONSEFORMAT="csv").text
    )
    assert read_submission(people["anna"].get(path_of(submission)))["state"] == "open"


def test_only_submitters_begin_a_submission(people: dict[str, Person]) -> None:
    for name, status in (("eve", 403), ("", 401)):
        assert people[name].get("/submissions/oidb.granules").status == status
        assert people[name].send_file("/submissions/oidb.granules", "x.fits", b"x").status == status
    assert people["anna"].get("/submissions/lists.hidden").status == 404, (
        "who does not see a table does not learn of it"
    )
    assert people["anna"].get("/submissions/oidb.files").status == 404
    assert "/submissions/oidb.granules" not in people["eve"].show("/submissions")


def test_a_removed_account_leaves_no_open_submission(site: Site, people: dict[str, Person]) -> None:
    bob = people["bob"]
    saved = read_submission(bob.take(bob.begin({"s.fits": make_file("sig")}), "submit"))
    open_submission = bob.begin({"t.fits": make_file("tau")})
    remove_account_from_submissions(site, "bob")
    store = site.store.get_or_create(SubmissionStore)
    assert store.find_submission(open_submission["number"]) is None
    assert not (site.settings.var_directory / "submissions" / str(open_submission["number"])).exists()
    kept = store.find_submission(saved["number"])
    assert kept is not None
    assert (kept.author, {step["by"] for step in kept.steps}) == ("", {""})
