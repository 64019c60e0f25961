"""VOTables with many groups (group votables): from the file to the table and TAP_SCHEMA, and back with the source's names.

Times are processor times of all threads and ended child processes, so other programs on the machine hardly change them.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench.measure import HVEN, Journey, against

from hven.formats import ResultStatus, TableMetadata
from hven.formats.votable import read_votable, write_votable
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.model.table import Column, ColumnGroup
from hven.model.types import parse_type
from hven.query import build_result_metadata, run_query
from hven.site import Site

ROWS, COLUMNS, BATCH_ROWS = 475_000, 100, 25_000
MAX_SECONDS = {"BINARY2": 5.0, "TABLEDATA": 60.0}
MAX_HEAD_MILLISECONDS = 50.0
HEAD_ROUNDS = 20
QUANTITIES = COLUMNS // 4  # each has a value, an error, an origin and a confidence


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only in "votables.ingest":
        yield from measure_ingests()


def read_processor_seconds() -> float:
    """Return the processor time of this process, and of its child processes that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def describe_stars() -> TableMetadata:
    """Describe a table as SearchCal's: quantities with their origins and confidences, in groups."""
    columns = [Column(name="id", type=parse_type("int32"), ucd="meta.id;meta.main", required=True)]
    roles_by_group = {"key": {"id": "id"}}
    for number in range(QUANTITIES):
        name = f"q{number}"
        quantity = [
            Column(name=name, unit="mag", ucd=f"PHOT_{number}", description=f"Quantity {number}"),
            Column(name=f"e_{name}", type=parse_type("float32"), unit="mag", ucd=f"ERROR_{number}"),
            Column(name=f"{name}.origin", type=parse_type("int16"), display="hidden"),
            Column(name=f"{name}.confidence", type=parse_type("int16"), display="hidden"),
        ]
        columns += quantity
        for part in range(4):
            roles_by_group[f"g{number}_{part}"] = {column.name: column.name for column in quantity[: part + 1]}
    columns = columns[:COLUMNS]
    names = {column.name for column in columns}
    groups = [
        ColumnGroup(name=name, roles=roles)
        for name, roles in roles_by_group.items()
        if names.issuperset(roles.values())
    ]
    return TableMetadata(columns=tuple(columns), name="stars", groups=groups, includes_query_status=False)


def write_stars(path: Path, serialization: str) -> None:
    """Write the rows: magnitudes of three decimals, and codes."""
    metadata = describe_stars()
    schema = pa.schema([column.arrow_field for column in metadata.columns])
    chance = np.random.default_rng(1)

    def build_batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, ROWS, BATCH_ROWS):
            arrays = [pa.array(np.arange(first, first + BATCH_ROWS, dtype=np.int32))]
            for column in metadata.columns[1:]:
                if column.type.is_integer:
                    arrays.append(pa.array(chance.integers(0, 30, BATCH_ROWS).astype(np.int16)))
                else:
                    values = np.round(chance.normal(10, 3, BATCH_ROWS), 3)
                    arrays.append(pa.array(values, mask=values < 5).cast(column.type.arrow))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    with path.open("wb") as file:
        for piece in write_votable(metadata, build_batches(), ResultStatus, {"serialization": serialization}):
            file.write(piece)


def measure_ingests() -> Iterator[Journey]:
    """Ingest the draft of ``hven new`` in both serializations, and write the head of an answer with the source's names.

    The draft takes over the groups, so that the table and TAP_SCHEMA have them.
    """
    note = f"{ROWS:,} rows of {COLUMNS} columns, {len(describe_stars().groups)} groups; processor time"
    for serialization, limit in MAX_SECONDS.items():
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "collections/stars/stars.vot"
            path.parent.mkdir(parents=True)
            (Path(place) / "hven.toml").touch()
            write_stars(path, serialization)
            command = [HVEN, "new", "stars", "--from", path, "--site", place]
            subprocess.run(command, check=True, capture_output=True)
            yield from measure_ingest(Path(place), path, serialization, limit, note)


def measure_ingest(place: Path, path: Path, serialization: str, limit: float, note: str) -> Iterator[Journey]:
    """Ingest one file."""
    with Site(load_settings(place)) as site:
        begin = read_processor_seconds()
        with path.open("rb") as file:
            for _ in read_votable(file).batches:
                pass
        read_seconds = read_processor_seconds() - begin
        begin = read_processor_seconds()
        report = ingest_collection(site, "stars")
        seconds = read_processor_seconds() - begin
        ((name, table_report),) = report.tables.items()
        site.refresh_published_state()
        table = site.get_published_state().tables_by_name[name].table
        if (table_report.published, len(table.groups)) != (ROWS, len(describe_stars().groups)):
            message = f"{serialization}: {table_report.published} rows and {len(table.groups)} groups are published"
            raise AssertionError(message)
        size = f"{path.stat().st_size >> 20} MiB, read alone in {read_seconds:.1f} s"
        yield against(f"votables.ingest.{serialization.lower()}", seconds, limit, 1.0, unit="s", note=f"{note}; {size}")
        if serialization == "BINARY2":
            yield measure_head(site, name)


def measure_head(site: Site, name: str) -> Journey:
    """Write an answer of one row with the names of the source."""
    with run_query(f"SELECT TOP 1 * FROM {name}", site=site) as result:
        metadata = build_result_metadata(result)
        batches = list(result.iterate_batches())
    begin = read_processor_seconds()
    for _ in range(HEAD_ROUNDS):
        document = b"".join(write_votable(metadata, iter(batches), ResultStatus, {"names": "source"}))
    milliseconds = (read_processor_seconds() - begin) / HEAD_ROUNDS * 1000
    note = f"an answer of one row with the names of the source, {len(document) >> 10} KiB"
    return against("votables.head", milliseconds, MAX_HEAD_MILLISECONDS, 1.0, unit="ms", note=note)
