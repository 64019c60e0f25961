"""Old queries (group endpoints): ASPRO's POST to the old search of ObsPortal in a million headers, beside the same rows by TAP."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from bench.measure import Journey, Server, against, pairs, serve_site

from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files

EXPOSURES, TARGETS, TIMES, RADIUS, MOST = 1_000_000, 20_000, 200, 120.0, 50.0  # arcsec, ms
COLUMNS = (
    "exp_id, obs_type, obs_id, obs_program, interferometer_name, interferometer_stations, instrument_name, instrument_mode, target_name,"
    " target_ra, target_dec, exp_mjd_start, exp_mjd_end, exp_projected_baselines"
)
LOGS = f"""\
collection: logs
title: Logs
tables:
  exposures:
    source: {{kind: parquet, files: d.parquet}}
    follow: true
    primary: exp_id
    position: [target_ra, target_dec]
    columns:
      target_ra: {{type: float64, unit: deg}}
      target_dec: {{type: float64, unit: deg}}
    endpoints:
      search:
        path: /search.votable
        params:
          ra: {{type: float64, unit: deg, where: "1 = CONTAINS(POINT(target_ra, target_dec), CIRCLE(param.ra, param.dec, param.radius))"}}
          dec: {{type: float64, unit: deg}}
          radius: {{type: float64, unit: arcsec, in: deg, default: 30}}
          all_fields: {{type: boolean, columns: {{"false": [{COLUMNS}]}}}}
        votable: {{namespace: "1.4", serialization: TABLEDATA}}
"""
LENGTH = "{'length': {'start': '50.1590', 'end': '50.0840'}, 'angle': {'start': '14.6000', 'end': '15.4000'}}"
BASELINES = (
    "{" + ", ".join(f"'{pair}': {LENGTH}" for pair in ("U1-U2", "U1-U3", "U1-U4", "U2-U3", "U2-U4", "U3-U4")) + "}"
)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only in "sources.endpoint.time":
        yield from measure_old_searches()


def measure_old_searches() -> Iterator[Journey]:
    """Ask for one target after the other, by the old address and by TAP in turn."""
    chance = np.random.default_rng(1)
    places = np.column_stack([chance.random(TARGETS) * 360, np.degrees(np.arcsin(chance.random(TARGETS) * 1.6 - 0.8))])
    with tempfile.TemporaryDirectory() as place:
        with open_site_with_uningested_files(Path(place), LOGS, {}) as site:
            pa.parquet.write_table(_exposures(places), Path(place) / "collections/logs/d.parquet")
            ingest_collection(site, "logs")
        (Path(place) / "hven.toml").write_text('name = "bench"\n')
        with serve_site(Path(place)) as server:
            by_post, by_tap = _Asking(server, places), _Asking(server, places)
            for _ in range(20):
                by_post.old()
                by_tap.tap()
            value, reference, _ = pairs(by_post.old, by_tap.tap, TIMES)
    note = f"{EXPOSURES:,} headers, {by_post.rows // (TIMES + 20)} rows within {RADIUS:.0f} arcsec"
    yield against(
        "sources.endpoint", value, reference, 1.25, unit="ms", note=f"{note}; reference: the same by /tap/sync"
    )
    yield against("sources.endpoint.time", value, MOST, 1.0, unit="ms", note=f"{note}; reference: what it may take")


class _Asking:
    """One target after the other, each once."""

    def __init__(self, server: Server, places: np.ndarray) -> None:
        self._link, self._places = server.connect(), iter(places.tolist())
        self.rows = 0

    def old(self) -> float:
        ra, dec = next(self._places)
        return self._post("/search.votable", {"ra": ra, "dec": dec, "radius": RADIUS, "all_fields": "false"})

    def tap(self) -> float:
        ra, dec = next(self._places)
        where = f"1 = CONTAINS(POINT(target_ra, target_dec), CIRCLE({ra}, {dec}, {RADIUS / 3600}))"
        query = f"SELECT {COLUMNS} FROM logs.exposures WHERE {where}"
        return self._post("/tap/sync", {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "votable/td"})

    def _post(self, path: str, given: dict[str, object]) -> float:
        begun = time.perf_counter()
        self._link.request("POST", path, urlencode(given), {"content-type": "application/x-www-form-urlencoded"})
        answer = self._link.getresponse()
        body = answer.read()
        seconds, found = time.perf_counter() - begun, body.count(b"<TR>")
        if answer.status != 200 or not found:
            raise AssertionError(body[:300])
        self.rows += found
        return seconds * 1000


def _exposures(places: np.ndarray) -> pa.Table:
    numbers = np.arange(EXPOSURES)
    target = numbers % TARGETS
    names = np.array(["GRAVITY", "PIONIER", "MATISSE"])[numbers % 3]
    return pa.table(
        {
            "exp_id": [f"EXP.{number:07}" for number in numbers], "obs_type": np.array(["science", "calibrator"])[numbers % 2], "obs_id": numbers // 4,
            "obs_program": [f"0102.C-{number:04}(A)" for number in numbers % 5000], "interferometer_name": ["VLTI"] * EXPOSURES,
            "interferometer_stations": ["U1 U2 U3 U4"] * EXPOSURES, "instrument_name": names, "instrument_mode": ["HIGH-COMBINED"] * EXPOSURES,
            "target_name": [f"star {number}" for number in target], "target_ra": places[target, 0], "target_dec": places[target, 1],
            "exp_mjd_start": 58000 + numbers / 300, "exp_mjd_end": 58000 + (numbers + 1) / 300, "exp_projected_baselines": [BASELINES] * EXPOSURES,
            "exp_tau0": numbers % 7 / 1000, "exp_seeing": numbers % 5 / 5,
        }
    )  # fmt: skip
