"""Deliver tables of 100 columns to CDS and AAS (group exports): the time of 2.5 million rows, and that memory stays flat.

Times are processor times, so other programs on the machine hardly change them.
"""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench.measure import CACHE, HVEN, Journey, against
from pyarrow import parquet

ROWS = {"large": 2_500_000, "small": 250_000}
COLUMNS, BATCH_ROWS = 100, 50_000
MAX_SECONDS = 180.0
MAX_MEMORY_RATIO = 1.2  # of ten times as many rows
TARGETS = ("cds", "mrt")
POLL_SECONDS = 0.1
_OWN_MEMORY_PATTERN = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    targets = [target for target in TARGETS if only in f"exports.{target}"]
    if not targets:
        return
    site = CACHE / "exports"
    if not (site / "ready").exists():
        publish_stars(site)
    for target in targets:
        yield from measure_exports(site, target)


def publish_stars(site: Path) -> None:
    """Publish the same columns with few and with many rows."""
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    (site / "hven.toml").write_text('name = "exports"\n[limits]\nmaxrec_hard = 3000000\n')
    for name, row_count in ROWS.items():
        folder = site / "collections" / name
        folder.mkdir(parents=True)
        descriptor = f"collection: {name}\ntitle: Stars\ntables:\n  main: {{source: stars.parquet, primary: id}}\n"
        (folder / f"{name}.yaml").write_text(descriptor)
        write_stars(folder / "stars.parquet", row_count)
        subprocess.run([HVEN, "ingest", name, "--site", site], check=True, capture_output=True)
        (folder / "stars.parquet").unlink()
    (site / "ready").touch()


def write_stars(path: Path, row_count: int) -> None:
    """Write rows as catalogues have them: positions, magnitudes with errors, codes, names, times, and full doubles."""
    chance = np.random.default_rng(46)

    def build_batch(first: int) -> pa.RecordBatch:
        numbers = np.arange(first, first + BATCH_ROWS)
        columns: dict[str, pa.Array] = {
            "id": pa.array(numbers),
            "ra": pa.array(chance.uniform(0, 360, BATCH_ROWS).round(8)),
        }
        columns["dec"] = pa.array(chance.uniform(-90, 90, BATCH_ROWS).round(8))
        columns["name"] = pa.array([f"HD {number}" for number in numbers])
        columns["seen"] = pa.array(numbers * 1_000_003).cast(pa.timestamp("us"))
        columns["variable"] = pa.array(numbers % 2 == 0)
        for position in range(COLUMNS - len(columns)):
            magnitudes = chance.normal(10, 3, BATCH_ROWS)
            if position % 6 == 0:
                values = pa.array(chance.integers(0, 30, BATCH_ROWS).astype(np.int16))
            elif position % 6 == 5:
                values = pa.array(magnitudes)
            elif position % 2:
                values = pa.array(magnitudes.round(3).astype(np.float32))
            else:
                values = pa.array(magnitudes.round(3), mask=magnitudes < 5)
            columns[f"c{position}"] = values
        return pa.RecordBatch.from_pydict(columns)

    first_batch = build_batch(0)
    with parquet.ParquetWriter(path, first_batch.schema) as writer:
        writer.write_batch(first_batch)
        for first in range(BATCH_ROWS, row_count, BATCH_ROWS):
            writer.write_batch(build_batch(first))


def measure_exports(site: Path, target: str) -> Iterator[Journey]:
    """Export both tables, and compare their memory."""
    peaks = {}
    for name, row_count in ROWS.items():
        directory = CACHE / f"delivery-{name}-{target}"
        shutil.rmtree(directory, ignore_errors=True)
        process = subprocess.Popen(
            [HVEN, "export", name, directory, "--to", target, "--site", site], stdout=subprocess.DEVNULL
        )
        peaks[name], seconds = follow_process(process)
        if process.returncode:
            message = f"hven export {name} --to {target} ended with {process.returncode}"
            raise AssertionError(message)
        size = sum(path.stat().st_size for path in directory.iterdir()) >> 20
        shutil.rmtree(directory)
        if name == "large":
            note = f"{row_count:,} rows of {COLUMNS} columns; processor time; {size:,} MiB; peak {peaks[name]:.0f} MB"
            yield against(f"exports.{target}", seconds, MAX_SECONDS, 1.0, unit="s", note=note)
    yield against(
        f"exports.{target}.memory",
        peaks["large"],
        peaks["small"],
        MAX_MEMORY_RATIO,
        unit="MB",
        note=f"peak of {ROWS['large']:,} rows, and as reference that of {ROWS['small']:,} rows",
    )


def follow_process(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Wait for a process; return the peak of its own memory in MB, and its processor time.

    Pages of files that are mapped, such as those of the snapshot, do not count: the system takes them back when it likes.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0.0
    while process.poll() is None:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            match = _OWN_MEMORY_PATTERN.search(Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(match[1]) / 1024 if match else 0.0)
        time.sleep(POLL_SECONDS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return peak, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
