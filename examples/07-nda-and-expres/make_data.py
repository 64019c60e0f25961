"""Writes made-up lists of files: those of the Nancay Decameter Array (Sun and Jupiter), and those of ExPRES runs."""

import random
from datetime import datetime, timedelta
from pathlib import Path

rng = random.Random(1977)
HERE = Path(__file__).parent / "collections"


def place(collection: str, name: str) -> Path:
    target = HERE / collection / "data" / name
    target.parent.mkdir(exist_ok=True)
    return target


for letter, collection, first, hours in (("S", "nda_sun", 7.5, 8.0), ("J", "nda_jupiter", 20.25, 7.5)):
    lines = ["# file  begin  end  bytes"]
    for number in range(30):
        begin = datetime(2018, 4, 1) + timedelta(days=number, hours=first, seconds=rng.randint(0, 900))
        end = begin + timedelta(hours=hours, seconds=rng.randint(0, 900))
        lines.append(
            f"{letter}{begin:%y%m%d}.RT1  {begin:%Y%m%dT%H%M%S}  {end:%Y%m%dT%H%M%S}  {401 * (300 + rng.randint(0, 30000))}"
        )
    place(collection, "index.txt").write_text("\n".join(lines) + "\n")

lines = ["-rw-r--r-- 1 expres expres size date name"]
for number in range(20):
    day = datetime(2018, 4, 1) + timedelta(days=number)
    for observer, moon in (("earth", "io"), ("earth", "europa"), ("juno", "io"), ("juno", "ganymede")):
        name = f"expres_{observer}_jupiter_{moon}_jrm09_lossc-wid1deg_3kev_{day:%Y%m%d}_v11.cdf"
        lines.append(f"-rw-r--r-- 1 expres expres {rng.randint(2_000_000, 9_000_000)} 2026-01-12 {name}")
place("expres", "listing.txt").write_text("\n".join(lines) + "\n")
