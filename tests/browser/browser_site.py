"""Collections for tests in browsers: real ones from shared/data, and made-up ones with a fixed seed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import tarfile
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import hfc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from hostile_descriptor import write_descriptor
from postgres_cluster import run_cluster
from process_runner import run_hven
from shared import ROOT, shared

STARS = """\
collection: stars
title: Made stars
description: 5,000 stars of a fixed seed, some with names
subjects: [stars]
creators: [{name: Tycho Brahe}]
tables:
  main:
    title: Stars
    description: One row per star
    position: [ra, dec]
    primary: [star]
    source: {kind: csv, files: stars.csv}
    columns:
      star: {type: int32, ucd: meta.id;meta.main, description: Number, rank: 1}
      name: {type: string, ucd: meta.id, description: Common name, rank: 2}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension, rank: 1, display: .5f}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination, rank: 1, display: .5f}
      vmag: {type: float32, unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude in V, rank: 3, indexed: true}
      sp_type: {type: string, ucd: src.spType, description: Spectral type, rank: 4}
      seen: {type: timestamp, ucd: time.epoch, description: When it was seen, rank: 5}
      page: {type: string, ucd: meta.ref.url, description: Its page, rank: 6}
"""


OMEGA_REPLACEMENTS = {  # of tests/real, where each value is compared with its item: what a portal shows beside it
    "collection: psup_cubes": "collection: omega",
    "title: OMEGA data cubes (L2) of PSUP\nlicence": """title: OMEGA data cubes (L2)
description: Cubes of the reflectance of the surface of Mars. Ten of orbit 6 are PSUP's own items; those of other orbits are made up in their form.
creators: [{name: "Langevin, Y.", affiliation: IAS}]
subjects: [mars, hyperspectral imaging]
waveband: [Optical, Infrared]
facility: Mars Express
instrument: OMEGA
let: {base: https://psup.example.org/omega}
licence""",
    "title: OMEGA data cubes (L2) of PSUP": "title: OMEGA data cubes (L2)",
    "optional: [access,": "optional: [access, thumbnail_url,",
    'text: {obs_id: "{id}",': 'text: {obs_id: "{id}", thumbnail_url: "{base}/l2_thumbnail/{id}_256x256.png",',
}
AIA = """\
collection: aia
title: Images of the Sun by SDO/AIA
description: Two days in ten channels, every 12 minutes. Made up, with the keywords of a real header.
creators: [{name: AIA team, affiliation: LMSAL}]
subjects: [solar corona]
waveband: EUV
facility: SDO
instrument: AIA
tables:
  images:
    title: Images
    description: One row per image, with the keywords of its FITS header
    primary: [name]
    source: {kind: csv, files: aia.csv}
    columns:
      name: {type: string, ucd: meta.id;meta.main, required: true, description: Name of the image, rank: 1}
      date_obs: {type: timestamp, ucd: time.start;obs.exposure, description: "DATE-OBS: begin of the exposure", rank: 1, indexed: true}
      wavelnth: {type: int32, unit: Angstrom, ucd: em.wl, description: "WAVELNTH: line", rank: 1, indexed: true}
      exptime: {type: float64, unit: s, ucd: time.duration;obs.exposure, description: "EXPTIME: exposure", rank: 3, display: .4f}
      file_url: {type: string, ucd: meta.ref.url;meta.file, description: The file, rank: 4}
      remark: {type: string, ucd: meta.note, description: What was written by hand, rank: 20}
"""
KEYWORD_COLUMN = """\
      {name}: {{type: {kind}, ucd: meta, description: "{keyword}", rank: 20}}
"""
CLUSTERS = """\
collection: sz
title: Clusters of galaxies by the Sunyaev-Zeldovich effect
description: Planck's second catalogue (PSZ2), the union of its three searches.
creators: [{name: Planck Collaboration}]
subjects: [galaxy clusters, Sunyaev-Zeldovich effect]
waveband: Millimeter
facility: Planck
instrument: HFI
tables:
  clusters:
    title: Clusters
    description: One row per cluster
    position: [ra, dec]
    primary: [name]
    source: {kind: fits, files: HFI_PCCS_SZ-union_R2.08.fits}
    columns:
      name: {type: string, ucd: meta.id;meta.main, required: true, description: Name of the cluster in PSZ2, rank: 1}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension (ICRS), rank: 1, display: .5f}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination (ICRS), rank: 1, display: .5f}
      snr: {type: float32, ucd: stat.snr, description: Signal over noise, rank: 2, indexed: true, display: .2f}
      redshift: {type: float64, ucd: src.redshift, description: "Redshift, if it is known", rank: 2, display: .4f}
      mass: {type: float64, unit: 10**14solMass, ucd: phys.mass, description: "Mass within R500, if the redshift is known", rank: 2, display: .2f}
      other_name: {type: string, ucd: meta.id, description: Name in the X-ray catalogue MCXC, rank: 3}
      simbad: {type: string, ucd: meta.ref.url, description: What SIMBAD knows of it, rank: 4}
      ned: {type: string, ucd: meta.ref.url, description: What NED knows of it, rank: 4}
    text:
      simbad: "https://simbad.cds.unistra.fr/simbad/sim-id?Ident={url_encode(NAME)}"
      ned: "https://ned.ipac.caltech.edu/byname?objname={url_encode(NAME)}"
    map:
      redshift: nullif(REDSHIFT, -1)
      mass: CASE WHEN REDSHIFT > 0 THEN MSZ END
      other_name: nullif(trim(MCXC), '')
