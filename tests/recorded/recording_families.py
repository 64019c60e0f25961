"""The families of recorded answers: the site of the matrix of rights, the demo, each example, the command line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import make_stored_site as stored
from demo_data import make_demo
from fixed_time import INSTANT_SECONDS, hold_time
from route_recorder import Recorder, record_rights, record_site
from verb_recorder import record_verbs

from example_sites import list_examples, prepare_example
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site

EXCLUDED_EXAMPLES = {  # example -> what it needs
    "04-omega-cubes-and-maps": "a PostgreSQL server",
    "24-obsportal": "a fixed order: its rows are stored as their documents come",
    "20-from-servers": "a driver of ODBC, and servers whose ports stand in its rows",
    "30-from-dachs": "a driver of ODBC, and servers whose ports stand in its rows",
}


def list_families() -> dict[str, Callable[[Path], dict[str, list[str]]]]:
    """Return the function that records each family in a directory, by name."""
    families: dict[str, Callable[[Path], dict[str, list[str]]]] = {
        "verbs": record_verbs,
        "stored-site": record_stored_site,
        "rights": record_rights,
        "demo": record_demo,
    }
    for name in list_examples():
        if name not in EXCLUDED_EXAMPLES:
            families[f"example-{name}"] = record_example(name)
    return families


def record_family(family: str, directory: Path) -> dict[str, list[str]]:
    """Record the answers of a family at the fixed time."""
    with hold_time():
        return list_families()[family](directory)


def record_stored_site(directory: Path) -> dict[str, list[str]]:
    """Record the answers of the stored site."""
    site_directory = directory / "site"
    stored.unpack_site(site_directory)
    facts = json.loads(stored.FACTS.read_text(encoding="utf-8"))
    with stored.open_site(site_directory) as (site, client):
        token = site.store.users.renew_token_and_end_sessions("anna")
        answers = record_site(site, site_directory)
        recorder = Recorder(site, site_directory, answers, {facts["result"]: "/results/RESULT", token: "TOKEN"})
        for key, answer in stored.ask_stored(client, facts, token):
            recorder.keep(key, answer)
    return answers


def record_example(name: str) -> Callable[[Path], dict[str, list[str]]]:
    """Return the function that records an example."""

    def record(directory: Path) -> dict[str, list[str]]:
        shutil.copytree(prepare_example(name), directory / name)
        return record_directory(directory / name)

    return record


def record_demo(directory: Path) -> dict[str, list[str]]:
    """Record the demo with made-up data."""
    make_demo(directory / "demo")
    return record_directory(directory / "demo")


def record_directory(directory: Path) -> dict[str, list[str]]:
    """Publish all collections of a directory and record the answers of its site."""
    for path in sorted(directory.rglob("*")):
        os.utime(path, (INSTANT_SECONDS - 86_400, INSTANT_SECONDS - 86_400))
    with Site(settings.load_settings(directory)) as site:
        paths = sorted(directory.glob("collections/*/*.yaml"))
        # a match comes after the tables that it reads
        for path in sorted(paths, key=lambda path: "kind: match" in path.read_text(encoding="utf-8")):
            report = ingest_collection(site, path.stem)
            assert report.published, f"{path.stem}: {report.error}"
        site.refresh_published_state()
        return record_site(site, directory)
