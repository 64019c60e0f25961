"""Writes 20,000 made-up stars as four catalogues see them, with planted neighbours; a larger number is the first argument."""

import csv
import sys
from pathlib import Path

import numpy as np

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
DATA = Path(__file__).parent / "collections" / "stars" / "data"
HIPPARCOS_EPOCH, GAIA_EPOCH, WDS_EPOCH = 1991.25, 2016.0, 2000.0
random = np.random.default_rng(26)

# stars at their ASCC places of 1991.25: id, then offsets in arcseconds from a point of their own
PLANTED_STARS = {
    11: (0, 0.0),  # the nearest star of Gaia is 1.6 arcsec away
    12: (1, 0.0),  # 13 is 0.7 arcsec from the star of 12
    13: (1, 0.8),
    14: (2, 0.0),  # 15 is nearly as near to the star of 14
    15: (2, 0.5),
    16: (3, 0.0),  # two stars of Gaia are nearly as near
    17: (4, 0.0),  # 18 is as near as 15 to 14, but 17 is clearly better
    18: (4, 0.4),
    19: (5, 0.0),  # two stars of Gaia, one of them clearly nearer
}
TYPE_COLORS = {
    "A0V": (0.0, 0.0, 0.0),
    "F5V": (0.87, 1.06, 1.1),
    "G2V": (1.13, 1.42, 1.5),
    "K3III": (2.2, 2.9, 3.05),
    "M1III": (3.05, 3.7, 3.9),
}
PLANTED_GAIA = [(0, 1.6), (1, 0.1), (2, 0.2), (3, 0.2), (3, -0.3), (4, 0.01), (5, 0.01), (5, 0.4)]


def make_vectors(ra, dec):
    """Return unit vectors, and the directions of east and north."""
    ra, dec = np.radians(ra), np.radians(dec)
    zero = np.zeros_like(ra)
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.stack([-np.sin(ra), np.cos(ra), zero])
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    return vectors, east, north


def displace(ra, dec, east_arcsec, north_arcsec):
    """Move positions on the sky."""
    vectors, east, north = make_vectors(ra, dec)
    moved = vectors + np.radians(east_arcsec / 3600) * east + np.radians(north_arcsec / 3600) * north
    return np.degrees(np.arctan2(moved[1], moved[0])) % 360, np.degrees(np.arctan2(moved[2], np.hypot(*moved[:2])))


def write(name, columns):
    """Write a table as CSV; NaN is a missing value."""
    with (DATA / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow("" if isinstance(value, float) and np.isnan(value) else value for value in row)


DATA.mkdir(parents=True, exist_ok=True)
ids = np.arange(1, COUNT + 1)
ra = random.uniform(0, 360, COUNT)
dec = np.degrees(np.arcsin(random.uniform(-1, 1, COUNT)))
pmra, pmdec = random.normal(0, 40, (2, COUNT))
vmag = random.uniform(3, 12, COUNT)
color = random.uniform(-0.2, 4, COUNT)
# 1 to 4: at the meridian of 0 degrees, at the pole, moving by 10 arcsec a year, without proper motion
ra[:4], dec[:4] = [359.9999999, 45.0, 200.0, 220.0], [20.0, 89.9999, 5.0, -5.0]
pmra[:4], pmdec[:4] = [500.0, 300.0, -800.0, 0.0], [0.0, 300.0, 10_328.0, 0.0]
for number, (place, offset) in PLANTED_STARS.items():
    ra[number - 1], dec[number - 1] = 100 + 0.1 * place, 10 + offset / 3600
    pmra[number - 1] = pmdec[number - 1] = 0
    vmag[number - 1] = 8 + 0.1 * place
has_type = random.uniform(size=COUNT) < 0.2
types = np.where(has_type, random.choice(list(TYPE_COLORS), COUNT), "")
written_motion = np.where(ids == 4, np.nan, pmra), np.where(ids == 4, np.nan, pmdec)
names = {"ascc": ids, "ra": ra, "dec": dec, "pmra": written_motion[0], "pmdec": written_motion[1]}
write("ascc", {**names, "vmag": vmag.round(3), "e_vmag": np.full(COUNT, 0.02), "sptype": types})

is_planted = np.isin(ids, list(PLANTED_STARS))
years = GAIA_EPOCH - HIPPARCOS_EPOCH
noise = random.normal(0, 0.02, (2, COUNT))
gaia_ra, gaia_dec = displace(ra, dec, years * pmra / 1000 + noise[0], years * pmdec / 1000 + noise[1])
place, offset = np.array(PLANTED_GAIA).T
neighbours = np.flatnonzero(~is_planted)[20:520]  # faint neighbours within 3 arcsec
angle, distance = random.uniform(0, 2 * np.pi, 500), random.uniform(1.0, 2.9, 500)
near_ra, near_dec = displace(
    gaia_ra[neighbours], gaia_dec[neighbours], distance * np.cos(angle), distance * np.sin(angle)
)
gaia = {
    "ra": [gaia_ra[~is_planted], 100 + 0.1 * place, near_ra],
    "dec": [gaia_dec[~is_planted], 10 + offset / 3600, near_dec],
    "gvmag": [
        (vmag + random.normal(0, 0.02, COUNT))[~is_planted],
        8 + 0.1 * place,
        vmag[neighbours] + 6,
    ],
}
gaia = {name: np.concatenate(parts) for name, parts in gaia.items()}
order = random.permutation(len(gaia["ra"]))
write("gaia", {"source_id": order + 5_000_000_000, **{name: values[order] for name, values in gaia.items()}})

dates = random.uniform(2_450_600, 2_451_900, COUNT)
years = 2000 + (dates - 2_451_545) / 365.25 - HIPPARCOS_EPOCH
mass_ra, mass_dec = displace(ra, dec, years * pmra / 1000, years * pmdec / 1000 + random.normal(0, 0.1, COUNT))
colors = np.stack([0.6 * color, 0.9 * color, color])  # V-J, V-H and V-K; stars with a spectral type have its colours
for sptype, type_colors in TYPE_COLORS.items():
    colors[:, types == sptype] = np.array(type_colors)[:, None]
magnitudes = {}
for band, band_color in zip("jhk", colors, strict=True):
    magnitudes[f"{band}mag"] = (vmag - band_color).round(3)
    magnitudes[f"e_{band}mag"] = np.full(COUNT, 0.03)
write("twomass", {"designation": ids + 900_000, "ra": mass_ra, "dec": mass_dec, "jd": dates, **magnitudes})

years = WDS_EPOCH - HIPPARCOS_EPOCH
doubles = ids[~is_planted][100:400] - 1
double_ra, double_dec = displace(ra, dec, years * pmra / 1000, years * pmdec / 1000)
columns = {"wds": doubles + 1, "ra": double_ra[doubles], "dec": double_dec[doubles]}
write("wds", {**columns, "sep": random.uniform(0.1, 6, len(doubles)).round(1)})
