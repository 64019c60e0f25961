"""What `hven doctor` takes on a site of 50 collections: processor time, and time until its answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.measure import CACHE, Journey, against, build_server_environment

SITE = CACHE / "site-doctor"
COLLECTION_COUNT, ROW_COUNT = 50, 200
ROUNDS = 3
MAX_SECONDS = 3.0
NAMES = ("doctor.processor", "doctor.answer")
NEEDS: dict[str, tuple[str, ...]] = {}
DESCRIPTOR = """\
collection: c{number:02}
title: Collection {number}
sync: {{every: 1 d}}
tables:
  main:
    primary: [id]
    source: {{kind: csv, files: rows.csv}}
    columns:
      id: {{type: int32, ucd: meta.id;meta.main}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run all journeys if the name of one has `only` in it: they come from one measurement."""
    if not any(only in name for name in NAMES):
        return
    make_site()
    figures = [run_doctor() for _ in range(ROUNDS)]
    processor_seconds, answer_seconds = (min(times) for times in zip(*figures, strict=True))
    note = f"{COLLECTION_COUNT} collections, the lowest of {ROUNDS} runs of the command with its default time limit"
    yield against("doctor.processor", processor_seconds, MAX_SECONDS, 1.0, unit="s", note=f"processor time; {note}")
    yield against("doctor.answer", answer_seconds, MAX_SECONDS, 1.0, unit="s", note=f"until the command ends; {note}")


def run_doctor() -> tuple[float, float]:
    """Run the command, and return its processor time and the time until it ends (seconds)."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "hven", "--site", str(SITE), "doctor", "--json"],
        stdout=subprocess.PIPE,
        env=build_server_environment(),
    )
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    subjects = {finding["check"] for finding in report["findings"]}
    if subjects != {"collections"}:  # no server runs the schedules
        raise RuntimeError(json.dumps(report, indent=1))
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - begun


def make_site() -> None:
    """Make a site with collections that have schedules."""
    from hven.ingest.api.runs import ingest_collection
    from hven.model.settings import load_settings
    from hven.site import Site

    if (SITE / "made").exists():
        Site(load_settings(SITE)).close()  # an earlier version may have made it: the doctor upgrades no system state
        return
    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir(parents=True)
    (SITE / "hven.toml").write_text('name = "doctor"\n')
    rows = "".join(f"{number},{number * 1.7 % 360:.3f},{number * 0.4 - 40:.3f}\n" for number in range(ROW_COUNT))
    for number in range(COLLECTION_COUNT):
        directory = SITE / f"collections/c{number:02}"
        directory.mkdir(parents=True)
        (directory / "rows.csv").write_text(f"id,ra,dec\n{rows}")
        (directory / f"c{number:02}.yaml").write_text(DESCRIPTOR.format(number=number))
    with Site(load_settings(SITE)) as site:
        for number in range(COLLECTION_COUNT):
            ingest_collection(site, f"c{number:02}")
    (SITE / "var").chmod(0o700)
    (SITE / "made").touch()
