"""Which pictures the demo's collections have, each drawn of the collection's own data."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from importlib import resources
from pathlib import Path

import numpy as np
from drawing import Body, Sky, draw_ring, wandering
from PIL import Image

CRATERED = {"mars": ("Mars-imagery", 3396.2), "moon": ("Moon-imagery", 1737.4), "mercury": ("Mercury-imagery", 2440.5), "venus": ("Venus-radar", 6051.8)}  # fmt: skip
FURTHER_MAPS = ("Mars-albedo", "Mars-relief", "Moon-relief")
REGIONS = "Ganymede_ROIs-Stephan_2021_PSS-Tab_SM1.csv"
AROUND, LEAST = 2.5, 12.0  # what a view shows: times the crater, degrees


def ground(name: str) -> Path:
    """Return the map of a body that `scripts/web` made."""
    path = Path(str(resources.files("hven.portal"))) / "grounds" / f"{name}.jpg"
    if not path.is_file():
        raise FileNotFoundError(f"there is no map {name}: scripts/web could not fetch it")
    return path


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=85)


def planets(collections: Path) -> None:
    home = collections / "planets"
    with (home / "bodies.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            path = ground(f"{row['body']}-{'radar' if row['body'] == 'Venus' else 'imagery'}")
            save(Body(path).globe(float(row["lon"]), 15.0), home / f"data/globes/{row['body']}.jpg")
            (home / "data/maps").mkdir(exist_ok=True)
            shutil.copyfile(path, home / f"data/maps/{row['body']}.jpg")
    for name in FURTHER_MAPS:
        shutil.copyfile(ground(name), home / f"data/maps/{name}.jpg")
    for name, (picture, radius) in CRATERED.items():
        body = Body(ground(picture))
        with (home / f"data/{name}_craters_km.csv").open(newline="") as file:
            for number, row in enumerate(list(csv.reader(file))[1:], 1):
                diameter, lat, lon = (float(one) for one in row)
                across = float(np.degrees(diameter / 2 / radius))
                half = min(max(AROUND * across, LEAST), 44.0)
                share = float(np.sin(np.radians(min(across, 90.0))) / np.sin(np.radians(half)))
                save(draw_ring(body.view(lon, lat, half), share), home / f"data/views/{name}/{number}.jpg")


def nomenclature(collections: Path) -> None:
    save(Body(ground("Moon-relief")).globe(0.0, 15.0), collections / "nomenclature/help/thumbnail.jpg")


def ganymede(collections: Path) -> None:
    body, home = Body(ground("Ganymede-imagery")), collections / "ganymede/data"
    with (home / REGIONS).open(newline="", encoding="utf-8") as file:
        for row in csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True):
            lat, lon, south, north, west, east = (float(one) for one in row[4:10])
            wide = (east - west) % 360 * float(np.cos(np.radians(lat)))
            save(
                body.view(lon, lat, min(max(0.6 * max(north - south, wide), 8.0), 44.0)),
                home / f"views/{'_'.join(row[:3])}.jpg",
            )


def stars(collections: Path) -> list[tuple[float, float, float, float, str]]:
    """Read right ascension, declination, magnitude, B-V and name of each star, in the order of the file."""
    found = []
    with (collections / "hipparcos/data/stars.dat").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#") and line.strip():
                ra = 15 * (float(line[0:2]) + float(line[2:4]) / 60 + float(line[4:9]) / 3600)
                dec = (-1 if line[10] == "-" else 1) * (
                    float(line[11:13]) + float(line[13:15]) / 60 + float(line[15:19]) / 3600
                )
                found.append((ra, dec, float(line[46:51]), float(line[51:56].strip() or "nan"), line[83:120].strip()))
    return found


def sky(rows: list[tuple[float, float, float, float, str]]) -> Sky:
    return Sky(*(np.array([row[at] for row in rows], float) for at in range(4)))


def named_stars(collections: Path) -> None:
    rows = stars(collections)
    around = sky(rows)
    for number, (ra, dec, _, _, name) in enumerate(rows, 1):
        if name:
            save(around.chart(ra, dec, 18.0), collections / f"hipparcos/data/charts/{number}.jpg")


def messier(collections: Path) -> None:
    around = sky(stars(collections))
    with sqlite3.connect(collections / "openngc/data/OpenNGC.sqlite") as catalogue:
        for name, *numbers in catalogue.execute(
            "SELECT catalog_identifier, ra, dec, major_axis, minor_axis, position_angle FROM cat WHERE name LIKE 'M %'"
        ):
            ra, dec, major, minor, angle = (float(one or 0) for one in numbers)
            large, small = major / 60, (minor or major) / 60
            save(
                around.chart(ra, dec, max(5.0, 1.6 * large), (large, small, angle)),
                collections / f"openngc/data/charts/{name.replace(' ', '')}.jpg",
            )


def pole(collections: Path) -> None:
    with (collections / "earth/data/finals2000A.all").open() as file:
        given = ((line[18:27], line[37:46]) for line in file)
        places = [(float(x), float(y)) for x, y in given if x.strip() and y.strip()]
    x, y = np.array(places).T
    save(wandering(x, y), collections / "earth/help/thumbnail.jpg")