"""
RECORDS = """\
collection: records
title: Images of the Sun, all missions
description: Made up, in the form of MEDOC's holdings.
creators: [{name: MEDOC, affiliation: IAS}]
subjects: [sun]
tables:
  main:
    title: Records
    primary: [id]
    source: {kind: csv, files: records.csv}
    columns:
      id: {type: int32, ucd: meta.id;meta.main, required: true, description: Number, rank: 1}
      mission: {type: string, ucd: meta.id, description: Mission, rank: 1}
      instrument: {type: string, ucd: meta.id;instr, description: Instrument, rank: 1}
      data_set: {type: string, ucd: meta.id, description: Data set, rank: 1}
      size: {type: int32, unit: kbyte, ucd: phys.size;meta.file, description: Size, rank: 3}
"""
IS_FULL_PROOF = os.environ.get("HVEN_PROOF") == "full"
REGION_COUNT = hfc.ROWS if IS_FULL_PROOF else 110_001  # more than a plot draws one by one
HOSTILE_TEXT = "<script>evil=1</script><img src=x onerror=alert(2)>\"'{{7*7}}</textarea></title><!--"
HOSTILE_DESCRIPTOR = write_descriptor(
    HOSTILE_TEXT, columns="      big: {type: string, rank: 30}\n", files="evil.parquet"
)
PREVIEW_ORIGIN = "https://psup.example.org"
SETTINGS = f"""
origins = ["{PREVIEW_ORIGIN}"]
[tree]
levels = ["@collection", "mission|@facility", "instrument|@instrument", "data_set"]
"""
CHANNELS = (94, 131, 171, 193, 211, 304, 335, 1600, 1700, 4500)


def build_site(site: Path) -> None:
    """Build a site in a new directory and publish its collections."""
    run_hven("init", str(site))
    settings = site / "hven.toml"
    top, bracket, sections = settings.read_text().partition("\n[")
    own, _, levels = SETTINGS.partition("\n[")
    settings.write_text(f"{top}\n{own}\n[{levels}{bracket}{sections}")
    random = np.random.default_rng(2004)
    for name, make in (
        ("stars", write_star_collection),
        ("omega", write_omega_collection),
        ("aia", write_aia_collection),
        ("sz", write_cluster_collection),
        ("records", write_record_collection),
    ):
        directory = site / "collections" / name
        directory.mkdir(parents=True)
        make(directory, random)
        run_hven("--site", site, "ingest", name)
    directory = site / "collections" / "hfc1ar"
    directory.mkdir()
    (directory / "hfc1ar.yaml").write_text(hfc.DESCRIPTOR.format(engine="duckdb", sync="{deletions: compare}"))
    with run_cluster() as database:  # a PostgreSQL table, as in the HFC; it is not read after it is published
        hfc.create_table(database.url, REGION_COUNT)
        run_hven("--site", site, "ingest", "hfc1ar", HFC=database.url)


def write_csv(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def read_thumbnails() -> dict[str, bytes]:
    """Read the thumbnails of PSUP's cubes, by file name."""
    with tarfile.open(shared("data/planetary/psup/omega_catalogs.tar.xz")) as packed:
        return {
            Path(member.name).name: packed.extractfile(member).read()  # type: ignore[union-attr]
            for member in packed
            if member.name.endswith("_256x256.png")
        }


