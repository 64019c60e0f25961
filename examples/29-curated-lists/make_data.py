"""Writes made-up lists: measured diameters (release 2016, or the one in the first argument), calibrators, and bad ones."""

import csv
import sys
from pathlib import Path

import numpy as np

RELEASE = sys.argv[1] if len(sys.argv) > 1 else "2016"
COLLECTIONS = Path(__file__).parent / "collections"
MEASURED_STARS, CALIBRATORS, BAD_CALIBRATORS = 300, 2_000, 60
BANDS = ("V", "R", "H", "K")
DIAMETER_COLUMNS = ["star", "band", "bibcode", "number", "ud", "ldd", "e_ldd", "notes"]


def write(collection, name, columns, rows):
    """Write a table as CSV; None is a missing value."""
    folder = COLLECTIONS / collection / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def make_measurements(random):
    """Make the measurements of the first release: some papers have two measurements of a star."""
    rows = []
    for star in range(1, MEASURED_STARS + 1):
        limb_darkened = random.uniform(0.5, 20)
        for paper in range(random.integers(1, 4)):
            band = BANDS[random.integers(len(BANDS))]
            bibcode = f"20{paper:02}A&A...{400 + star % 90}..{100 + paper}X"
            for number in range(1, 1 + (2 if random.uniform() < 0.1 else 1)):
                ldd = round(limb_darkened * random.normal(1, 0.02), 3)
                ud = round(ldd * 0.96, 3) if random.uniform() < 0.8 else None
                rows.append([f"HD {1_000 + star}", band, bibcode, number, ud, ldd, round(0.02 * ldd, 3), ""])
    return rows


def revise(rows, random):
    """Make the next release: one row in ten is gone, one in ten has another diameter, and 50 are new, with notes."""
    kept = [row for row in rows if random.uniform() >= 0.1]
    for row in kept:
        if random.uniform() < 0.1:
            row[5] = round(row[5] * 1.01, 3)
            row[7] = "revised limb darkening"
    kept += [[f"HD {9_000 + n}", "K", f"2017A&A...600..{n:03}X", 1, None, 1.0 + n / 10, 0.1, "new"] for n in range(50)]
    return kept


diameters = make_measurements(np.random.default_rng(29))
if RELEASE != "2016":
    diameters = revise(diameters, np.random.default_rng(30))
write("jmdc", "diameters", DIAMETER_COLUMNS, diameters)

random = np.random.default_rng(31)
ra = random.uniform(0, 360, CALIBRATORS)
dec = np.degrees(np.arcsin(random.uniform(-1, 1, CALIBRATORS)))
stars = [
    [number, round(right_ascension, 7), round(declination, 7), round(random.uniform(3, 12), 2)]
    for number, right_ascension, declination in zip(range(1, CALIBRATORS + 1), ra, dec, strict=True)
]
# 1: at the meridian of 0 degrees; 2: near the pole; 3: has two bad stars; 4: the bad star is 6 arcsec away
for number, place in enumerate([(359.9999, 20.0), (45.0, 89.999), (100.0, 10.0), (110.0, 10.0)]):
    stars[number][1:3] = place
write("calibrators", "stars", ["id", "ra", "dec", "kmag"], stars)
arcsecond = 1 / 3_600
planted = [(1, 0.0001, 20.0), (2, 225.0, 89.9999), (3, 100.0, 10.0 + arcsecond), (3, 100.0, 10.0 - 4 * arcsecond)]
planted.append((4, 110.0, 10.0 + 6 * arcsecond))
bad_stars = planted + [
    (stars[place][0], stars[place][1], round(stars[place][2] + random.uniform(-4, 4) * arcsecond, 7))
    for place in range(100, 100 + BAD_CALIBRATORS - len(planted))
]
bad_rows = [
    [number, f"HD {50_000 + star}", ra, dec, "binary" if number % 2 else "wrong_diameter", "2010A&A...515A..69D", ""]
    for number, (star, ra, dec) in enumerate(bad_stars, 1)
]
write("badcal", "valid_stars", ["id", "name", "ra", "dec", "reason", "bibcode", "note"], bad_rows)
