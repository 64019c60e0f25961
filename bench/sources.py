"""Sources: Python beside a descriptor, in its own process, against the same code called in the ingest itself; a small descriptor, checked; Elasticsearch; heads of files; pushes."""

from __future__ import annotations

import importlib.util
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import yaml

from bench import documents, heads, pushes
from bench.measure import Journey, against, pairs
from hven.descriptor import check_descriptor
from hven.descriptor._merging import STANDARDS_DIRECTORY
from hven.descriptor.compiled_mapping import PythonFunctionCall
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files

ROWS, ROUNDS = 1_000_000, 3
CHECKED = 1.0
TEXT = """\
collection: stars
title: Stars
functions: f.py
tables:
  main:
    source: {kind: KIND, files: d.KIND}
    columns: {id: int64, ra: float64, dec: float64, mag: float32, name: string, seen: timestamp, b: float64}
    map: {b: "latitude(ra, dec)"}
"""
CODE = """\
import numpy as np
import pyarrow as pa


def latitude(ra, dec) -> "float64":
    a, d = np.radians(ra.to_numpy() - 192.85948), np.radians(dec.to_numpy())
    return pa.array(np.degrees(np.arcsin(np.sin(d) * 0.455984 + np.cos(d) * 0.889988 * np.cos(a))))
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for kind in ("csv", "parquet"):
        if only in f"sources.function.{kind}":
            yield function(kind)
    if only in "sources.check":
        yield measure_check()
    if only in "sources.elastic":
        yield documents.journey()
    if only in "sources.heads" or only in "sources.granules":
        yield from heads.journeys(only)
    yield from pushes.run(only)


def function(kind: str) -> Journey:
    """Ingest 10^6 rows with a function, by turns in a process of its own and in the ingest."""
    chance = np.random.default_rng(1)
    with (
        tempfile.TemporaryDirectory() as place,
        open_site_with_uningested_files(Path(place), TEXT.replace("KIND", kind), {"f.py": CODE}) as site,
    ):
        numbers = np.arange(ROWS)
        values = {
            "ra": chance.random(ROWS) * 360,
            "dec": chance.random(ROWS) * 180 - 90,
            "mag": chance.random(ROWS) * 20,
        }
        texts = {"name": [f"star {n}" for n in numbers], "seen": np.datetime64("2001-01-01T00:00:00") + numbers}
        write = pa.csv.write_csv if kind == "csv" else pa.parquet.write_table
        write(pa.table({"id": numbers, **values, **texts}), Path(place) / f"collections/stars/d.{kind}")
        ingest_collection(site, "stars")  # files are in memory now
        apart, within = [], []
        for _ in range(ROUNDS):
            apart.append(_measure_cpu_seconds(lambda: ingest_collection(site, "stars")))
            with mock.patch.object(PythonFunctionCall, "load_function", _import_function):
                within.append(_measure_cpu_seconds(lambda: ingest_collection(site, "stars")))
    value, reference = statistics.median(apart), statistics.median(within)
    return against(
        f"sources.function.{kind}",
        value,
        reference,
        1.3,
        unit="s of CPU",
        note=f"{ROWS:,} rows; {reference:.2f} s with the function in the ingest itself",
    )


def measure_check() -> Journey:
    """Check a small descriptor and the beginning of its file, as an editor or a generator of descriptors does again and again."""
    columns = "id: {type: int32, ucd: meta.id;meta.main}, ra: {type: float64, unit: deg}, dec: {type: float64, unit: deg}, mag: {type: float32, unit: mag}"
    text = f"collection: stars\ntitle: Stars\ntables:\n  main:\n    source: {{kind: csv, files: d.csv}}\n    position: [ra, dec]\n    columns: {{{columns}}}\n"
    standard = (STANDARDS_DIRECTORY / "obscore-1.1.yaml").read_text(encoding="utf-8")
    with (
        tempfile.TemporaryDirectory() as place,
        open_site_with_uningested_files(
            Path(place), text, {"d.csv": "id,ra,dec,mag\n1,10,20,3.5\n2,11,21,4.5\n"}
        ) as site,
    ):
        path = site.settings.collections_directory / "stars/stars.yaml"

        def check_changed_descriptor() -> float:
            path.write_text(text.replace("Stars", f"Stars {next(numbers)}"), encoding="utf-8")
            return _spent(lambda: check_descriptor(path, site.settings))

        numbers = itertools.count()
        faults = check_descriptor(path, site.settings)
        if faults:
            raise AssertionError(faults)
        value, reference, ratio = pairs(
            check_changed_descriptor, lambda: _spent(lambda: yaml.load(standard, yaml.CSafeLoader)), 60
        )
    return Journey(
        name="sources.check", value=value * 1000, unit="ms of CPU", reference=reference * 1000, ratio=ratio, target=CHECKED,
        note="the aim is 10 ms; the reference reads obscore-1.1.yaml with PyYAML's parser of C",
    )  # fmt: skip


def _spent(what: Callable[[], object]) -> float:
    """Count the seconds of this process, finer than the system's ticks."""
    begun = time.process_time()
    what()
    return time.process_time() - begun


def _import_function(call: PythonFunctionCall, _: object = None) -> Callable[..., Any]:
    """Import the file into this process, as a measure."""
    spec = importlib.util.spec_from_file_location("beside", str(call.path))
    if spec is None or spec.loader is None:
        raise AssertionError
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, call.name)  # type: ignore[no-any-return]


def _measure_cpu_seconds(what: Callable[[], object]) -> float:
    """Count the seconds of processors, those of processes that have ended too: others may be at work here."""
    begun = sum(os.times()[:4])
    what()
    return sum(os.times()[:4]) - begun
