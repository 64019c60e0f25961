"""A process is killed (SIGKILL) somewhere in a round: each verdict is right afterwards, and is announced once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from watch_site import STARS

from hven.plugins.notifications.choice_store import ChoiceStore
from hven.plugins.notifications.store_tables import notification_events

if TYPE_CHECKING:
    from cited_star_site import CitationSite

KILLS = 30 if os.environ.get("HVEN_PROOF") == "full" else 4
CHILDREN = """
import json, os, pathlib, signal, sys
from hven.model.settings import load_settings
from hven.plugins.living_citations.citation_round import update_findings

def work(order):
    settings = load_settings(pathlib.Path(order["site"]), {})
    count = [0]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == order["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(hook)
    update_findings(settings)
    sys.setprofile(None)
    return {"calls": count[0]}

for line in sys.stdin:
    out, into = os.pipe()
    if os.fork() == 0:
        os.write(into, json.dumps(work(json.loads(line))).encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        text = pipe.read()
    os.wait()
    print(text.decode() or "{}", flush=True)
"""


@pytest.mark.slow
def test_killed_anywhere_each_verdict_is_right_and_announced_once(site: CitationSite) -> None:
    queries = ("SELECT * FROM stars.main WHERE DISTANCE(ra, dec, 10, 20) < 1", "SELECT COUNT(*) AS n FROM stars.main")
    results = [site.cite(query) for query in queries]
    store = site.site.store.get_or_create(ChoiceStore)
    store.change_choices("anna", lambda old: replace(old, channels={"citations.changed": "mail"}))
    for result in results:
        site.citations.change_wish(result.id, "anna", is_told=True)

    def count_events() -> int:
        with site.citations._database.begin_read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(notification_events)).scalar_one())

    with subprocess.Popen(
        [sys.executable, "-c", CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def run_round(kill: int) -> dict[str, Any]:
            site.citations.record_rest_end(0.0)
            print(json.dumps({"site": str(site.site.settings.directory), "kill": kill}), file=stdin, flush=True)
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        run_round(-1)
        site.publish([*STARS, (4, 10.2, 20.1, 8.0, "delta")])
        calls = run_round(-1)["calls"]
        assert count_events() == len(results)
        was_changed = True
        for part in range(1, KILLS + 1):
            is_added = part % 2 == 0
            site.publish([*STARS, *([(part + 3, 10.2, 20.1, 8.0, "delta")] if is_added else ())])
            events_before = count_events()
            assert run_round(calls * part // (KILLS + 1)) == {}, "it was killed"
            run_round(-1)
            for result in results:
                finding = site.find(result)
                assert (finding.work, finding.verdict == "same") == ("none", site.is_same(result))
            assert count_events() - events_before == (len(results) if is_added and not was_changed else 0)
            was_changed = is_added
        stdin.close()
