"""A process is killed somewhere in each step of a submission: what was acknowledged stays, and the next try succeeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from submission_site import make_image, open_submission_site, query

from hven.plugins.submissions.expired_submissions import delete_expired_data
from hven.plugins.submissions.staging import StagingArea, compute_sha256, list_staged_numbers
from hven.plugins.submissions.submission_store import DISCARDED, GOOD_FILE, SAVED, STAGED_STATES, SubmissionStore
from hven.site import Site

KILLS = 60 if os.environ.get("HVEN_PROOF") == "full" else 2
TABLE = "lists.images"
# who takes each step, and the state after it
STEPS = (
    ("create", "anna", "open"),
    ("add", "anna", "open"),
    ("edit", "anna", "open"),
    ("remove", "anna", "open"),
    ("check", "anna", "open"),
    ("submit", "anna", "submitted"),
    ("refuse", "mia", "refused"),
    ("submit", "anna", "submitted"),
    ("accept", "mia", "saved"),
)
DISCARDED_STEPS = (
    ("create", "anna", "open"),
    ("add odd", "anna", "open"),
    ("repair", "anna", "open"),
    ("discard", "anna", "discarded"),
)
# each child counts the calls of a step, and kills itself at one of them
CHILDREN = """
import dataclasses, json, os, pathlib, signal, sys, threading
from astropy.io import fits
from hven.model.settings import Settings
from hven.plugins.entries.entry_forms import ColumnWording, build_entry_fields
from hven.plugins.submissions import file_checkers
from hven.plugins.submissions.staging import SentFile
from hven.plugins.submissions.submission_workflow import SubmissionWorkflow, find_submission_table
from hven.site import Site
from hven.site.auth import Principal

WORDING = ColumnWording(write_label=str, write_description=str, find_code_words=lambda _: {})

def find_odd_cards(path, _):
    if "ODD" not in fits.getheader(path):
        return []
    return [file_checkers.FileFinding(rule="ODD", severity="info", message="an odd card", repairable=True)]

def remove_odd_cards(path, target):
    with fits.open(path) as hdus:
        del hdus[0].header["ODD"]
        hdus.writeto(target)
    return ["ODD"]

file_checkers.FITS_CHECKER = dataclasses.replace(
    file_checkers.FITS_CHECKER, check_file=find_odd_cards, write_repaired_file=remove_odd_cards
)

def take_step(workflow, order):
    action = order["action"].partition(" ")[0]
    if action == "create":
        return workflow.create_submission(order["token"])[0]
    submission = workflow.find_submission(order["number"])
    if action == "add":
        return workflow.add_files(submission, [SentFile(pathlib.Path(path).name, pathlib.Path(path)) for path in order["paths"]])
    if action == "edit":
        row = workflow.store.list_rows(submission.number)[0].number
        return workflow.change_values(submission, shared_values={}, row_values={row: {"observer": "Anna"}}, note="a note")
    if action == "remove":
        return workflow.remove_files(submission, [workflow.store.list_files(submission.number)[-1].number])
    if action == "repair":
        return workflow.replace_by_repaired_files(submission, [file.number for file in workflow.store.list_files(submission.number)])
    return workflow.take_step(submission, action, "because")

