"""Writes a made-up list of GAIA-DEM results: a time each half hour, the distance of the Sun, four products with their sizes."""

import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

rng = random.Random(171)
target = Path(__file__).parent / "collections" / "gaia_dem" / "data"
target.mkdir(exist_ok=True)
with (target / "gaia_dem.csv").open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(
        [
            "id",
            "date_obs",
            "exptime (s)",
            "dsun_obs (m)",
            *(f"{each}_bytes" for each in ("em", "width", "temp", "chi2")),
        ]
    )
    for number in range(96):
        start = datetime(2010, 5, 13) + timedelta(minutes=30 * number, seconds=rng.uniform(0, 5))
        day = start.timetuple().tm_yday + start.hour / 24
        distance = 1.495978707e11 * (1 - 0.01671 * math.cos(2 * math.pi * (day - 4) / 365.25))
        without = number in {7, 40, 41}  # headers that lack DSUN_OBS
        sizes = [rng.randint(900_000, 4_200_000) for _ in range(4)]
        rows.writerow(
            [
                41000 + number,
                start.isoformat(timespec="milliseconds"),
                2.9,
                "" if without else f"{distance:.1f}",
                *sizes,
            ]
        )
