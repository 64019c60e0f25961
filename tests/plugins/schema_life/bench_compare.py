"""Compare 2,000 tables of 50 columns (group compare): of this site and of services, as page, JSON, files and command.

Times are processor times, so other programs on the machine hardly change them.
"""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import CACHE, HVEN, Journey, against

MODELS, TABLES, COLUMNS = 5, 400, 50  # tables of each model, columns of each table
SHARED_COLUMNS = 40  # whose names all tables have; the others have names of their own
MAX_SECONDS = 1.0
ROUNDS = 3
UNITS = ("deg", "mag", "km/s", "km.s**-1", "mas/yr", "Jy", "d", "")
UCDS = ("pos.eq.ra", "phot.mag;em.opt.V", "PHOT_JHN_V", "meta.id", "time.epoch", "")
OWN_TYPES = ("float64", "float32", "int32", "string")
TYPES = ("DOUBLE", "REAL", "INTEGER", "VARCHAR")
NOTE = f"{MODELS * TABLES:,} tables of {COLUMNS} columns; processor time"
PATHS = ("/compare", "/compare.json", "/compare/differences")


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    documents = {f"/survey{number}/tables.xml": write_tables(number) for number in range(MODELS)}
    if only in "compare.own":
        yield measure_own_tables()
    if only in "compare.site":
        yield from measure_own_page()
    if only in "compare.page":
        yield from measure_pages(documents)
    if only in "compare.command":
        yield measure_command(documents)


def name_columns(model: int, table: int) -> list[str]:
    """Name the columns of a table."""
    names = [f"c{position}" for position in range(SHARED_COLUMNS)]
    return names + [f"own{model}_{table}_{position}" for position in range(COLUMNS - SHARED_COLUMNS)]


def describe_column(model: int, table: int, position: int) -> str:
    """Describe a column as a survey does."""
    return f"Column {position} of the table {table}, as survey {model} measured it"


def write_tables(model: int) -> bytes:
    """Write the tables of a service as VOSI does."""
    chance = random.Random(model)
    parts = ['<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0"><schema><name>s</name>']
    for table in range(TABLES):
        parts.append(f"<table><name>survey{model}.t{table}</name>")
        for position, name in enumerate(name_columns(model, table)):
            parts.append(
                f"<column><name>{name}</name><description>{describe_column(model, table, position)}</description>"
                f"<unit>{chance.choice(UNITS)}</unit><ucd>{chance.choice(UCDS)}</ucd>"
                f"<dataType>{chance.choice(TYPES)}</dataType></column>"
            )
        parts.append("</table>")
    return "".join([*parts, "</schema></vosi:tableset>"]).encode()


def measure_own_page() -> Iterator[Journey]:
    """Request the page of a site that publishes the tables, its JSON, and the file of differences, as anybody does."""
    sys.path[:0] = [str(Path(__file__).parents[2] / "protocols")]
    from asgi_client import Client

    from hven.app._server import create_and_start_application
    from hven.model.settings import load_settings
    from hven.site import Site

    place = CACHE / "compare"
    mark = place / f"{MODELS}-{TABLES}-{COLUMNS}"
    if not mark.exists():
        publish_tables(place)
        mark.touch()
    with Site(load_settings(place)) as site:
        client = Client(create_and_start_application(site))
        for path in PATHS:
            seconds = []
            for _ in range(ROUNDS + 1):
                begin = time.process_time()
                answer = client.ask("GET", path, headers={"accept": "text/html" if path == "/compare" else "*/*"})
                seconds.append(time.process_time() - begin)
                if answer.status != 200:
                    message = f"{path}: {answer.status} {answer.text[:200]}"
                    raise AssertionError(message)
            note = f"{NOTE} of this site; {len(answer.body) >> 10:,} KiB; the first request took {seconds[0]:.2f} s"
            yield against(f"compare.site {path}", max(seconds[1:]), MAX_SECONDS, 1.0, unit="s", note=note)


