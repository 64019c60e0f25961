"""Submissions whose time is over are discarded, whether somebody visits the site or not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from submission_site import make_file, open_submission_site, path_of, read_submission

from hven.plugins.submissions import expired_submissions
from hven.plugins.submissions.submission_store import DISCARDED, OPEN, Submission, SubmissionStore
from hven.site import Site
from process_runner import serve_site, wait_until


def expire(site: Site, number: int) -> Submission:
    store = site.store.get_or_create(SubmissionStore)
    stored = store.find_submission(number)
    assert stored is not None
    return store.change_submission(stored, {"expires": "2020-01-01T00:00:00Z"})


@pytest.mark.slow
def test_the_job_supervisor_discards_them(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text("")
    with open_submission_site(tmp_path) as (site, _, people):
        submission = people["anna"].begin({"o.fits": make_file("omi")})
        kept = people["anna"].begin({"k.fits": make_file("kap")})
        expire(site, submission["number"])
        folder = site.settings.var_directory / "submissions"
        store = site.store.get_or_create(SubmissionStore)
        assert (folder / str(submission["number"])).exists()
        with serve_site(tmp_path):
            wait_until(lambda: not (folder / str(submission["number"])).exists())
        states = {number: store.find_submission(number) for number in (submission["number"], kept["number"])}
        assert [stored and stored.state for stored in states.values()] == [DISCARDED, OPEN]
        assert [path.name for path in folder.iterdir()] == [str(kept["number"])]


def test_when_it_is_due(tmp_path: Path) -> None:
    with open_submission_site(tmp_path) as (site, _, people):
        settings, store = site.settings, site.store
        assert not expired_submissions.is_cleanup_due(settings, store)
        anna = people["anna"]
        submission = anna.begin({"a.fits": make_file("alf")})
        assert not expired_submissions.is_cleanup_due(settings, store)
        staged = settings.var_directory / "submissions" / str(submission["number"])
        copied = shutil.copytree(staged, tmp_path / "copy")
        read_submission(anna.take(submission, "discard"))
        assert not expired_submissions.is_cleanup_due(settings, store)
        shutil.copytree(copied, staged)  # as if the process had been killed before it deleted the files
        assert expired_submissions.is_cleanup_due(settings, store)
        expired_submissions.delete_expired_data(site)
        assert not staged.exists()
        expire(site, anna.begin({"b.fits": make_file("bet")})["number"])
        assert expired_submissions.is_cleanup_due(settings, store)
        expired_submissions.delete_expired_data(site)
        assert not expired_submissions.is_cleanup_due(settings, store)


def test_a_clock_that_leaps_discards_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_submission_site(tmp_path) as (site, _, people):
        site.store.deletion_clock.compute_and_record_trusted_time()
        submission = people["anna"].begin({"a.fits": make_file("alf")})
        later = "2999-01-01T00:00:00.000000Z"
        monkeypatch.setattr("hven.site.store._deletion_time.read_shared_clock", lambda _: 32_472_144_000.0)
        monkeypatch.setattr("hven.plugins.submissions.submission_store.format_current_time", lambda: later)
        people["bob"].get("/submissions")
        assert read_submission(people["anna"].get(path_of(submission)))["state"] == "open"
