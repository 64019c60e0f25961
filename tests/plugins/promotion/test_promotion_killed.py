"""Promotions are killed at any of their steps, beside readers: each answer is of one version, and the next try succeeds.

With HVEN_PROOF=full there are 200 promotions, of which 20 are killed; 60 of them from an address.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from promotion_sites import (
    VERSION_QUERY,
    SitePair,
    ask,
    count_rows_of_version,
    create_postgres_sites,
    create_sites,
    read_version,
)
from remote_pairs import serve_pair

from hven.ingest.api import publication
from hven.ingest.api.publication import PINNED_DIRECTORY_KEY
from hven.ingest.api.runs import ingest_collection
from hven.plugins.promotion.promotion import return_collections
from hven.site import Site
from plugin_needs import require_plugins
from postgres_cluster import run_server
from process_runner import Server, serve_site

FULL = os.environ.get("HVEN_PROOF") == "full"
READERS = 2
# one process has imported everything and forks a child for each promotion, which counts its calls and may kill itself
CHILDREN = """
import contextlib, json, os, pathlib, signal, sys, threading
import hven.engines.duckdb.engine, hven.descriptor.compiled_mapping, hven.sources.csv
from hven.model.settings import load_settings
from hven.plugins.promotion import promotion, remote_sites, settings
from hven.site import Site

def open_source(order, dev, gold):
    if order["by_address"]:
        return remote_sites.RemoteSite(settings.find_target(gold.settings, "dev"), gold.settings)
    return contextlib.nullcontext(promotion.SiteSource(site=dev))

def work(order):
    count = [0]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == order["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    with Site(load_settings(pathlib.Path(order["dev"]))) as dev, Site(load_settings(pathlib.Path(order["gold"]))) as gold:
        threading.setprofile(hook)
        sys.setprofile(hook)
        with open_source(order, dev, gold) as source:
            reports = promotion.promote_collections(source, gold, order["names"])
        sys.setprofile(None)
        threading.setprofile(None)
    return {"calls": count[0], "run": reports[0].run}

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
def run_children(pair: SitePair, names: tuple[str, ...], *, by_address: bool) -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILDREN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def promote(kill: int = 0) -> dict[str, Any]:
            places = {"dev": str(pair.dev), "gold": str(pair.gold), "by_address": by_address}
            order = {**places, "kill": kill, "names": names}
            print(json.dumps(order), file=process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            assert "error" not in answer, answer
            return answer

        yield promote
        process.stdin.close()


class VersionReaders:
    """Threads that read the version of the public site all the time; each answer must be of one version."""

    def __init__(self, site: Site, read: Callable[[Site], int]) -> None:
        self._read_version = read
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []
        self._site = site
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(READERS)]

    def _read_answer(self) -> int:
        version = self._read_version(self._site)
        resource = self._site.get_published_state().resources["stars"]
        file_version = int((resource.path.parent / "note.txt").read_text())
        title = resource.title
        assert title == f"Stars {file_version}", f"the title {title!r} with the files of {file_version}"
        return version

    def _read(self) -> None:
        while not self._stop.wait(0.005):
            try:
                version = self._read_answer()
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


class HttpReaders(VersionReaders):
    """Clients of a served site: of its TAP service, its tables document and its pages, which have caches and ETags."""

    def __init__(self, site: Site, server: Server) -> None:
        super().__init__(site, read_version)
        self._server = server
        self._request_number = 0

    def _read_answer(self) -> int:
        self._request_number += 1
        match self._request_number % 3:
            case 0:
                query = {"LANG": "ADQL", "QUERY": VERSION_QUERY, "RESPONSEFORMAT": "csv"}
                status, _, body = self._server.get("/tap/sync", **query)
                assert status == 200, body
                row_version, fact, word, row_count = map(int, body.decode().splitlines()[1].split(","))
                versions = {row_version, fact, word}
                assert row_count == count_rows_of_version(row_version), body
            case 1:
                _, _, body = self._server.get("/tap/tables")
                text = body.decode()
                versions = {*re.findall(r"<title>Stars (\d+)</title>", text)}
                versions |= {*re.findall(r"<name>version</name>\s*<description>(\d+)</description>", text)}
            case _:
                _, _, body = self._server.send("GET", "/collections/stars", headers={"Accept": "text/html"})
                versions = {*re.findall(r"Stars (\d+)", body.decode())}
        assert len(versions) == 1, f"a mixed answer, with the versions {versions}"
        return int(versions.pop())


@contextmanager
def run_readers(pair: SitePair, read: Callable[[Site], int], *, over_http: bool) -> Iterator[VersionReaders]:
    """Read the public site in this process, or through a server with two workers."""
    with pair.open_gold(watch_for_changes=True) as gold:
        if not over_http:
            with VersionReaders(gold, read) as readers:
                yield readers
            return
        with serve_site(pair.gold, workers=2) as server, HttpReaders(gold, server) as readers:
            yield readers


PLANETS = """\
collection: planets
title: Planets {version}
tables:
  main:
    primary: id
    columns:
      id: {{type: int32}}
      version: {{type: int32, description: "{version}"}}
    source: {{kind: csv, files: planets.csv}}
"""
PLANET_QUERY = """\
SELECT p.version AS planet, f.version AS star, c.description AS planet_word, d.description AS star_word
FROM planets.main AS p, stars.facts AS f, TAP_SCHEMA.columns AS c, TAP_SCHEMA.columns AS d
WHERE p.id = 1 AND c.table_name = 'planets.main' AND c.column_name = 'version'
AND d.table_name = 'stars.main' AND d.column_name = 'version'
"""


def write_planets(pair: SitePair, version: int) -> None:
    directory = pair.dev / "collections/planets"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "planets.yaml").write_text(PLANETS.format(version=version))
    (directory / "planets.csv").write_text(f"id,version\n1,{version}\n2,0\n")


