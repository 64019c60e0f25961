"""A process is killed somewhere in a step of an entry: the row and the state of the entry always agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from entry_site import STARS

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.plugins.entries.entry_store import EntryStore, TableEntry
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

KILLS = 60 if os.environ.get("HVEN_PROOF") == "full" else 2
# who takes each step with which entry of a row, and the state of the entry after it
STEPS = (
    ("create", "anna", 0, "draft"),
    ("submit", "anna", 0, "submitted"),
    ("refuse", "mia", 0, "refused"),
    ("save", "anna", 0, "draft"),
    ("submit", "anna", 0, "submitted"),
    ("accept", "mia", 0, "accepted"),
    ("create", "bob", 1, "draft"),
    ("submit", "bob", 1, "submitted"),
    ("accept", "mia", 1, "accepted"),
    ("withdraw", "bob", 1, "withdrawn"),
    ("withdraw", "anna", 0, "withdrawn"),
)
FIRST_MAGNITUDE, CORRECTED_MAGNITUDE = 1.0, 2.0
# each child counts the calls of a step, and kills itself at one of them
CHILDREN = """
import json, os, pathlib, signal, sys, threading
from hven.model.settings import Settings
from hven.plugins.entries.entry_forms import ColumnWording, build_entry_fields
from hven.plugins.entries.entry_workflow import EntryWorkflow, EntryStepRequest, find_entry_table
from hven.site import Site
from hven.site.auth import Principal

WORDING = ColumnWording(write_label=str, write_description=str, find_code_words=lambda _: {})

def take_step(workflow, order):
    if order["action"] == "create":
        return workflow.create_entry(order["values"], order["row"], order["token"])[0]
    entry = workflow.find_entry(order["number"])
    values = order["values"] if order["action"] == "save" else None
    return workflow.take_step(entry, EntryStepRequest(action=order["action"], values=values, etag=entry.etag, reason="because"))

def work(order):
    count = [0]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == order["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    with Site(Settings(directory=pathlib.Path(order["site"]))) as site:
        table = site.get_published_state().tables_by_name["bad.stars"].table
        found = find_entry_table(site, table)
        fields = build_entry_fields(found.spec, found.options, table, WORDING)
        workflow = EntryWorkflow(site, found, Principal(name=order["who"]), fields)
        threading.setprofile(hook)
        sys.setprofile(hook)
        done = take_step(workflow, order)
        sys.setprofile(None)
        threading.setprofile(None)
    return {"calls": count[0], "number": done.number}

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


def list_magnitudes(site: Site, name: str) -> list[float]:
    site.refresh_published_state()
    with query.run_query(f"SELECT mag FROM bad.stars WHERE name = '{name}'", OWNER_PRINCIPAL, site=site) as result:
        return [mag for batch in result.iterate_batches() for mag in batch.column(0).to_pylist()]


class RowLife:
    """One row, its entry and its correction, whose steps processes take."""

    def __init__(self, site: Site, child: subprocess.Popen[str], name: str) -> None:
        self.site = site
        self.child = child
        self.name = name
        self.numbers = [0, 0]
        self.store = site.store.get_or_create(EntryStore)

    def take(self, action: str, who: str, index: int, kill: int = 0) -> dict[str, Any]:
        """Take a step, or kill the process at its call `kill`; an empty answer: it was killed."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        first_entry = self.find_entry(0)
        order = {
            "site": str(self.site.settings.directory),
            "who": who,
            "action": action,
            "number": self.numbers[index],
            "values": {"mag": CORRECTED_MAGNITUDE} if index else {"name": self.name, "mag": FIRST_MAGNITUDE},
            "row": first_entry.row_key if index and first_entry else "",
            "token": f"{self.name} {index}",
            "kill": kill,
        }
        print(json.dumps(order), file=self.child.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.child.stdout.readline())
        if answer:
            self.numbers[index] = answer["number"]
        return answer

    def find_entry(self, index: int) -> TableEntry | None:
        """Find the entry or its correction."""
        return self.store.find_entry("bad.stars", self.numbers[index])

    def check(self) -> None:
        """Check that the row is as its accepted entries say."""
        states = [entry and entry.state for entry in map(self.find_entry, (0, 1))]
        expected = []
        if "accepted" in states:
            expected = [CORRECTED_MAGNITUDE if states[1] == "accepted" else FIRST_MAGNITUDE]
        assert list_magnitudes(self.site, self.name) == expected, states


@pytest.mark.slow
def test_killed_anywhere_row_and_state_agree(tmp_path: Path) -> None:
    """Steps of a new row, of its correction and their withdrawals: all of a step, or nothing, and its repetition succeeds."""
    (tmp_path / "hven.toml").write_text("")
    with (
        open_site_with_uningested_files(tmp_path, STARS) as site,
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILDREN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child,  # fmt: skip
    ):
        ingest_collection(site, "bad")
        first_life = RowLife(site, child, "first")
        calls = [first_life.take(action, who, index)["calls"] for action, who, index, _ in STEPS]
        first_life.check()
        killed_count = 0
        for attempt in range(KILLS):
            life = RowLife(site, child, f"star {attempt}")
            for (action, who, index, state), call_count in zip(STEPS, calls, strict=True):
                before = life.find_entry(index)
                answer = life.take(action, who, index, max(1, int(call_count * (attempt + 0.5) / KILLS)))
                killed_count += not answer
                life.check()
                entry = life.find_entry(index)
                if not answer and (entry is None or entry == before):
                    assert life.take(action, who, index), "the next try succeeds"
                    life.check()
                    entry = life.find_entry(index)
                assert entry is not None
                assert entry.state == state, action
            assert [len(life.store.list_steps(number)) for number in life.numbers] == [7, 4], "no step twice"
        assert killed_count > KILLS * len(STEPS) / 2
        entries = life.store.list_entries(["bad.stars"])
        assert len({entry.token for entry in entries}) == len(entries)
        assert child.stdin is not None
        child.stdin.close()
