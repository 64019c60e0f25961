"""HAPI: samples of a table as binary and CSV, beside what the CDF library and Arrow do with the same arrays; documents of a site with a thousand data sets.

Times are the processor's, of all threads: the machine may have other things to do. Binary goes through a pipe to somebody who takes it, ours and
that of the CDF library in turn: /dev/null takes no bytes, and the second of two readings finds the memory of the first. CSV goes to /dev/null.
Where pycdfpp is installed, which maps files and copies, it is a reference beside cdflib, which is the library that Hven uses.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import cdflib
import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

try:
    import pycdfpp
except ImportError:  # no need of Hven's
    pycdfpp = None

from bench.measure import Journey, against

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.plugins.series import sample_sets
from hven.plugins.series.hapi.output_rows import OUTPUT_FORMATS
from hven.plugins.series.reader_view import ReaderView
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

START = int(np.datetime64("2003-10-28T00:00:00.123", "us").astype(np.int64))
SETS = 1000
TABLE = """\
collection: {name}
title: Samples
description: Samples
tables:
"""
ONE = """\
  t{at}:
    description: Samples
    source: {{kind: parquet, files: {files}}}
    follow: true
    columns: {{time: {{ucd: time.epoch}}}}
    series: {{cadence: 1 s}}
"""
NAMES = ("a", "b", "c")


class SampleReadingContext:
    """What the reading of samples asks of a site."""

    def __init__(self, site: Site) -> None:
        self.site, self.policies = site, DEFAULT_POLICIES


def best(work: Callable[[], object], tries: int = 3) -> float:
    """Measure the processor's seconds of the fastest of several."""
    found = []
    for _ in range(tries):
        begun = process_time()
        work()
        found.append(process_time() - begun)
    return min(found)


def measure_cpu_seconds(*works: Callable[[Any], None], tries: int = 5) -> list[float]:
    """Measure the processor's seconds that each needs to write to a pipe that another process empties: in turn, the fastest of several."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(tries):
        for times, work in zip(found, works, strict=True):
            taker = subprocess.Popen(["dd", "of=/dev/null", "bs=1M"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)  # fmt: skip
            begun = process_time()
            work(taker.stdin)
            times.append(process_time() - begun)
            taker.communicate()
    return [min(times) for times in found]


def libraries(paths: list[Path], names: tuple[str, ...]) -> dict[str, Callable[[Any], None]]:
    """Read arrays with the CDF libraries that there are, and write their bytes."""

    def write_with_cdflib(sink: Any) -> None:
        for path in paths:
            file = cdflib.CDF(str(path))
            for name in names:
                sink.write(np.ascontiguousarray(file.varget(name)).data)

    def write_with_pycdfpp(sink: Any) -> None:
        for path in paths:
            file = pycdfpp.load(str(path))
            for name in names:
                sink.write(np.ascontiguousarray(file[name].values).data)

    return {"cdflib": write_with_cdflib, **({"pycdfpp": write_with_pycdfpp} if pycdfpp is not None else {})}


def binaries(
    name: str, ours: Callable[[Any], None], paths: list[Path], names: tuple[str, ...], rows: int
) -> Iterator[Journey]:
    """Compare HAPI's binary with the CDF libraries."""
    known = libraries(paths, names)
    mine, *others = measure_cpu_seconds(ours, *known.values())
    for library, other in zip(known, others, strict=True):
        note = f"{rows:,} samples of {len(names) - 1} doubles and times as texts; {library} reads the same arrays and writes their bytes"
        word = name if library == "cdflib" else f"{name}-{library}"
        if name == "series.files":  # bytes: those of both come from the same files
            own, theirs = rows * (27 + 8 * (len(names) - 1)) / 1e6, rows * 8 * len(names) / 1e6
            note += f"; of samples {other / mine:.2f}"
            yield against(word, own / mine, theirs / other, 0.6, unit="MB/s", higher=True, note=note)
        else:
            yield against(word, rows / mine / 1e6, rows / other / 1e6, 0.6, unit="M/s", higher=True, note=note)