def work(order):
    count = [0]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == order["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    with Site(Settings(directory=pathlib.Path(order["site"]))) as site:
        table = site.get_published_state().tables_by_name["lists.images"].table
        found = find_submission_table(site, table)
        fields = build_entry_fields(found.spec, found.options, table, WORDING)
        workflow = SubmissionWorkflow(site, found, Principal(name=order["who"]), fields)
        threading.setprofile(hook)
        sys.setprofile(hook)
        done = take_step(workflow, order)
        sys.setprofile(None)
        threading.setprofile(None)
    return {"calls": count[0], "state": done.state, "number": done.number}

for line in sys.stdin:
    order = json.loads(line)
    out, into = os.pipe()
    if os.fork() == 0:
        os.write(into, json.dumps(work(order)).encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        text = pipe.read()
    os.wait()
    print(text.decode() or "{}", flush=True)
"""


class Children:
    """The processes that take steps."""

    def __init__(self, process: subprocess.Popen[str], site: Site, directory: Path) -> None:
        self.process = process
        self.site = site
        self.directory = directory

    def take(self, action: str, who: str, name: str, number: int, kill: int = 0) -> dict[str, Any]:
        """Take a step, or kill the process at its call `kill`; an empty answer: it was killed."""
        paths = []
        if action.startswith("add"):
            file_names = ("odd.fits", "good.fits") if action == "add odd" else ("kept.fits", "removed.fits")
            for file_name in file_names:
                path = self.directory / name / file_name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(make_content(name, file_name))
                paths.append(str(path))
        order = {"site": str(self.site.settings.directory), "token": name, "number": number, "who": who}
        order |= {"action": action, "kill": kill, "paths": paths}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def make_content(name: str, file_name: str) -> bytes:
    odd_cards = {"ODD": 1} if file_name == "odd.fits" else {}
    return make_image(OBJECT=name, EXPTIME=20.0, ORIGIN=file_name, **odd_cards)


def read_all(site: Site, number: int) -> Any:
    """Read what is stored of a submission, without what each check renews."""
    store = site.store.get_or_create(SubmissionStore)
    submission = store.find_submission(number)
    if submission is None:
        return None
    steps = [(step["by"], step["action"], step["reason"]) for step in submission.steps]
    files = [(file.name, file.sha256, file.state) for file in store.list_files(number)]
    rows = [{**row.file_values, **row.own_values} for row in store.list_rows(number)]
    return (submission.state, submission.note, steps, files, rows)


def check_files(site: Site, client: Client, number: int, name: str) -> None:
    """Check that each file of a submission is staged or published, and that its row is published with it, or neither."""
    store = site.store.get_or_create(SubmissionStore)
    submission = store.find_submission(number)
    assert submission is not None
    site.refresh_published_state()
    paths = [row[0] for row in query(client, f"SELECT file_name FROM {TABLE} WHERE object = '{name}'")]
    if submission.state in STAGED_STATES:
        assert paths == []
        for file in store.list_files(number):
            staged_path = StagingArea(site, number).find_path(file.sha256, file.name)
            assert file.state == GOOD_FILE
            assert compute_sha256(staged_path) == file.sha256
    elif submission.state == DISCARDED:
        assert paths == []
        delete_expired_data(site)  # as the next request does
        assert number not in list_staged_numbers(site.settings)
        assert not (site.settings.collections_directory / "lists/images/sent" / str(number)).exists()
    else:
        assert (submission.state, paths) == (SAVED, [f"images/sent/{number}/kept.fits"])
        published_path = site.settings.collections_directory / "lists" / paths[0]
        assert published_path.read_bytes() == make_content(name, "kept.fits")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [STEPS, DISCARDED_STEPS], ids=["published", "discarded"])
def test_killed_in_any_step_nothing_acknowledged_is_lost(
    steps: tuple[tuple[str, str, str], ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CHILDREN)]
    with (
        open_submission_site(tmp_path) as (site, client, _),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        children = Children(process, site, tmp_path)
        calls, number = [], 0
        for action, who, _ in steps:
            answer = children.take(action, who, "first", number)
            number = answer["number"]
            calls.append(answer["calls"])
        check_files(site, client, number, "first")
        killed_count = 0
        for attempt in range(KILLS):
            name, number = f"object {attempt}", 0
            for (action, who, state), call_count in zip(steps, calls, strict=True):
                before = read_all(site, number)
                kill = max(1, int(call_count * (attempt + 0.5) / KILLS))
                answer = children.take(action, who, name, number, kill)
                killed_count += not answer
                number = answer["number"] if answer else number  # the last calls of a step may come fewer times
                after = read_all(site, number)
                if not answer and after == before:  # all of the step, or nothing of it
                    if before is not None:
                        check_files(site, client, number, name)
                    answer = children.take(action, who, name, number)
                    number = answer["number"]
                elif action != "check":
                    assert after[0] == state
                assert number
                check_files(site, client, number, name)
                assert read_all(site, number)[0] == state
        assert killed_count > KILLS * len(steps) / 2
        submissions = site.store.get_or_create(SubmissionStore).list_submissions(author="anna")
        assert len(submissions) == KILLS + 1, "a request that comes again begins no second submission"
        assert process.stdin is not None
        process.stdin.close()
