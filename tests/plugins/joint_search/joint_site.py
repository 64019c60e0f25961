"""A small site for the tests of this package: two tables of observations, with other columns and units."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: oidb
title: Observations
joint_search:
  title: {en: Search observations, fr: Chercher des observations}
  tables:
    logs: {table: oidb.logs, label: {en: observation logs, fr: journaux}}
    files: {table: oidb.granules, label: OIFITS files}
  fields:
    target: target_name
    time: {columns: {logs: mjd, files: t}, label: {en: Observed, fr: Date}}
    level: {column: calib_level, colours: [0, 2]}
    category:
      columns: {logs: obs_type, files: category}
      choices: {SCIENCE: SCIENCE, CALIB: {value: CALIB, label: Calibrator}}
    availability:
      choices:
        public: {where: [{rights: public}, {release_date: <= now}]}
        embargo: {where: {release_date: "> now"}}
        request: {where: {rights: secure, release_date: "null"}}
    wave: {columns: {logs: em, files: wl}}
    subid: {}
tables:
  logs:
    title: Logs
    source: logs.csv
    primary: log
    position: [ra, dec]
    columns:
      log: string
      target_name: string
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mjd_min: {type: float64, unit: d, ucd: time.start}
      mjd_max: {type: float64, unit: d, ucd: time.end}
      calib_level: int32
      obs_type: string
      em: {type: float64, unit: um, ucd: em.wl}
      release_date: timestamp
  granules:
    title: Files
    access: {ACCESS}
    source: files.csv
    primary: id
    position: [s_ra, s_dec]
    columns:
      id: int32
      target_name: string
      s_ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      s_dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      t_min: {type: float64, unit: d, ucd: time.start}
      t_max: {type: float64, unit: d, ucd: time.end}
      calib_level: int32
      category: string
      wl: {type: float64, unit: m, ucd: em.wl}
      rights: string
      release_date: timestamp
      subid: string
"""
LOG_COUNT, FILE_COUNT = 120, 70
STARS = ["Vega", "Sirius", "CO Ori"]
PLACES = [(279.23, 38.78), (101.29, -16.72), (81.91, 11.43)]
WAVES = [1.6, 2.2, 3.5]  # micrometres


def make_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make up logs and files; Sirius has files alone."""
    logs = []
    for number in range(LOG_COUNT):
        star = number % 2 * 2
        row = {"log": f"L{number:03d}", "target_name": STARS[star], "ra": PLACES[star][0], "dec": PLACES[star][1]}
        row |= {"mjd_min": 59000 + number, "mjd_max": 59000.5 + number, "calib_level": 0}
        row |= {"obs_type": "CALIB" if number % 5 == 0 else "SCIENCE", "em": WAVES[number % 3]}
        logs.append({**row, "release_date": "2099-01-01T00:00:00" if number % 4 == 0 else "2020-01-01T00:00:00"})
    files = []
    for number in range(FILE_COUNT):
        star = number % 3
        row = {"id": number, "target_name": STARS[star], "s_ra": PLACES[star][0], "s_dec": PLACES[star][1]}
        row |= {"t_min": 59000 + 2 * number, "t_max": 59000.25 + 2 * number, "calib_level": 2 + number % 2}
        row |= {"category": "CALIB" if number % 7 == 0 else "SCIENCE", "wl": WAVES[number % 3] * 1e-6}
        row |= {"rights": "public" if number % 2 else "secure"}
        row |= {"release_date": ["", "2099-01-01T00:00:00", "2020-01-01T00:00:00"][number % 3]}
        files.append({**row, "subid": "A" if number % 10 == 0 else ""})
    return logs, files


def write_csv(rows: list[dict[str, Any]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n"


@contextmanager
def open_joint_site(directory: Path, access: str = "public", **settings: Any) -> Iterator[tuple[Site, Client]]:
    """Open a site with both tables."""
    logs, files = make_rows()
    csv_files = {"logs.csv": write_csv(logs), "files.csv": write_csv(files)}
    descriptor = DESCRIPTOR.replace("{ACCESS}", access)
    with open_site_with_uningested_files(directory, descriptor, csv_files, **settings) as site:
        report = ingest_collection(site, "oidb")
        assert report.published, report.error
        yield site, Client(create_and_start_application(site))


def search(client: Client, *conditions: tuple[str, str]) -> dict[str, Any]:
    """Search both tables; return the answer in JSON."""
    answer = client.ask("GET", "/joint-search/oidb.json", urlencode(conditions).encode())
    assert answer.status == 200, answer.text
    content: dict[str, Any] = json.loads(answer.body)
    return content


def count(client: Client, *conditions: tuple[str, str]) -> tuple[int, int]:
    """Return the numbers of logs and files that a search finds."""
    logs, files = search(client, *conditions)["tables"]
    return logs["rows"], files["rows"]
