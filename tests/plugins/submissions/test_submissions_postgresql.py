"""Submissions with the system state in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from submission_site import make_file, make_image, open_submission_site, path_of, query, read_submission

from hven.plugins.submissions.submission_store import SubmissionStore
from postgres_cluster import run_cluster


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_cluster() as found:
        yield found.url


def test_submissions_in_postgresql(database: str, tmp_path: Path) -> None:
    with open_submission_site(tmp_path, store=database.replace("://", "+psycopg://")) as (site, client, people):
        anna, bob, mia = people["anna"], people["bob"], people["mia"]
        submission = anna.begin({"a.fits": make_file("alf"), "notes.txt": b"no FITS \0", "b.fits": make_file("bet")})
        assert [file["state"] for file in submission["files"]] == ["good", "bad", "good"]
        number = str(submission["rows"][0]["number"])
        values = {"shared": {"obs_collection": "chara"}, number: {"quality": "\N{GRINNING FACE}", "progid": "x"}}
        checked = read_submission(anna.take(submission, "check", values=values))
        assert [row["released"] for row in checked["report"]["rows"]] == ["2016-06-09 02:24:00"] * 2
        assert anna.take(submission, "edit", note="late").status == 412
        saved = read_submission(anna.take(checked, "submit"))
        assert query(client, "SELECT target_name, quality, version FROM oidb.granules ORDER BY id") == [
            ["alf", "\N{GRINNING FACE}", "1"],
            ["bet", "", "1"],
        ]
        assert bob.begin({"c.fits": make_file("alf")})["files"][0]["state"] == "known"
        version = bob.begin({"c.fits": make_file("alf", PROG_ID="60.A-1")})
        assert read_submission(bob.take(version, "check"))["report"]["rows"][0]["version"] == 2
        moderated = anna.begin({"m.fits": make_image(OBJECT="M 31", EXPTIME=20.0)}, "lists.images")
        submitted = read_submission(anna.take(moderated, "submit"))
        read_submission(mia.take(submitted, "refuse", reason="who observed? \0"))
        again = read_submission(anna.take(read_submission(anna.get(path_of(submitted))), "submit"))
        assert read_submission(mia.take(again, "accept"))["state"] == "saved"
        assert query(client, "SELECT object FROM lists.images") == [["M 31"]]
        store = site.store.get_or_create(SubmissionStore)
        assert store.remove_author_data("bob") != []
        store.remove_author_data("anna")
        kept = store.find_submission(saved["number"])
        assert kept is not None
        assert (kept.author, {step["by"] for step in kept.steps}) == ("", {""})
