"""How many files and functions of Hven a query, a page, an ingest and a check pass: few, so that the way can be read.

They are counted as the profiler of Python 3.11 reports calls. A comprehension is a function there; from 3.12 on it is
not, so that the figures are smaller.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pyarrow as pa
import pytest
from asgi_client import Client

import hven
from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.testing.site import open_tiny_site
from process_runner import run_hven

HOME = str(Path(hven.__file__).parent)
BRIGHT = Table(
    schema="bright",
    name="main",
    columns=(
        Column(name="id", type=STRING, ucd="meta.id;meta.main", description="identifier"),
        Column(name="name", type=STRING, description="name"),
        Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main", description="right ascension"),
        Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main", description="declination"),
        Column(name="vmag", unit="mag", ucd="phot.mag", description="brightness", indexed=True),
    ),
    position=("ra", "dec"),
    description="Bright stars",
)
KNOWN = "SELECT TOP 5 name, vmag FROM bright.main WHERE vmag < {} ORDER BY vmag"
NEW = "SELECT TOP 5 name, ra, dec FROM bright.main WHERE dec > 3 AND vmag < 4 ORDER BY ra"
# Files and functions on the way of a query; a server also runs those of its log.
MOST_KNOWN = (45, 180)
MOST_NEW = (70, 400)
MOST_PAGE = (120, 800)  # the page of a table that was shown before
MOST_INGEST = (280, 1700)  # a small table, in a new process; modules that are only imported are told apart
# Modules that are imported: those of the core; and for each package in use, beside its record, its keys and tables.
MOST_IMPORTED = 410
MOST_CHECK = (130, 1000)  # two small collections, in a new process
MOST_IMPORTED_BY_CHECK = 235
MOST_PACKAGE_MODULES = 1.0


def build_rows(count: int = 20_000) -> pa.Table:
    made = np.random.default_rng(3)
    return pa.table(
        {
            "id": [str(n) for n in range(count)],
            "name": [f"star {n}" for n in range(count)],
            "ra": made.uniform(0, 360, count),
            "dec": np.degrees(np.arcsin(made.uniform(-1, 1, count))),
            "vmag": made.uniform(-1, 14, count),
        }
    )


CHANGE_TASKS = {"tree", "words"}  # threads of `Site.add_change_task`, which begin at any time after a change


class CallCounter:
    """Collects the functions of Hven that are called."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str, int]] = set()

    def look(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(HOME):
            self.functions.add((code.co_filename.removeprefix(HOME), code.co_qualname, code.co_firstlineno))

    def look_in_new_thread(self, frame: FrameType, event: str, argument: object) -> None:
        """Count in a thread that began meanwhile, unless the site runs a task after a change in it."""
        if threading.current_thread().name in CHANGE_TASKS:
            sys.setprofile(None)
        else:
            self.look(frame, event, argument)

    @contextlib.contextmanager
    def count_calls(self) -> Iterator[None]:
        """Count in this thread, and in those that begin meanwhile: not in the threads of the site."""
        threading.setprofile(self.look_in_new_thread)
        sys.setprofile(self.look)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    @property
    def figures(self) -> tuple[int, int]:
        return len({file for file, *_ in self.functions}), len(self.functions)

    def list_by_file(self) -> str:
        names: dict[str, list[str]] = {}
        for file, name, _ in sorted(self.functions):
            names.setdefault(file, []).append(name)
        return "\n".join(f"{file} {len(several)}: {', '.join(several)}" for file, several in names.items())


VERB_PROGRAM = """
import json, sys, threading
home, functions, modules, package_modules = sys.argv[1], set(), set(), set()

def look(frame, event, _):
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(home):
        return
    if code.co_name == "<module>" and not code.co_filename.endswith(("plugin.py", "__init__.py")):
        (package_modules if "/hven/plugins/" in code.co_filename else modules).add(code.co_filename)
    elif code.co_flags & 2:  # a function has new locals, the body of a class has not
        functions.add((code.co_filename.removeprefix(home), code.co_qualname, code.co_firstlineno))

sys.setprofile(look)
threading.setprofile(look)
sys.argv = ["hven", *sys.argv[2:]]
import hven.app
code = hven.app.main()
sys.setprofile(None)
print(json.dumps({"code": code, "modules": len(modules), "package_modules": len(package_modules), "functions": sorted(functions)}), file=sys.stderr)
"""


@pytest.fixture
def client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Client]:
    caplog.set_level(logging.INFO, "hven.access")
    with open_tiny_site(tmp_path / "site", {"bright.main": (BRIGHT, build_rows())}, watch=True) as site:
        yield Client(create_and_start_application(site))


