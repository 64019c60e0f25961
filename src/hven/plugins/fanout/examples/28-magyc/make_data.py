"""Writes a made-up catalogue of galaxies with 40 clusters, and a list of 200 positions, 40 of them near a cluster."""

import csv
import math
import random
from pathlib import Path

rng = random.Random(1979)
here = Path(__file__).parent
target = here / "collections" / "galaxies" / "data"
target.mkdir(exist_ok=True)
WEST, EAST, SOUTH, NORTH = 190.0, 210.0, -10.0, 10.0  # the field, in degrees


def draw_place() -> tuple[float, float]:
    """Draw a position in the field."""
    return rng.uniform(WEST, EAST), rng.uniform(SOUTH, NORTH)


clusters = [(*draw_place(), rng.uniform(0.1, 0.9)) for _ in range(40)]
galaxies = [(*draw_place(), rng.uniform(0.02, 1.2), rng.uniform(17, 24)) for _ in range(20_000)]
for ra, dec, redshift in clusters:
    for _ in range(rng.randint(25, 60)):
        distance, angle = abs(rng.gauss(0, 0.06)), rng.uniform(0, 2 * math.pi)
        east, north = distance * math.cos(angle), distance * math.sin(angle)
        member_redshift = rng.gauss(redshift, 0.01)
        galaxies.append((ra + east / math.cos(math.radians(dec)), dec + north, member_redshift, rng.uniform(17, 23)))
with (target / "galaxies.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["id", "ra", "dec", "redshift", "mag"])
    for number, (ra, dec, redshift, magnitude) in enumerate(galaxies, 1):
        writer.writerow([number, f"{ra:.6f}", f"{dec:.6f}", f"{max(redshift, 0.001):.4f}", f"{magnitude:.3f}"])
positions = [(ra + rng.gauss(0, 0.03), dec + rng.gauss(0, 0.03)) for ra, dec, _ in clusters]
positions += [draw_place() for _ in range(160)]
(target / "positions.txt").write_text("".join(f"{ra:.4f} {dec:.4f}\n" for ra, dec in positions))
