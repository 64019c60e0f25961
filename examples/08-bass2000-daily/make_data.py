"""Writes made-up daily images of the Sun in BASS2000's form: a database, with Julian dates in two parts and paths on an FTP server."""

import random
import sqlite3
from pathlib import Path

rng = random.Random(2000)
target = Path(__file__).parent / "collections" / "bass2000" / "data" / "bass2000.sqlite"
target.parent.mkdir(exist_ok=True)
target.unlink(missing_ok=True)
LINES = [
    ("Meudon", "spectroheliograph", "K3", 393.368),
    ("Meudon", "spectroheliograph", "H-alpha", 656.28),
    ("Pic du Midi", "CLIMSO", "He I", 1083.0),
]
rows = []
for day in range(50):
    for number, (site, instrument, line, wave) in enumerate(LINES):
        seconds = 14133 if (day, number) == (0, 0) else rng.randint(14_000, 40_000)  # 03:55:33
        fraction = (seconds / 86400 + 0.5) % 1
        kind = rng.choice(["fits", "jpg"]) if number == 2 else "fits"
        path = f"pub/{site.lower().replace(' ', '_')}/{line.lower().replace(' ', '')}/{2459000 + day}_{number}.{kind}"
        rows.append(
            (
                3 * day + number,
                2459000 + day,
                fraction,
                site,
                instrument,
                line,
                wave,
                path,
                rng.randint(500, 9000) * 1024,
                1 if day % 17 == 5 else 0,
            )
        )
with sqlite3.connect(target) as database:
    database.execute(
        "CREATE TABLE daily (id INTEGER PRIMARY KEY, jdint INTEGER, jdfraction REAL, observatory TEXT, instrument TEXT, line TEXT, wave_nm REAL,"
        " path TEXT, bytes INTEGER, cloudy INTEGER)"
    )
    database.executemany("INSERT INTO daily VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
database.close()