def test_the_way_of_a_query_is_short(client: Client) -> None:
    """As `journeys` of the tracker: the figures of a new shape include those of the known one before it."""

    def ask(query: str) -> None:
        answer = client.get("/tap/sync", LANG="ADQL", QUERY=query)
        assert (answer.status, answer.body.count(b"<FIELD")) == (200, query.partition(" FROM ")[0].count(",") + 1)

    ask("SELECT TOP 1 name FROM bright.main WHERE ra > 1 AND dec > 2")  # what a process does once is done
    for magnitude in range(3, 8):
        ask(KNOWN.format(magnitude))
    counter = CallCounter()
    with counter.count_calls():
        ask(KNOWN.format(12))
    known = counter.figures
    assert known[0] <= MOST_KNOWN[0], counter.list_by_file()
    assert known[1] <= MOST_KNOWN[1], counter.list_by_file()
    with counter.count_calls():
        ask(NEW)
    new = counter.figures
    print("known", known, "new", new)
    assert new[0] <= MOST_NEW[0], counter.list_by_file()
    assert new[1] <= MOST_NEW[1], counter.list_by_file()


def test_the_way_of_a_page_is_short(client: Client) -> None:
    for _ in range(3):
        assert client.get("/collections/bright/main").status == 200
    counter = CallCounter()
    with counter.count_calls():
        assert client.get("/collections/bright/main").status == 200
    files, functions = counter.figures
    print("page", counter.figures)
    assert files <= MOST_PAGE[0], counter.list_by_file()
    assert functions <= MOST_PAGE[1], counter.list_by_file()


def add_small_collection(site: Path, name: str) -> None:
    stars = site / f"{name}.csv"
    rows = (f"{n},{n * 0.17 % 360:.4f},{n * 0.09 % 180 - 90:.4f},{n % 17}" for n in range(2000))
    stars.write_text("\n".join(["id,ra,dec,mag", *rows]))
    run_hven("new", name, "--from", stars, "--site", site)


def count_verb(*words: object) -> tuple[CallCounter, int]:
    """Run a verb in a new process; return the functions that it calls, and the number of modules that it imports."""
    line = [sys.executable, "-c", VERB_PROGRAM, HOME, *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["code"] == 0, done.stdout
    counter = CallCounter()
    counter.functions = {(file, name, line) for file, name, line in told["functions"]}
    package_count = len(plugins.list_plugin_packages())
    print(words[0], counter.figures, "modules", told["modules"], told["package_modules"], "of", package_count)
    assert told["package_modules"] <= MOST_PACKAGE_MODULES * package_count
    return counter, told["modules"]


def test_the_way_of_a_small_ingest_is_short(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    add_small_collection(site, "stars")
    counter, modules = count_verb("ingest", "stars", "--site", site)
    files, functions = counter.figures
    assert files <= MOST_INGEST[0], counter.list_by_file()
    assert functions <= MOST_INGEST[1], counter.list_by_file()
    assert modules <= MOST_IMPORTED


def test_the_way_of_a_small_check_is_short(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    for name in ("stars", "galaxies"):
        add_small_collection(site, name)
    counter, modules = count_verb("check", "--site", site)
    files, functions = counter.figures
    assert files <= MOST_CHECK[0], counter.list_by_file()
    assert functions <= MOST_CHECK[1], counter.list_by_file()
    assert modules <= MOST_IMPORTED_BY_CHECK