def write_omega_collection(directory: Path, random: np.random.Generator) -> None:
    """Write ten real cubes of OMEGA and 240 made-up ones of a Martian year, many in the south, with two files each."""
    text = (ROOT / "tests" / "real" / "psup_cubes" / "psup_cubes.yaml").read_text()
    for old, new in OMEGA_REPLACEMENTS.items():
        assert old in text
        text = text.replace(old, new, 1)
    (directory / "omega.yaml").write_text(text)
    with tarfile.open(shared("data/planetary/psup/omega_catalogs.tar.xz")) as packed:
        items = [
            json.load(packed.extractfile(member))  # type: ignore[arg-type]
            for member in packed
            if "/omega_data_cubes/0" in member.name and member.isfile()
        ]
    assert len(items) == 10
    for number in range(240):
        pattern = items[number % 10]
        orbit, cube = 18 + 11 * number, number % 3
        name = f"{orbit:04d}_{cube}"
        west = round(random.uniform(-170, 165), 3)
        south = round(random.uniform(-88, -66) if number % 3 else random.uniform(-60, 70), 3)
        box = [west, south, round(west + random.uniform(4, 9), 3), round(south + random.uniform(2, 5), 3)]
        about = {
            **pattern["properties"],
            "orbit_number": f"{orbit:04d}",
            "cube_number": cube,
            "solar_longitude": round((330.2 + 1.51 * number) % 360, 4),
        }
        about |= {"data_quality": int(random.integers(0, 4)), "martian_year": 26 + (330.2 + 1.51 * number > 360)}
        assets = {
            kind: {**told, "href": told["href"].replace(pattern["id"], name)}
            for kind, told in pattern["assets"].items()
        }
        items.append({**pattern, "id": name, "bbox": box, "properties": about, "assets": assets})
    for item in items:
        place = directory / "data" / "omega_data_cubes" / item["id"]
        place.mkdir(parents=True)
        (place / f"{item['id']}.json").write_text(json.dumps(item))


