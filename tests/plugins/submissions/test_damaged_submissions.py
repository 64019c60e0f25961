"""One bad file, archive or request stops no other: what is damaged is listed, and a failed request leaves nothing."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from submission_site import Person, make_file, pack, path_of, query, read_submission

from hven.plugins.submissions import submission_workflow
from hven.plugins.submissions.file_checkers import FITS_CHECKER
from hven.site import Site


def list_states(submission: dict[str, object]) -> dict[str, str]:
    files = submission["files"]
    assert isinstance(files, list)
    return {file["name"]: file["state"] for file in files}


def list_staged_files(site: Site) -> set[Path]:
    return set((site.settings.var_directory / "submissions").glob("*/*"))


def test_a_damaged_archive_and_a_bad_name_stop_no_other_file(people: dict[str, Person]) -> None:
    twice = pack({"b.fits": make_file("b")}).replace(b"b.fits", b"c.fits", 1)
    files = {
        "good.fits": make_file("zip good"),
        "cut.zip": pack({"a.fits": make_file("a")})[:-30],
        "other.zip": twice,
        "more.zip": pack(
            {"fine.fits": make_file("zip fine"), "n" * 210 + ".fits": make_file("n"), "é" * 120 + ".fits": b"x"}
        ),
    }
    begun = people["anna"].post_form("/submissions/oidb.granules", {}, files)
    assert begun.status == 303, begun.text
    submission = read_submission(people["anna"].get(begun.headers["location"].removeprefix("http://vo.example")))
    states = list_states(submission)
    assert {name for name, state in states.items() if state == "good"} == {"good.fits", "fine.fits"}
    assert (states["cut.zip"], states["other.zip"], len(states)) == ("bad", "bad", 6)
    assert all(file["findings"][0]["rule"] == "FILE_LOAD" for file in submission["files"] if file["state"] == "bad")


def test_archives_share_one_limit(site: Site, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of the request: many small archives would fill the disk otherwise."""
    limit = site.settings.limits.upload
    part = pack({"zeros.bin": bytes(limit // 2 + 1)})
    answer = people["anna"].post_form("/submissions/oidb.granules", {}, {"1.zip": part, "2.zip": part})
    assert answer.status == 413, answer.text


@pytest.mark.parametrize("place", [12, 40, 60, -9])
def test_a_compressed_file_that_is_damaged_is_listed(place: int, people: dict[str, Person]) -> None:
    content = bytearray(gzip.compress(make_file("gz", **{f"K{number}": number * 7919 for number in range(60)})))
    content[place : place + 5] = b"\xff" * 5
    submission = people["anna"].begin({"good.fits": make_file(f"beside gz {place}"), "bad.fits.gz": bytes(content)})
    assert list_states(submission) == {"good.fits": "good", "bad.fits.gz": "bad"}


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_file_that_ends_within_its_data_is_left_out(is_compressed: bool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    fits.PrimaryHDU(np.ones((50, 50))).writeto(buffer)
    content = buffer.getvalue()
    path = tmp_path / "image.fits"
    for size, rules in ((len(content), []), (len(content) - 1, []), (6_000, ["FILE_LOAD"]), (2_880, ["FILE_LOAD"])):
        path.write_bytes(gzip.compress(content[:size]) if is_compressed else content[:size])
        assert [finding.rule for finding in FITS_CHECKER.check_file(path, "")] == rules, size


def test_a_refused_request_leaves_no_files_and_no_submission(
    site: Site, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = people["anna"]
    before = list_staged_files(site)
    listed = json.loads(anna.get("/submissions").body)["submissions"]
    monkeypatch.setattr(submission_workflow, "MAX_SUBMISSION_ROWS", 1)
    two = pack({"1.fits": make_file("many 1"), "2.fits": make_file("many 2")})
    headers = {"idempotency-key": "too many rows"}
    assert anna.send_file("/submissions/oidb.granules", "x.zip", two, **headers).status == 413
    assert (list_staged_files(site), json.loads(anna.get("/submissions").body)["submissions"]) == (before, listed)
    monkeypatch.undo()
    again = read_submission(anna.send_file("/submissions/oidb.granules", "x.zip", two, **headers), 201)
    assert len(again["rows"]) == 2, "the request that failed can be repeated"
    twice = read_submission(anna.send_file("/submissions/oidb.granules", "x.zip", two, **headers))
    assert (twice["number"], len(twice["files"])) == (again["number"], 2)
    monkeypatch.setattr(submission_workflow, "QUOTA_FACTOR", 0)
    staged = list_staged_files(site)
    assert anna.send_file(f"{path_of(twice)}/files", "3.fits", make_file("many 3")).status == 413
    assert list_staged_files(site) == staged


def test_a_killed_request_is_completed_by_its_repetition(
    people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, headers = people["anna"], {"idempotency-key": "killed"}

    class KilledError(BaseException):
        """The process ends here."""

    def kill(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(BaseException):  # noqa: B017, PT012  (the client groups it)
        patch.setattr(submission_workflow.SubmissionWorkflow, "add_files", kill)
        anna.send_file("/submissions/oidb.granules", "k.fits", make_file("killed"), **headers)
    again = read_submission(anna.send_file("/submissions/oidb.granules", "k.fits", make_file("killed"), **headers))
    assert list_states(again) == {"k.fits": "good"}


def test_a_bad_file_and_a_corrected_one_of_the_same_name(client: Client, people: dict[str, Person]) -> None:
    """Names of published files are those of the rows, whatever else the submission lists."""
    anna = people["anna"]
    submission = anna.begin({"a.fits": make_file("corrected")[:400]})
    corrected = make_file("corrected")
    submission = read_submission(anna.send_file(f"{path_of(submission)}/files", "a.fits", corrected))
    assert [file["state"] for file in submission["files"]] == ["bad", "good"]
    read_submission(anna.take(submission, "submit"))
    ((path,),) = query(client, "SELECT path FROM oidb.granules WHERE target_name = 'corrected'")
    answer = client.ask("GET", f"/collections/oidb/files/{path}", headers=anna.proof)
    assert (answer.status, answer.body) == (200, corrected)


def test_content_that_was_removed_can_come_again(people: dict[str, Person]) -> None:
    anna, content = people["anna"], make_file("removed")
    submission = anna.begin({"g.fits": content, "copy.fits": content, "bad.fits": b"x"})
    submission = read_submission(anna.take(submission, "remove", file=str(submission["files"][0]["number"])))
    assert list_states(submission) == {"bad.fits": "bad"}, "a copy goes with what it is a copy of"
    submission = read_submission(anna.send_file(f"{path_of(submission)}/files", "again.fits", content))
    submission = read_submission(anna.send_file(f"{path_of(submission)}/files", "bad2.fits", b"x"))
    assert list_states(submission) == {"bad.fits": "bad", "again.fits": "good", "bad2.fits": "bad"}


def test_findings_of_a_column_are_one_finding(people: dict[str, Person]) -> None:
    lines = "".join(f"HD {number},x\n" for number in range(500))
    submission = people["anna"].begin({"long.csv": f"STAR,B1\n{lines}".encode()}, "lists.nights")
    (finding,) = submission["files"][0]["findings"]
    assert (finding["place"], finding["count"], finding["rows"]) == ("b1", 500, list(range(1, 11)))
