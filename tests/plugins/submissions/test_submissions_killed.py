"""A process is killed while it publishes a submission: nothing is lost, and files and rows always agree."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from submission_site import make_file, open_submission_site, path_of, query, read_submission

CHILD = """
import os, pathlib, signal, sys
from hven.model.settings import Settings
from hven.plugins.push import client_writes
from hven.plugins.submissions import submission_workflow
from hven.plugins.submissions.submission_store import StepNotice
from hven.plugins.submissions.staging import PublishedFolder, StagingArea
from hven.site import Site
from hven.site.auth import Principal

directory, number, step = sys.argv[1:]
owner, name = {
    "copy": (PublishedFolder, "sync_to_disk"), "push": (client_writes, "execute_client_write"), "commit": (StagingArea, "remove_all"),
}[step]
with Site(Settings(directory=pathlib.Path(directory))) as site:
    table = site.get_published_state().tables_by_name["oidb.granules"].table
    found = submission_workflow.find_submission_table(site, table)
    workflow = submission_workflow.SubmissionWorkflow(site, found, Principal(name="anna"), [])
    submission = workflow.check_submission(workflow.find_submission(int(number)))
    setattr(owner, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    workflow._publish(submission, {}, StepNotice())
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["copy", "push", "commit"])
def test_a_kill_loses_nothing(step: str, tmp_path: Path) -> None:
    with open_submission_site(tmp_path) as (site, client, people):
        anna, content = people["anna"], make_file("killed")
        submission = anna.begin({"k.fits": content})
        order = [sys.executable, "-c", CHILD, str(tmp_path), str(submission["number"]), step]
        killed = subprocess.run(order, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        site.refresh_published_state()
        stored = read_submission(anna.get(path_of(submission)))
        path = f"submitted/{submission['number']}/k.fits"
        rows = query(client, "SELECT path FROM oidb.granules")
        assert (stored["state"], rows) == (("saved", [[path]]) if step == "commit" else ("open", []))
        if step != "commit":
            assert client.ask("GET", f"/collections/oidb/files/{path}", headers=anna.proof).status == 404, (
                "nobody sees it"
            )
            stored = read_submission(anna.take(stored, "submit"))
        assert client.ask("GET", f"/collections/oidb/files/{path}", headers=anna.proof).body == content
        anna.get("/submissions")
        assert list((site.settings.var_directory / "submissions").iterdir()) == [], "staged files are removed"
