"""A process is killed (SIGKILL) somewhere in matching or delivery: nothing is missed, nothing is told twice.

The id of a match is the same at each attempt. A receiver that was called just before a kill may be called again, with
this id; it drops the repeat.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watch_site import STARS

if TYPE_CHECKING:
    from notification_site import WebhookServer
    from watch_site import WatchSite

KILLS = 60 if os.environ.get("HVEN_PROOF") == "full" else 5
STEPS = (
    "match_all_changes",
    "record_matches",
    "delete_old_matches",
    "claim_due_matches",
    "_call_webhook",
    "update_matches",
)
# each child runs a round, and kills itself before or after a step, or at a call of any function
CHILDREN = """
import json, os, pathlib, signal, sys, threading
from hven.model.settings import load_settings
from hven.plugins.watches import change_matching, watch_delivery, watch_store
from hven.plugins.watches.watch_round import match_and_deliver

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def work(order):
    settings = load_settings(pathlib.Path(order["site"]), {})
    count = [0]
    for owner in (change_matching.ChangeMatcher, watch_delivery.WatchDelivery, watch_store.WatchStore):
        step = vars(owner).get(order.get("step"))
        if step is not None:
            def wrap(*arguments, step=step, **options):
                if order["when"] == "before":
                    die()
                step(*arguments, **options)
                die()
            setattr(owner, order["step"], wrap)
    if "kill" in order:
        def hook(frame, event, argument):
            count[0] += 1
            if count[0] == order["kill"]:
                die()
        sys.setprofile(hook)
    match_and_deliver(settings)
    sys.setprofile(None)
    return {"calls": count[0]}

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


@pytest.mark.slow
def test_killed_anywhere_nothing_is_missed_or_told_twice(site: WatchSite, webhook_server: WebhookServer) -> None:
    watches = [
        site.watch(channel="webhook", webhook=webhook_server.url),
        site.watch(
            "mia", channel="webhook", webhook=webhook_server.url, query="SELECT * FROM stars.main WHERE mag < 4"
        ),
        site.watch("mia", channel="webhook", webhook=webhook_server.url, targets="10 20", radius=1),
    ]
    stars = list(STARS)

    def publish() -> None:
        number = len(stars) + 1
        stars.append((number, 10.0 + number / 1e4, 20.0, 3.0, f"star {number}"))
        site.publish(stars)

    with subprocess.Popen(
        [sys.executable, "-c", CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def run_round(**order: Any) -> dict[str, Any]:
            print(json.dumps({"site": str(site.site.settings.directory), **order}), file=stdin, flush=True)
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        publish()
        calls = run_round(kill=-1)["calls"]
        assert calls > 1_000
        kills = 1
        orders: list[dict[str, Any]] = [{"step": step, "when": when} for step in STEPS for when in ("before", "after")]
        orders += [{"kill": calls * part // (KILLS + 1)} for part in range(1, KILLS + 1)]
        for order in orders:
            publish()
            kills += run_round(**order) == {}
            site.make_due()  # the claim of the killed process has expired
        assert kills >= len(STEPS) * 2
        run_round()
        stdin.close()
    new_keys = [f"[{number}]" for number in range(len(STARS) + 1, len(stars) + 1)]
    for watch in watches:
        assert sorted(key for key, _ in site.find_rows(watch)) == sorted(new_keys)
        assert {match.state for match in site.find_matches(watch)} == {"sent"}
    rows_by_id: dict[str, tuple[str, list[str]]] = {}
    for headers, body in webhook_server.calls:
        data = json.loads(body)["data"]
        rows_by_id[headers["webhook-id"]] = data["watch"], [row["key"] for row in data["rows"]]
    for watch in watches:
        told = [key for name, keys in rows_by_id.values() if name == watch.name for key in keys]
        assert sorted(told) == sorted(new_keys), "each row in one message, whatever its repeats"
    assert len(webhook_server.calls) - len(rows_by_id) <= kills * len(watches), "only a killed process repeats"


def test_two_processes_match_at_once(site: WatchSite, monkeypatch: pytest.MonkeyPatch) -> None:
    from hven.plugins.watches.change_matching import ChangeMatcher
    from hven.plugins.watches.watch_store import WatchStore

    watch = site.watch()
    site.publish([*STARS, (4, 1.0, 1.0, 1.0, "x")])
    original = WatchStore.record_matches

    def record(self: Any, *arguments: Any) -> None:
        monkeypatch.setattr(WatchStore, "record_matches", original)
        ChangeMatcher(site.site).match_all_changes()  # another process is faster
        original(self, *arguments)

    monkeypatch.setattr(WatchStore, "record_matches", record)
    site.match()
    assert site.find_rows(watch) == [("[4]", "new")]


def test_a_watch_that_is_added_or_removed_while_others_are_matched(
    site: WatchSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hven.plugins.watches.store_tables import watches
    from hven.plugins.watches.watch_store import WatchStore

    kept, removed = site.watch(), site.watch()
    site.publish([*STARS, (4, 1.0, 1.0, 1.0, "x")])
    original = WatchStore.record_matches
    added = []

    def record(self: Any, *arguments: Any) -> None:
        self.remove_watches(watches.c.name == removed.name)
        added.append(site.watch())
        original(self, *arguments)

    monkeypatch.setattr(WatchStore, "record_matches", record)
    site.match()
    assert site.find_rows(kept) == [("[4]", "new")]
    assert site.find_matches(removed) == []
    assert site.find_matches(added[0]) == [], "it was added after the rows"