def private() -> float:
    """Measure the memory of this process that is of no file: MiB."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def request_from_app(app: Any, path: str, query: str) -> bytes:
    """Ask the application in this process."""
    sent: list[dict[str, Any]] = []

    waiting = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not waiting:  # nobody goes
            await asyncio.Event().wait()
        return waiting.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "headers": [(b"host", b"127.0.0.1")], "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "scheme": "http", "root_path": "",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return b"".join(message.get("body", b"") for message in sent)


def run(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    """Measure samples and documents."""
    names = (
        "series.hapi-binary-pycdfpp",
        "series.hapi-csv",
        "series.hapi-memory",
        "series.hapi-relations",
        "series.hapi-info",
        "series.hapi-catalog",
    )
    if not any(only in name for name in names):
        return
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "hven.toml").touch()
        if any(only in name for name in names[:4]):
            yield from _samples(directory, only, 10_000_000 if big else 2_000_000)
        if any(only in name for name in names[4:]):
            yield from _documents(directory, only)


def _samples(directory: Path, only: str, rows: int) -> Iterator[Journey]:
    rng = np.random.default_rng(1)
    folder = directory / "collections/samples"
    folder.mkdir(parents=True)
    times = START + np.arange(rows) * 1_000_000
    values = {name: rng.normal(size=rows) for name in NAMES}
    table = pa.table({"time": pa.array(times).cast(pa.timestamp("us")), **values})
    pq.write_table(table, folder / "samples.parquet", row_group_size=500_000)
    (folder / "samples.yaml").write_text(TABLE.format(name="samples") + ONE.format(at=0, files="samples.parquet"))
    reference = directory / "samples.cdf"
    file = cdflib.cdfwrite.CDF(reference, cdf_spec={"Compressed": 0})
    for name, data, kind in (("time", times, 33), *((name, one, 45) for name, one in values.items())):
        spec = {
            "Variable": name,
            "Data_Type": kind,
            "Num_Elements": 1,
            "Rec_Vary": True,
            "Dim_Sizes": [],
            "Compress": 0,
        }
        file.write_var(spec, var_data=data)
    file.close()
    sink = Path(os.devnull).open("wb")  # noqa: SIM115  (closed below)

    def write_with_arrow() -> None:
        pv.write_csv(table, sink, pv.WriteOptions(include_header=False))

    with sink, Site(settings.load_settings(directory), watch_for_changes=False) as site:
        ingest_collection(site, "samples")
        around: Any = SampleReadingContext(site)
        view = ReaderView(around, ANONYMOUS_PRINCIPAL, site.get_published_state())
        one = sample_sets.list_data_sets(view, "hapi")["samples_t0"]
        span = sample_sets.find_time_extent(view, one)
        assert span is not None
        before, most = private(), 0.0

        def ours(kind: str) -> Callable[[Any], None]:
            def write(sink: Any) -> None:
                nonlocal most
                batches = sample_sets.read_samples(view, one, NAMES, start=span.start, stop=span.stop)
                for at, piece in enumerate(OUTPUT_FORMATS[kind][1](batches, [one.time, *one.parameters], None)):
                    sink.write(piece)
                    if not at % 20:
                        most = max(most, private() - before)

            return write

        if only in "series.hapi-binary-pycdfpp" or only in "series.hapi-memory":
            yield from binaries("series.hapi-binary", ours("binary"), [reference], ("time", *NAMES), rows)
        if only in "series.hapi-csv" or only in "series.hapi-memory":
            mine = best(lambda: ours("csv")(sink), 1)
            note = f"{rows:,} samples of 3 doubles; the reference is the CSV writer of Arrow, of arrays in memory"
            yield against("series.hapi-csv", rows / mine / 1e6, rows / best(write_with_arrow, 1) / 1e6, 0.5, unit="M/s", higher=True, note=note)  # fmt: skip
        if only in "series.hapi-relations":
            app = create_and_start_application(site)
            linked = json.loads(request_from_app(app, "/hapi/info", "dataset=samples_t0"))["x_relations"][-1]
            info = json.loads(request_from_app(app, "/hapi/info", f"dataset={linked['id']}"))
            query = f"dataset={linked['id']}&start={info['startDate']}&stop={info['stopDate']}&format=binary"
            size, whole = len(request_from_app(app, "/hapi/data", query)), rows * (27 + 8 * len(NAMES))
            note = f"{linked['cadence']} instead of all {rows:,} samples"
            yield against("series.hapi-relations", size / 1e6, whole / 1e6, 0.01, unit="MB", note=note)
        if only in "series.hapi-memory":
            yield against(
                "series.hapi-memory",
                most,
                300,
                1.0,
                unit="MiB",
                note="what binary and CSV take beside what the process had",
            )


def _documents(directory: Path, only: str) -> Iterator[Journey]:
    folder = directory / "collections/many"
    folder.mkdir(parents=True)
    few = pa.table(
        {"time": pa.array(START + np.arange(100) * 1_000_000).cast(pa.timestamp("us")), "a": np.arange(100.0)}
    )
    pq.write_table(few, folder / "few.parquet")
    parts = (ONE.format(at=at, files="few.parquet") for at in range(SETS))
    (folder / "many.yaml").write_text(TABLE.format(name="many") + "".join(parts))
    with Site(settings.load_settings(directory), watch_for_changes=False) as site:
        ingest_collection(site, "many")
        app = create_and_start_application(site)
        for name, path, query, most in (
            ("series.hapi-info", "/hapi/info", "dataset=many_t500", 5.0),
            ("series.hapi-catalog", "/hapi/catalog", "", 50.0),
        ):
            if only in name:
                size = len(request_from_app(app, path, query))
                mine = best(lambda path=path, query=query: request_from_app(app, path, query), 10) * 1000  # type: ignore[misc]
                yield against(name, mine, most, 1.0, unit="ms", note=f"{size:,} bytes, of {SETS:,} data sets; the reference is what it may take")  # fmt: skip


__all__ = ["run"]
