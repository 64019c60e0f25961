"""Writes the made-up lists of clusters of a release, each in a directory of its own: ``python make_data.py R4``, then ``R6``."""

import csv
import math
import random
import struct
import sys
from pathlib import Path

RELEASE = sys.argv[1] if len(sys.argv) > 1 else "R4"
NEW = RELEASE == "R6"
here = Path(__file__).parent / "collections"
rng = random.Random(1972)


def write(path, head, rows):
    (here / path).parent.mkdir(parents=True, exist_ok=True)
    with (here / path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head.split(","), *rows])


def image(path, cards, values):
    """Write a FITS image: cards of 80 signs and big-endian numbers, both filled up to blocks of 2880 bytes."""
    (here / path).parent.mkdir(parents=True, exist_ok=True)
    said = {"BITPIX": -32, "NAXIS": 2, "NAXIS1": 32, "NAXIS2": 32, **cards}
    texts = {key: f"'{value:<8}'" if isinstance(value, str) else f"{value:>20}" for key, value in said.items()}
    lines = [f"SIMPLE  = {'T':>20}", *(f"{key:<8}= {text}" for key, text in texts.items())]
    header = "".join(f"{line:<80}" for line in [*lines, "END"]).encode("ascii")
    data = struct.pack(f">{len(values)}f", *values)
    (here / path).write_bytes(header + b" " * (-len(header) % 2880) + data + b"\0" * (-len(data) % 2880))


clusters, targets, nearby = [], [], []
for number in range(1, 37):
    ra, dec = rng.uniform(0, 360), math.degrees(math.asin(rng.uniform(-0.9, 0.9)))
    name = f"PSZ2 J{ra / 15:05.2f}{dec:+06.2f}"
    snr, redshift, mass = rng.uniform(4.6, 25), rng.uniform(0.02, 0.7), rng.uniform(1.5, 11)
    known, dynamical, galaxies = rng.random() < 0.6, rng.uniform(0.8, 1.1), rng.randrange(12, 90)
    if NEW and number == 7:
        continue  # it was a galactic source
    if number > 30 and not NEW:
        continue  # found later
    if NEW and number % 9 == 4:
        known, mass = True, mass * 1.08  # observed since
    map_name = ""
    if number % 4 == 0:  # a map of every fourth
        map_name = f"{RELEASE}/maps/{name.replace(' ', '_')}.fits"
        width = 40 + number + (4 if NEW and number % 8 == 0 else 0)  # some were made anew
        values = [math.exp(-(x**2 + y**2) / width) for y in range(-16, 16) for x in range(-16, 16)]
        cards = {"OBJECT": name, "BUNIT": "1e-5", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec,
                 "CRPIX1": 16.5, "CRPIX2": 16.5, "CDELT1": -1 / 60, "CDELT2": 1 / 60}  # fmt: skip
        image(f"psz2/data/{map_name}", cards, values)
    clusters.append([name, f"{ra:.5f}", f"{dec:.5f}", f"{snr:.2f}", f"{redshift:.4f}" if known else "",
                     f"{mass:.2f}" if known else "", map_name and f"data/{map_name}"])  # fmt: skip
    if not known:
        targets.append([name, f"{ra:.5f}", f"{dec:.5f}", "NOT" if dec > -20 else "NTT", number % 3 + 1])
    elif redshift < 0.2:
        nearby.append([name, f"{redshift:.4f}", f"{mass * dynamical:.2f}", galaxies])

write(f"psz2/data/{RELEASE}/clusters.csv", "name,ra,dec,snr,redshift,mass,map", clusters)
write("followup/data/targets.csv", "name,ra,dec,telescope,priority", targets)
write("lowz/data/masses.csv", "name,redshift,mass_dyn,galaxies", nearby)
