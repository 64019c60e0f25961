"""Answers to the questions that Hven has no part in: SQL over the demo's files, read by plain Python and Astropy.

`python tests/plugins/mcp/known_answers.py` writes the answers into the corpus.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import yaml
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time

CORPUS = Path(__file__).with_name("questions.jsonl")
STAR_FIELDS = {
    "pm_ra": slice(20, 29),
    "pm_dec": slice(29, 38),
    "parallax": slice(38, 45),
    "vmag": slice(46, 51),
    "b_v": slice(51, 56),
}


def read_corpus() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def open_known_data(collections: Path) -> sqlite3.Connection:
    """Read the files of the demo into a database in memory."""
    database = sqlite3.connect(":memory:")
    database.create_function("SEPARATION", 4, compute_separation, deterministic=True)
    data = {
        "stars": read_stars(collections / "hipparcos/data/stars.dat"),
        "objects": read_objects(collections / "openngc"),
        "craters": read_craters(collections / "planets/data"),
        "bodies": read_csv(collections / "planets/bodies.csv"),
        "features": read_features(collections / "nomenclature/data/nomenclature.dat.gz"),
        "images": read_images(collections / "sun/data"),
    }
    for name, rows in data.items():
        columns = list(rows[0])
        database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
        values = [tuple(row[column] for column in columns) for row in rows]
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", values)
    return database


def compute_separation(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    first, second = SkyCoord([ra, other_ra] * units.deg, [dec, other_dec] * units.deg)
    return float(first.separation(second).deg)


def read_stars(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        sign = -1 if line[10] == "-" else 1
        row = {
            "star": len(rows) + 1,
            "name": line[83:120].strip() or None,
            "ra": 15 * (float(line[:2]) + float(line[2:4]) / 60 + float(line[4:9]) / 3600),
            "dec": sign * (float(line[11:13]) + float(line[13:15]) / 60 + float(line[15:19]) / 3600),
            "sp_type": line[56:58],
        }
        rows.append(row | {name: float(line[part]) for name, part in STAR_FIELDS.items()})
    return rows


def read_objects(directory: Path) -> list[dict[str, Any]]:
    kinds = {int(row["code"]): row["kind"] for row in read_csv(directory / "kinds.csv")}
    query = "SELECT catalog_identifier, name, type, ra, dec, magnitude FROM cat"
    with sqlite3.connect(directory / "data/OpenNGC.sqlite") as database:
        found = database.execute(query).fetchall()
    database.close()
    names = ("id", "name", "kind", "ra", "dec", "magnitude")
    return [dict(zip(names, (*row[:2], kinds[row[2]], *row[3:]), strict=True)) for row in found]


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) if key in {"radius", "lon"} else value for key, value in row.items()} for row in rows]


def read_craters(directory: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(directory.glob("*_craters_km.csv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], 1):
            diameter, lat, lon = map(float, line.split(","))
            body = path.name.partition("_")[0].capitalize()
            rows.append({"body": body, "number": number, "diameter": diameter, "lat": lat, "lon": lon % 360})
    return rows


def read_features(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in gzip.decompress(path.read_bytes()).decode().splitlines()[1:]:
        body, number, label, kind, lat, lon, diameter = line.split("\t")
        name = re.findall(r'_\("([^"]*)"', label)[0]
        rows.append(
            {"body": body, "feature": int(number), "name": name, "kind": kind, "diameter": float(diameter)}
            | {"lat": float(lat), "lon": float(lon)}
        )
    return rows


def read_images(directory: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(directory.glob("*.fits")):
        header = fits.getheader(path)
        row = {"file_name": path.name, "telescope": header["TELESCOP"], "instrument": header["INSTRUME"]}
        row |= {"wavelength": header["WAVELNTH"] / 10, "exposure": header["EXPTIME"]}
        julian_date = float(Time(header["DATE-OBS"], scale="utc").jd)
        rows.append(row | {"julian_date": julian_date, "file_size": path.stat().st_size})
    return rows


def find_answer(question: dict[str, Any], database: sqlite3.Connection, collections: Path) -> Any:
    """Find the answer to a question without Hven: by SQL, from the descriptor, or by what the demo is made of."""
    if "sql" in question:
        rows = [list(row) for row in database.execute(question["sql"]).fetchall()]
        if question["find"] == "rows":
            return rows
        values = [row[0] for row in rows]
        return values if question["find"].startswith(("column:", "sorted:")) else values[0]
    if "descriptor" in question:
        collection, *keys = question["descriptor"].split(".")
        value = yaml.safe_load((collections / collection / f"{collection}.yaml").read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        text = value["en"] if isinstance(value, dict) else value
        return " ".join(text.split()).rstrip(".")
    return question["answer"]


def main() -> None:
    """Write the answers into the corpus."""
    import tempfile

    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "recorded")]
    from demo_data import make_demo

    questions = read_corpus()
    with tempfile.TemporaryDirectory() as name:
        make_demo(Path(name) / "demo")
        collections = Path(name) / "demo/collections"
        database = open_known_data(collections)
        for question in questions:
            question["answer"] = find_answer(question, database, collections)
    CORPUS.write_text("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in questions), encoding="utf-8")


if __name__ == "__main__":
    main()