def read_aia_header() -> fits.Header:
    """Read the header of a real image of AIA."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BLANK, with real numbers
        return fits.getheader(shared("data/helio/images/aia_171_level1.fits"))


def write_aia_collection(directory: Path, random: np.random.Generator) -> None:
    """Write 2,400 images of AIA in two days and ten channels, with about sixty keywords of a real header."""
    left_out = re.compile(
        r"AI.*|ROI_.*|AG.*|AS.*|ISP.*|SIMPLE|BITPIX|NAXIS.*|COMMENT|HISTORY|DATE-OBS|WAVELNTH|EXPTIME|T_OBS|OSCN.*|.*-.*"
    )
    cards = {card.keyword: card.value for card in read_aia_header().cards if not left_out.fullmatch(card.keyword)}
    kinds = {str: "string", int: "int64", float: "float64"}
    columns = [
        KEYWORD_COLUMN.format(name=f'"{key.lower()}"', kind=kinds[type(value)], keyword=key)
        for key, value in cards.items()
    ]
    (directory / "aia.yaml").write_text(AIA + "".join(columns))
    rows: list[list[object]] = [
        ["name", "date_obs", "wavelnth", "exptime", "file_url", "remark", *(key.lower() for key in cards)]
    ]
    for slot in range(2 * 24 * 5):
        for at, line in enumerate(CHANNELS):
            when = datetime(2014, 9, 10, 0, 0, 1 + at) + timedelta(minutes=12 * slot)
            name = f"aia_{when:%Y%m%dT%H%M%S}_{line:04d}"
            told = {**cards, "DATAMEAN": round(random.uniform(100, 300), 2), "QUALITY": 0, "IMG_TYPE": "LIGHT"}
            rows.append(
                [
                    name,
                    when.isoformat(),
                    line,
                    2.9 - line / 2000,
                    f"https://sdo.example.org/{name}.fits",
                    '<b>flat</b> & "dark" done',
                    *told.values(),
                ]
            )
    write_csv(directory / "aia.csv", rows)


def write_cluster_collection(directory: Path, random: np.random.Generator) -> None:
    """Write the 1,653 clusters of Planck."""
    (directory / "sz.yaml").write_text(CLUSTERS)
    shutil.copy(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"), directory)


def write_record_collection(directory: Path, random: np.random.Generator) -> None:
    """Write 3,000 records of four missions, as unevenly distributed as real ones."""
    (directory / "records.yaml").write_text(RECORDS)
    rows: list[list[object]] = [["id", "mission", "instrument", "data_set", "size"]]
    holdings = {
        "SOHO": ("EIT", "LASCO", "CDS"),
        "SDO": ("AIA", "HMI"),
        "STEREO": ("EUVI-A", "EUVI-B"),
        "Solar Orbiter": ("EUI", "SPICE"),
    }
    missions = list(holdings)
    for number in range(3000):
        mission = missions[int(random.choice(4, p=[0.5, 0.3, 0.15, 0.05]))]
        instrument = holdings[mission][int(random.integers(len(holdings[mission])))]
        rows.append(
            [
                number,
                mission,
                instrument,
                f"{instrument} level {int(random.integers(1, 3))}",
                int(random.integers(100, 9000)),
            ]
        )
    write_csv(directory / "records.csv", rows)


def write_hostile_collection(directory: Path, random: np.random.Generator) -> None:
    """Write markup in every text and cell, links with scripts, and a cell of ten megabytes."""
    (directory / "evil.yaml").write_text(HOSTILE_DESCRIPTOR)
    cells = [
        HOSTILE_TEXT,
        "javascript:alert(1)",
        " JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        'https://example.org/"onmouseover=alert(1)//<b>',
        "vbscript:x",
    ]
    place = {name: random.uniform(0, 3, len(cells)) for name in ("ra", "dec")}
    columns = {"id": pa.array(range(len(cells)), pa.int32()), **place, "kind": cells, "page": cells, "picture": cells}
    pq.write_table(
        pa.table({**columns, "big": [None, "<b>", "<i>" + "x" * 10_000_000, None, None, None]}),
        directory / "evil.parquet",
    )


def write_star_collection(directory: Path, random: np.random.Generator) -> None:
    """Write 5,000 stars."""
    (directory / "stars.yaml").write_text(STARS)
    made = np.random.default_rng(1572)
    lines = ["star,name,ra,dec,vmag,sp_type,seen,page"]
    for star in range(1, 5001):
        lon, lat = made.uniform(0, 360), np.degrees(np.arcsin(made.uniform(-1, 1)))
        kind = "OBAFGKM"[int(made.integers(7))] + str(int(made.integers(10)))
        name = json.dumps(f"Star <{star}> & co")[1:-1] if star % 7 == 0 else ""
        seen = f"15{made.integers(72, 99)}-{made.integers(1, 13):02d}-{made.integers(1, 29):02d}T12:00:00"
        lines.append(
            f"{star},{name},{lon:.6f},{lat:.6f},{made.normal(8, 2):.2f},{kind},{seen},https://example.org/star/{star}"
        )
    (directory / "stars.csv").write_text("\n".join(lines) + "\n")
