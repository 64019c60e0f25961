"""Compare the 2,000 tables of a site, each with 50 columns (group compare): the page, its JSON, and the command.

Times are processor times, so other programs on the machine hardly change them.
"""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import CACHE, HVEN, Journey, against

COLLECTIONS, TABLES, COLUMNS = 20, 100, 50  # tables of each collection, columns of each table
MAX_SECONDS = 1.0
ROUNDS = 3
UNITS = ("deg", "mag", "km/s", "km.s**-1", "mas/yr", "Jy", "d", "")
UCDS = ("pos.eq.ra", "phot.mag;em.opt.V", "meta.id", "time.epoch", "")
TYPES = ("float64", "float32", "int32", "string")
SHARED_COLUMNS = 40  # whose names all tables have; the others have names of their own


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    site = CACHE / "compare"
    if not (site / "ready").exists():
        publish_tables(site)
    if only in "compare.page":
        yield from measure_pages(site)
    if only in "compare.command":
        yield measure_command(site)


def publish_tables(site: Path) -> None:
    """Publish the tables, each with one row."""
    shutil.rmtree(site, ignore_errors=True)
    chance = random.Random(46)
    for number in range(COLLECTIONS):
        name = f"survey{number}"
        folder = site / "collections" / name
        folder.mkdir(parents=True)
        lines = [f"collection: {name}", f"title: Survey {number}", "tables:"]
        for table_number in range(TABLES):
            lines += [f"  t{table_number}:", f"    source: t{table_number}.csv", "    columns:"]
            names = [f"c{position}" for position in range(SHARED_COLUMNS)]
            names += [f"own{number}_{table_number}_{position}" for position in range(COLUMNS - SHARED_COLUMNS)]
            for position, column in enumerate(names):
                unit, ucd = chance.choice(UNITS), chance.choice(UCDS)
                description = f"Column {position} of the table {table_number}, as the survey measured it"
                lines.append(
                    f"      {column}: {{type: {chance.choice(TYPES)}, unit: '{unit}', ucd: '{ucd}', "
                    f"description: '{description}'}}"
                )
            (folder / f"t{table_number}.csv").write_text(f"{','.join(names)}\n{','.join(['1'] * COLUMNS)}\n")
        (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")
    (site / "hven.toml").write_text('name = "compare"\n')
    for number in range(COLLECTIONS):
        subprocess.run([HVEN, "ingest", f"survey{number}", "--site", site], check=True, capture_output=True)
    (site / "ready").touch()


def measure_pages(directory: Path) -> Iterator[Journey]:
    """Request the page of all collections, and its JSON."""
    from asgi_client import Client

    from hven.app._server import create_application
    from hven.model.settings import load_settings
    from hven.site import Site

    with Site(load_settings(directory)) as site:
        client = Client(create_application(site))
        client.get("/compare", model="survey0.t0")
        for path in ("/compare", "/compare.json", "/compare/differences"):
            seconds = []
            for _ in range(ROUNDS):
                begin = time.process_time()
                answer = client.ask("GET", path, headers={"accept": "text/html" if path == "/compare" else "*/*"})
                seconds.append(time.process_time() - begin)
                if answer.status != 200:
                    raise AssertionError(f"{path}: {answer.status}")
            note = (
                f"{COLLECTIONS * TABLES:,} tables of {COLUMNS} columns; processor time; {len(answer.body) >> 10:,} KiB"
            )
            note += f"; first {seconds[0]:.2f} s, then {min(seconds[1:]):.2f} s"
            yield against(f"compare.page {path}", max(seconds), MAX_SECONDS, 1.0, unit="s", note=note)


def measure_command(directory: Path) -> Journey:
    """Run ``hven compare`` with all collections."""
    names = [f"survey{number}" for number in range(COLLECTIONS)]
    seconds = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [HVEN, "compare", *names, "--site", directory, "--fail-on", "", "--format", "csv"]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    note = f"{COLLECTIONS * TABLES:,} tables of {COLUMNS} columns; processor time with the start of Python"
    line_count = output.count(b"\n")
    note += f"; {line_count:,} lines of differences"
    return against("compare.command", min(seconds), MAX_SECONDS, 1.0, unit="s", note=note)
