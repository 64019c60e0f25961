"""A small survey for the tests of this package: rows with stages, programmes, places and times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: survey
title: A survey
tables:
  targets:
    title: Targets
    source: targets.csv
    primary: n
    max_rejects: 1
    progress: {column: state, stages: [planned, observed, reduced], by: [programme, priority], calendar: seen}
    columns:
      n: int32
      state: {type: string, label: State}
      programme: {type: string, label: {en: Programme, fr: Programme}}
      priority: {type: int16, description: Priority}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      seen: {type: timestamp, ucd: time.epoch}
  nights:
    title: Nights
    source: nights.csv
    primary: n
    progress: {calendar: mjd}
    columns: {n: int32, mjd: {type: float64, unit: d, ucd: time.epoch}}
  plain:
    source: nights.csv
    columns: {n: int32}
"""
STATES = ["planned", "observed", "reduced", "lost", ""]
Row = tuple[int, str, str, str, float, float, datetime | None]


def make_rows(count: int = 400) -> list[Row]:
    """Make up rows; some have no state, a state that is not listed, no programme, or no time."""
    rng = np.random.default_rng(4711)
    rows: list[Row] = []
    for number in range(count):
        state = STATES[rng.choice(5, p=[0.4, 0.3, 0.2, 0.05, 0.05])]
        programme = ["A", "B, C", "été", ""][rng.integers(4)]
        seen = datetime(2025, 12, 20) + timedelta(days=int(rng.integers(30)), hours=int(rng.integers(24)))
        latitude = float(np.degrees(np.arcsin(rng.uniform(-1, 1))))
        row = (
            number,
            state,
            programme,
            str(rng.integers(1, 12)),
            round(float(rng.uniform(0, 360)), 6),
            round(latitude, 6),
            None if state == "planned" else seen,
        )
        rows.append(row)
    return rows


def write_files(rows: list[Row]) -> dict[str, str]:
    """Write the files of the tables."""
    lines = ["n,state,programme,priority,ra,dec,seen"]
    for number, state, programme, priority, ra, dec, seen in rows:
        lines.append(f'{number},{state},"{programme}",{priority},{ra},{dec},{seen.isoformat() if seen else ""}')
    nights = "n,mjd\n1,60000.25\n2,60000.75\n3,60001.0\n4,\n"  # of 2023-02-25 and 2023-02-26
    return {"targets.csv": "\n".join(lines) + "\n", "nights.csv": nights}


@contextmanager
def open_survey(directory: Path, rows: list[Row], **settings: Any) -> Iterator[tuple[Site, Client]]:
    """Open a site with the survey."""
    with open_site_with_uningested_files(directory, DESCRIPTOR, write_files(rows), **settings) as site:
        report = ingest_collection(site, "survey")
        assert report.published, report.error
        yield site, Client(create_and_start_application(site))