def read_both_versions(site: Site) -> int:
    """Return the version of stars; planets must be of the same one, in one answer and in one published state."""
    version = read_version(site)
    (row,) = ask(site, PLANET_QUERY)
    assert len({row["planet"], row["star"], int(row["planet_word"]), int(row["star_word"])}) == 1, f"mixed: {row}"
    titles = {site_resource.title.split()[1] for site_resource in site.get_published_state().resources.values()}
    assert len(titles) == 1, f"titles of several versions: {titles}"
    return version


def promote_beside_readers(
    pair: SitePair,
    promotion_count: int,
    kill_count: int,
    *,
    has_planets: bool = False,
    by_address: bool = False,
    over_http: bool = False,
) -> None:
    """Promote versions one after the other, kill some of the promotions, and check all answers of readers."""
    names = ("planets", "stars") if has_planets else ("stars",)
    read = read_both_versions if has_planets else read_version
    pair.publish_version(1)
    if has_planets:
        write_planets(pair, 1)
        with pair.open_dev() as dev:
            ingest_collection(dev, "planets")
    with pair.open_dev() as dev, run_children(pair, names, by_address=by_address) as promote:
        calls = promote()["calls"]
        due_count = killed_count = 0
        with run_readers(pair, read, over_http=over_http) as readers:
            for number in range(2, promotion_count + 1):
                pair.write_version(number)
                ingest_collection(dev, "stars")
                if has_planets:
                    write_planets(pair, number)
                    ingest_collection(dev, "planets")
                if number * kill_count // promotion_count > (number - 1) * kill_count // promotion_count:
                    due_count += 1
                    # every second kill is in the last quarter, where rows are staged and published
                    share = due_count / (kill_count + 1)
                    killed_count += promote(int(calls * (share if due_count % 2 else 0.75 + share / 4)))["killed"]
                    with pair.open_gold() as site:
                        assert read(site) in {number - 1, number}, "the old version or the new one"
                promote()
                with pair.open_gold() as site:
                    assert read(site) == number, "the next try succeeds"
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
        pinned = {Path(record.provenance[PINNED_DIRECTORY_KEY]).name for record in records}
        assert {path.name for path in (pair.gold / "promoted/stars").iterdir()} == pinned
        return_collections(gold, names)
        assert read(gold) == promotion_count - 1


@pytest.mark.slow
def test_killed_at_any_step_no_answer_is_mixed(tmp_path: Path) -> None:
    pair = create_sites(tmp_path)
    promote_beside_readers(pair, *((200, 20) if FULL else (8, 4)))
    with pair.open_gold() as gold:
        records = gold.store.list_snapshots("stars")
        stored_names = {path.name for path in gold.settings.data_directory.glob("snapshots/stars.*/*")}
        assert stored_names == {record.id for record in records}, "killed promotions leave no rows"


@pytest.mark.slow
def test_answers_of_a_server_with_two_workers_are_never_mixed(tmp_path: Path) -> None:
    promote_beside_readers(create_sites(tmp_path), *((200, 20) if FULL else (6, 3)), over_http=True)


@pytest.mark.slow
def test_several_collections_change_at_one_moment(tmp_path: Path) -> None:
    promote_beside_readers(create_sites(tmp_path), *((200, 20) if FULL else (6, 4)), has_planets=True)


@pytest.mark.slow
def test_killed_at_any_step_while_the_other_site_sends(tmp_path: Path) -> None:
    with serve_pair(tmp_path) as sites:
        promote_beside_readers(sites.pair, *((60, 20) if FULL else (6, 4)), by_address=True)


@pytest.mark.slow
@pytest.mark.outside
def test_killed_at_any_step_with_rows_in_postgresql(tmp_path: Path) -> None:
    require_plugins("engines", "postgres")
    with run_server() as address:
        pair = create_postgres_sites(tmp_path, f"postgresql://{address}", "killed")
        promote_beside_readers(pair, *((20, 10) if FULL else (5, 3)))
