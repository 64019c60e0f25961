"""Promotions are killed at any of their steps, beside readers: each answer is of one version, and the next try succeeds.

With HVEN_PROOF=full there are 200 promotions, of which 20 are killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from promotion_sites import SitePair, create_postgres_sites, create_sites, read_version

from hven.ingest.api import publication
from hven.ingest.api.runs import ingest_collection
from hven.plugins.promotion.promotion import return_to_earlier_publication
from hven.site import Site
from plugin_needs import require_plugins
from postgres_cluster import run_server

FULL = os.environ.get("HVEN_PROOF") == "full"
READERS = 2
# one process has imported everything and forks a child for each promotion, which counts its calls and may kill itself
CHILDREN = """
import json, os, pathlib, signal, sys, threading
import hven.engines.duckdb.engine, hven.descriptor.compiled_mapping, hven.sources.csv
from hven.model.settings import load_settings
from hven.plugins.promotion import promotion
from hven.site import Site

def work(order):
    count = [0]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == order["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    with Site(load_settings(pathlib.Path(order["dev"]))) as dev, Site(load_settings(pathlib.Path(order["gold"]))) as gold:
        threading.setprofile(hook)
        sys.setprofile(hook)
        report = promotion.promote_collection(dev, gold, "stars")
        sys.setprofile(None)
        threading.setprofile(None)
    return {"calls": count[0], "run": report.run}

for line in sys.stdin:
    order = json.loads(line)
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work(order)
        except BaseException as error:
            answer = {"error": repr(error)}
        os.write(into, json.dumps(answer).encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        text = pipe.read()
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    print(json.dumps({**json.loads(text or "{}"), "killed": killed}), flush=True)
"""


@contextmanager
def run_children(pair: SitePair) -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILDREN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def promote(kill: int = 0) -> dict[str, Any]:
            order = {"dev": str(pair.dev), "gold": str(pair.gold), "kill": kill}
            print(json.dumps(order), file=process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            assert "error" not in answer, answer
            return answer

        yield promote
        process.stdin.close()


class VersionReaders:
    """Threads that read the version of the public site all the time; each answer must be of one version."""

    def __init__(self, site: Site) -> None:
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []
        self._site = site
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(READERS)]

    def _read(self) -> None:
        while not self._stop.wait(0.005):
            try:
                version = read_version(self._site)
                resource = self._site.get_published_state().resources["stars"]
                file_version = int((resource.path.parent / "note.txt").read_text())
                title = resource.title
                assert title == f"Stars {file_version}", f"the title {title!r} with the files of {file_version}"
            except BaseException as error:  # noqa: BLE001  (a thread has no other way to report it)
                self.faults.append(repr(error))
                return
            self.answers[version] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def promote_beside_readers(pair: SitePair, promotion_count: int, kill_count: int) -> None:
    """Promote versions one after the other, kill some of the promotions, and check all answers of readers."""
    pair.publish_version(1)
    with pair.open_dev() as dev, run_children(pair) as promote:
        calls = promote()["calls"]
        due_count = killed_count = 0
        with pair.open_gold(watch_for_changes=True) as gold, VersionReaders(gold) as readers:
            for number in range(2, promotion_count + 1):
                pair.write_version(number)
                ingest_collection(dev, "stars")
                if number * kill_count // promotion_count > (number - 1) * kill_count // promotion_count:
                    due_count += 1
                    # every second kill is in the last quarter, where rows are staged and published
                    share = due_count / (kill_count + 1)
                    killed_count += promote(int(calls * (share if due_count % 2 else 0.75 + share / 4)))["killed"]
                    with pair.open_gold() as site:
                        assert read_version(site) in {number - 1, number}, "the old version or the new one"
                promote()
                with pair.open_gold() as site:
                    assert read_version(site) == number, "the next try succeeds"
                assert not readers.faults
        assert not readers.faults
        assert readers.answers.keys() <= set(range(1, promotion_count + 1))
        assert sum(readers.answers.values()) > promotion_count
        assert killed_count >= kill_count - 2  # some promotions need fewer calls than the first
    answer_count = sum(readers.answers.values())
    print(f"\n{promotion_count} promotions, {killed_count} killed, {answer_count:,} answers, 0 mixed")
    with pair.open_gold() as gold:
        publication.delete_ingest_leftovers(gold)
        records = gold.store.list_snapshots("stars")
        pinned = {Path(record.provenance["descriptor_directory"]).name for record in records}
        assert {path.name for path in (pair.gold / "promoted/stars").iterdir()} == pinned
        return_to_earlier_publication(gold, "stars")
        assert read_version(gold) == promotion_count - 1


@pytest.mark.slow
def test_killed_at_any_step_no_answer_is_mixed(tmp_path: Path) -> None:
    pair = create_sites(tmp_path)
    promote_beside_readers(pair, *((200, 20) if FULL else (8, 4)))
    with pair.open_gold() as gold:
        records = gold.store.list_snapshots("stars")
        stored_names = {path.name for path in gold.settings.data_directory.glob("snapshots/stars.*/*")}
        assert stored_names == {record.id for record in records}, "killed promotions leave no rows"


@pytest.mark.slow
@pytest.mark.outside
def test_killed_at_any_step_with_rows_in_postgresql(tmp_path: Path) -> None:
    require_plugins("engines", "postgres")
    with run_server() as address:
        pair = create_postgres_sites(tmp_path, f"postgresql://{address}", "killed")
        promote_beside_readers(pair, *((20, 10) if FULL else (5, 3)))
