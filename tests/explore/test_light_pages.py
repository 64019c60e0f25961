"""Common pages load no heavy library: each worker of a server pays for it when a reader comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site

DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    description: Stars
    source: {kind: csv, files: stars.csv}
    primary: name
    position: [ra, dec]
    columns:
      name: {type: string, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      magnitude: {type: float64, unit: mag, ucd: phot.mag, description: Magnitude}
      mass: {type: float64, unit: solMass, ucd: phys.mass, description: Mass}
      size: {type: float64, unit: kbyte, ucd: phys.size;meta.file, description: Size of the file}
      pressure: {type: float64, unit: hPa, ucd: phys.pressure, description: Pressure}
      field: {type: float64, unit: nT, ucd: phys.magField, description: Magnetic field}
"""
HEAVY_LIBRARIES = ("astropy", "matplotlib", "mocpy", "scipy", "shapely")
ASK = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from asgi_client import Client
from hven.app._server.application import create_and_start_application
from hven.model.settings import Settings
from hven.site import Site

with Site(Settings(directory=Path(sys.argv[1])), watch_for_changes=False) as site:
    client = Client(create_and_start_application(site))
    for address in sys.argv[3:]:
        answer = client.ask("GET", address)
        assert answer.status == 200, (address, answer.status)
        print(address, *sorted(set(LIBRARIES) & sys.modules.keys()))
"""
ADDRESSES = (
    "/",
    "/collections/stars",
    "/collections/stars/main",
    "/collections/stars/main?_look=gallery",
    "/collections/stars/main/row?_row=a",
    "/search?q=stars",
    "/tap/sync?LANG=ADQL&QUERY=SELECT+*+FROM+stars.main",
    "/cone/stars.main?RA=1&DEC=2&SR=1",
)


def test_pages_of_positions_load_no_heavy_library(tmp_path: Path) -> None:
    directory = tmp_path / "collections/stars"
    directory.mkdir(parents=True)
    (directory / "stars.yaml").write_text(DESCRIPTOR)
    (directory / "stars.csv").write_text(
        "name,ra,dec,magnitude,mass,size,pressure,field\na,1.5,2.5,3,1,4,5,6\nb,200.0,-40.0,4,2,5,6,7\n"
    )
    with Site(Settings(directory=tmp_path), watch_for_changes=False) as site:
        assert ingest_collection(site, "stars").published
    program = f"LIBRARIES = {HEAVY_LIBRARIES!r}\n{ASK}"
    protocols = Path(__file__).parents[1] / "protocols"
    done = subprocess.run([sys.executable, "-c", program, tmp_path, protocols, *ADDRESSES], capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(ADDRESSES)