def publish_tables(place: Path) -> None:
    """Publish tables with one row, in a collection for each model: a table without rows is refused."""
    shutil.rmtree(place, ignore_errors=True)
    chance = random.Random(46)
    (place / "hven.toml").parent.mkdir(parents=True)
    (place / "hven.toml").write_text('name = "compare"\n')
    for model in range(MODELS):
        folder = place / "collections" / f"survey{model}"
        folder.mkdir(parents=True)
        lines = [f"collection: survey{model}", "title: Survey", "tables:"]
        for table in range(TABLES):
            names = name_columns(model, table)
            (folder / f"t{table}.csv").write_text(f"{','.join(names)}\n{','.join('0' * len(names))}\n")
            lines += [f"  t{table}:", f"    source: {{kind: csv, files: t{table}.csv}}", "    columns:"]
            for position, name in enumerate(names):
                unit, ucd = chance.choice(UNITS), chance.choice(UCDS)
                keys = f"type: {chance.choice(OWN_TYPES)}, description: '{describe_column(model, table, position)}'"
                keys += f", unit: {unit}" if unit else ""
                keys += f", ucd: {ucd}" if ucd else ""
                lines.append(f"      {name}: {{{keys}}}")
        (folder / f"survey{model}.yaml").write_text("\n".join(lines) + "\n")
        subprocess.run([HVEN, "ingest", f"survey{model}", "--site", place], check=True, capture_output=True)


def measure_own_tables() -> Journey:
    """Describe tables of this site, as the page does, and compare them."""
    from hven.model.table import Column, Schema, Table
    from hven.model.types import parse_type
    from hven.plugins.schema_life.described_columns import describe_all_models
    from hven.plugins.schema_life.schema_comparison import compare_models
    from hven.site import Catalogue

    chance = random.Random(46)
    types = [parse_type(name) for name in OWN_TYPES]
    schemas = []
    for model in range(MODELS):
        tables = []
        for number in range(TABLES):
            columns = [
                Column(
                    name=name,
                    type=chance.choice(types),
                    unit=chance.choice(UNITS) or None,
                    ucd=chance.choice(UCDS) or None,
                    description=describe_column(model, number, position),
                )
                for position, name in enumerate(name_columns(model, number))
            ]
            tables.append(Table(schema=f"survey{model}", name=f"t{number}", columns=tuple(columns)))
        schemas.append(Schema(name=f"survey{model}", tables=tuple(tables)))
    catalogue = Catalogue(access_key="public", schemas=tuple(schemas))
    seconds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        comparison = compare_models(describe_all_models(catalogue))
        seconds.append(time.process_time() - begin)
    note = f"{NOTE} of this site: described and compared; {len(comparison.groups):,} groups; first {seconds[0]:.2f} s"
    return against("compare.own", max(seconds), MAX_SECONDS, 1.0, unit="s", note=note)


def measure_pages(documents: dict[str, bytes]) -> Iterator[Journey]:
    """Request the page of models whose copies the site has, its JSON, and the file of differences."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "protocols")]
    from asgi_client import Client
    from schema_samples import serve_documents

    from hven.app._server import create_and_start_application
    from hven.model.settings import load_settings
    from hven.site import Site

    with serve_documents(documents) as url, tempfile.TemporaryDirectory() as place:
        (Path(place) / "hven.toml").write_text("allow_private = true\n")
        with Site(load_settings(Path(place))) as site:
            client = Client(create_and_start_application(site))
            token = site.store.users.add_account("olga")
            query = "&".join(f"model={url}{path}" for path in documents).encode()
            for path in PATHS:
                accept = "text/html" if path == "/compare" else "*/*"
                headers = {"authorization": f"Bearer {token}", "accept": accept}
                seconds = []
                for _ in range(ROUNDS + 1):
                    begin = time.process_time()
                    answer = client.ask("GET", path, query, headers=headers)
                    seconds.append(time.process_time() - begin)
                    if answer.status != 200:
                        message = f"{path}: {answer.status} {answer.text[:200]}"
                        raise AssertionError(message)
                note = f"{NOTE}; {len(answer.body) >> 10:,} KiB; the first request took {seconds[0]:.2f} s"
                yield against(f"compare.page {path}", max(seconds[1:]), MAX_SECONDS, 1.0, unit="s", note=note)


def measure_command(documents: dict[str, bytes]) -> Journey:
    """Run ``hven compare`` with the documents as files."""
    with tempfile.TemporaryDirectory() as place:
        paths = []
        for number, data in enumerate(documents.values()):
            paths.append(Path(place) / f"survey{number}.xml")
            paths[-1].write_bytes(data)
        seconds = []
        for _ in range(ROUNDS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [HVEN, "compare", *paths, "--fail-on", "", "--format", "csv"]
            output = subprocess.run(command, check=True, capture_output=True, cwd=place).stdout
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    line_count = output.count(b"\n")
    size = sum(map(len, documents.values())) >> 20
    note = f"{NOTE}, with the start of Python and {size} MiB of XML; {line_count:,} lines of differences"
    return against("compare.command", min(seconds), MAX_SECONDS, 1.0, unit="s", note=note)
