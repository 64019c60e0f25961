"""Tables that take rows alone, rows that refer to other rows, and levels that errors do not block."""

from __future__ import annotations

import dataclasses
import json
import stat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from submission_site import Person, make_file, make_image, open_submission_site, pack, path_of, query, read_submission

from hven.descriptor import check_descriptor
from hven.model.settings import Settings
from hven.plugins import submissions
from hven.plugins.submissions import file_checkers, submission_pages, submission_store
from hven.plugins.submissions.submission_section_keys import SUBMISSIONS_SECTION, SubmissionSettings, get_upload_limit
from hven.site import Site

PLANS = "/submissions/lists.plans"


@pytest.fixture(scope="module")
def submission_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Client, dict[str, Person]]]:
    """Open a site of this module, because its tests leave many submissions open."""
    with open_submission_site(tmp_path_factory.mktemp("rows")) as found:
        yield found


def send_rows(person: Person, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return read_submission(person.send(PLANS, {"rows": rows}), 201)


def test_rows_alone_are_proposed_and_accepted_together(client: Client, people: dict[str, Person]) -> None:
    anna, mia = people["anna"], people["mia"]
    rows = [
        {"star": star, "night": f"2026-{night}", "visits": 2} for star in ("alf Lyr", "bet Lyr") for night in range(500)
    ]
    submission = read_submission(anna.take(send_rows(anna, rows), "submit"))
    assert (submission["state"], len(submission["report"]["rows"])) == ("submitted", 1_000)
    assert query(client, "SELECT id FROM lists.plans") == []
    saved = read_submission(mia.take(submission, "accept"))
    assert query(client, "SELECT COUNT(*) FROM lists.plans") == [["1000"]]
    assert len(saved["keys"]) == 1_000
    again = [*rows, {"star": "alf Lyr", "night": "2026-500", "visits": 1}]
    report = read_submission(anna.take(send_rows(anna, again), "check"))["report"]
    assert (report["unchanged"], len(report["rows"])) == (1_000, 1), "a sheet that comes again adds only what is new"


def test_files_are_refused_by_tables_of_rows(people: dict[str, Person]) -> None:
    submission = people["anna"].begin(
        {"a.fits": make_file("alf Lyr"), "r.csv": b"star,night\nalf Lyr,x\n"}, "lists.plans"
    )
    states = {file["name"]: file["state"] for file in submission["files"]}
    assert states == {"a.fits": "bad", "r.csv": "good"}
    assert "must end with one of .csv, .json" in submission["files"][0]["findings"][0]["message"]


def test_rows_refer_to_rows_that_exist(people: dict[str, Person]) -> None:
    """Also in a sheet: a wrong star, one that a policy hides from the author, and one that is right."""
    anna = people["anna"]
    rows = [{"star": star, "night": "refer"} for star in ("alf Lyr", "gam Lyr", "secret", "gam Lyr")]
    submission = send_rows(anna, rows)
    checked = read_submission(anna.take(submission, "check"))
    assert checked["report"]["obstacles"] == ["rows refer to rows that do not exist"]
    numbers = [row["number"] for row in submission["rows"]]
    found = {(finding["message"], tuple(finding["rows"])) for finding in checked["report"]["findings"]}
    assert found == {
        ("the table lists.stars has no row 'gam Lyr'", (numbers[1], numbers[3])),
        ("the table lists.stars has no row 'secret'", (numbers[2],)),
    }
    assert anna.take(checked, "submit").status == 400
    checked = read_submission(anna.get(path_of(checked)))
    values = {str(number): {"star": "bet Lyr", "night": f"n{number}"} for number in numbers[1:]}
    assert read_submission(anna.take(checked, "submit", values=values))["state"] == "submitted"


def test_errors_do_not_block_rows_of_level_0(
    client: Client, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = file_checkers.FileFinding(rule="ODD", severity="error", message="an odd file")
    checker = dataclasses.replace(file_checkers.FITS_CHECKER, check_file=lambda *_: [finding])
    monkeypatch.setattr(file_checkers, "FITS_CHECKER", checker)
    anna = people["anna"]
    files = {"raw.fits": make_image(OBJECT="raw", LEVEL=0), "new.fits": make_image(OBJECT="new", LEVEL=2)}
    checked = read_submission(anna.take(anna.begin(files, "lists.levels"), "check"))
    assert checked["report"]["obstacles"] == ["new.fits has errors, so the level of its rows can only be 0"]
    assert anna.take(checked, "submit").status == 400
    checked = read_submission(anna.get(path_of(checked)))
    values = {str(row["number"]): {"level": "0"} for row in checked["rows"]}
    assert read_submission(anna.take(checked, "submit", values=values))["state"] == "saved"
    assert query(client, 'SELECT object, "level" FROM lists.levels ORDER BY id') == [["raw", "0"], ["new", "0"]]


def test_members_that_lead_out_of_the_archive_are_left_out(people: dict[str, Person]) -> None:
    buffer = BytesIO(pack({"../../etc/up.fits": make_file("nu"), "/abs/l.fits": make_file("lam"), "C:\\w.fits": b"x"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("night/good..fits", make_file("archive"))
        link = zipfile.ZipInfo("link.fits")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    submission = read_submission(
        people["anna"].send_file("/submissions/oidb.granules", "x.zip", buffer.getvalue()), 201
    )
    states = {file["name"]: file["state"] for file in submission["files"]}
    assert states == {"up.fits": "bad", "l.fits": "bad", "w.fits": "bad", "good..fits": "good", "link.fits": "bad"}
    assert all("leads out" in file["findings"][0]["message"] for file in submission["files"] if file["state"] == "bad")


def test_requests_have_a_limit_of_their_own(
    site: Site, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_upload_limit(site.settings) == site.settings.limits.upload
    own = dataclasses.replace(site.settings, brought={SUBMISSIONS_SECTION.key: SubmissionSettings(upload=50_000)})
    monkeypatch.setattr(site, "settings", own)
    address, large = "/submissions/oidb.granules", bytes(60_000)
    assert people["anna"].send_file(address, "large.fits", large).status == 413
    assert people["anna"].send_file(address, "large.zip", pack({"large.fits": large})).status == 413, "also unpacked"
    assert people["anna"].send_file(address, "small.fits", make_image(OBJECT="small")).status == 201


def test_lists_lead_to_all_submissions(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (submission_store, submission_pages):
        monkeypatch.setattr(module, "LISTED_SUBMISSIONS", 2)
    anna = people["anna"]
    numbers = set()
    for night in range(5):
        submission = send_rows(anna, [{"star": "alf Lyr", "night": f"paged {night}"}])
        numbers.add(read_submission(anna.take(submission, "submit"))["number"])
    for name, kind, more in (("anna", "submissions", "more"), ("mia", "waiting", "more_waiting")):
        for first_address in ("/submissions", PLANS):
            found: set[int] = set()
            address = first_address
            while address and not numbers <= found:
                page = json.loads(people[name].get(address).body)
                assert len(page[kind]) <= 2
                found |= {submission["number"] for submission in page[kind]}
                address = page[more].removeprefix("http://vo.example")
            assert numbers <= found, (name, first_address)
    assert "before=" in anna.show("/submissions")


@pytest.mark.parametrize(
    ("keys", "fault"), [("path: p", "belong together"), ("level: nothing", "no column 'nothing'"), ("", "")]
)
def test_faults_of_the_keys(tmp_path: Path, keys: str, fault: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        "collection: d\ntitle: D\ntables:\n  t:\n    source: {kind: push, columns: {id: int64, p: string}, ids: id, writers: [mia]}\n"
        f"    submissions: {{{keys}}}\n    primary: id\n    columns: {{id: int64, p: string}}\n"
    )
    messages = [
        each.message for each in check_descriptor(path, Settings(directory=tmp_path)) if "submissions" in each.message
    ]
    assert len(messages) == bool(fault), messages
    assert not fault or fault in messages[0]


def test_a_path_that_is_not_published_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        "collection: d\ntitle: D\nfiles: [{from: t, path: '{p}', sha256: s}]\ntables:\n  t:\n"
        "    source: {kind: push, columns: {id: int64, p: string, s: string}, ids: id, writers: [mia]}\n"
        "    submissions: {path: p, sha256: s}\n    primary: id\n    columns: {id: int64, s: string}\n"
    )
    faults = [each for each in check_descriptor(path, Settings(directory=tmp_path)) if each.severity == "error"]
    assert [(each.message, each.remedy) for each in faults] == [
        ("files.from: no column 'p' in target", "use one of id, s")
    ]
    assert faults[0].place.line == 3


def test_the_example_of_the_how_to_is_complete(tmp_path: Path) -> None:
    document = (Path(submissions.__file__).parent / "docs/submit-files.md").read_text("utf-8")
    path = tmp_path / "oidb.yaml"
    path.write_text(document.split("```yaml\n")[1].partition("```")[0])
    faults = check_descriptor(path, Settings(directory=tmp_path))
    assert [each.message for each in faults if each.severity in {"error", "warning"}] == []
