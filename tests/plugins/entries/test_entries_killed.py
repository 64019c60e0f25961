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
from hven.plugins.entries.entry_store import EntryStep, EntryStore, TableEntry
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

KILLS = 60 if os.environ.get("HVEN_PROOF") == "full" else 3
# each child counts the calls of a step, and kills itself at one of them
CHILDREN = """
import json, os, pathlib, signal, sys, threading
from hven.model.settings import Settings
from hven.plugins.entries.entry_forms import ColumnWording, build_entry_fields
from hven.plugins.entries.entry_workflow import EntryWorkflow, EntryStepRequest, find_entry_table
from hven.site import Site
from hven.site.auth import Principal

WORDING = ColumnWording(write_label=str, write_description=str, find_code_words=lambda _: {})

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
        entry = workflow.find_entry(order["number"])
        done = workflow.take_step(entry, EntryStepRequest(action=order["action"], etag=entry.etag, reason="because"))
        sys.setprofile(None)
        threading.setprofile(None)
    return {"calls": count[0], "state": done.state}

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


def count_rows(site: Site, name: str) -> int:
    site.refresh_published_state()
    with query.run_query(f"SELECT id FROM bad.stars WHERE name = '{name}'", OWNER_PRINCIPAL, site=site) as result:
        return sum(batch.num_rows for batch in result.iterate_batches())


@pytest.mark.slow
def test_killed_anywhere_row_and_state_agree(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text("")
    with (
        open_site_with_uningested_files(tmp_path, STARS) as site,
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILDREN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child,  # fmt: skip
    ):
        ingest_collection(site, "bad")
        store = site.store.get_or_create(EntryStore)

        def add(name: str) -> int:
            entry = TableEntry(table="bad.stars", author="anna", row_values={"name": name})
            return store.add_entry(entry, EntryStep(by="anna", action="save", state="draft"))[0].number

        def order(number: int, who: str, action: str, kill: int = 0) -> dict[str, Any]:
            assert child.stdin is not None
            assert child.stdout is not None
            line = {"site": str(tmp_path), "number": number, "who": who, "action": action, "kill": kill}
            print(json.dumps(line), file=child.stdin, flush=True)
            answer: dict[str, Any] = json.loads(child.stdout.readline())
            return answer

        first = add("first")
        calls = {
            action: order(first, who, action)["calls"]
            for who, action in (("anna", "submit"), ("mia", "accept"), ("anna", "withdraw"))
        }
        assert count_rows(site, "first") == 0
        for step in range(1, KILLS + 1):
            # the second half of a push is where it is staged, published and committed
            part = (KILLS + 2 * step) / (3 * KILLS + 1)
            number, name = add(f"star {step}"), f"star {step}"
            states = {"draft": 0, "submitted": 0, "accepted": 1, "withdrawn": 0}
            for who, action, before in (("anna", "submit", "draft"), ("mia", "accept", "submitted"), ("anna", "withdraw", "accepted")):  # fmt: skip
                order(number, who, action, int(calls[action] * part))
                entry = store.find_entry("bad.stars", number)
                assert entry is not None
                assert count_rows(site, name) == states[entry.state], "both, or neither"
                if entry.state == before:
                    assert order(number, who, action)["state"] != before, "the next try succeeds"
                entry = store.find_entry("bad.stars", number)
                assert entry is not None
                assert count_rows(site, name) == states[entry.state]
        assert child.stdin is not None
        child.stdin.close()
