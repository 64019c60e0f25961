"""Writes made-up rows of a centre's servers: two indices of Elasticsearch (served/), and a database of images and solar features (vespa.sqlite)."""

import json
import random
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
rng = random.Random(1601)
dates, words, numbers = {"type": "date"}, {"type": "keyword"}, {"type": "double"}


def write_index(name: str, index: str, documents: list[dict[str, object]], mapping: dict[str, object]) -> None:
    served = HERE / "served"
    served.mkdir(exist_ok=True)
    text = json.dumps({"index": index, "documents": documents, "mapping": mapping}, indent=1)
    (served / f"{name}.json").write_text(text)


def stamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


nrh: list[dict[str, object]] = []
orfees: list[dict[str, object]] = []
for number in range(30):
    day = datetime(2011, 6, 1) + timedelta(days=number)
    start, stop = day + timedelta(hours=8, seconds=rng.randint(0, 3600)), day + timedelta(hours=15, seconds=30 * number)
    highest = rng.choice([432.0, 445.0])
    nrh.append(
        {
            "date_obs": stamp(start), "date_end": stamp(stop), "cadence": 10.0, "status": "draft" if number == 23 else "checked",
            "frequencies": {"lowest": 150.9, "highest": highest},
            "fits": {"name": f"nrh2_{highest * 10:.0f}_s70_{day:%Y%m%d}.fts", "bytes": rng.randint(10, 90) * 1_000_000},
            "quicklook": f"nrh{day:%d%m%Y}_{highest * 10:.0f}.gif",
        }
    )  # fmt: skip
    file = f"int_orf{start:%Y%m%d_%H%M%S}_0.1.fts"
    bands = 4 if number == 9 else 5  # a receiver was off
    orfees.append(
        {"day": f"{day:%Y%m%d}", "begin": stamp(start), "end": stamp(stop), "highest": 832.0 if bands == 4 else 1000.0, "bands": bands, "fits": {"name": file, "bytes": rng.randint(100, 400) * 1_048_576}}
    )  # fmt: skip
fits: dict[str, object] = {"properties": {"name": words, "bytes": {"type": "long"}}}
times: dict[str, object] = {"date_obs": dates, "date_end": dates, "cadence": numbers, "status": words, "quicklook": words}
write_index("vespa_nrh", "nrh", nrh, {**times, "frequencies": {"properties": {"lowest": numbers, "highest": numbers}}, "fits": fits})
write_index("vespa_orfees", "orfees", orfees, {"day": words, "begin": dates, "end": dates, "highest": numbers, "bands": {"type": "integer"}, "fits": fits})

path = HERE / "vespa.sqlite"
path.unlink(missing_ok=True)
database = sqlite3.connect(path)
database.executescript("""
    CREATE TABLE daily (id INTEGER PRIMARY KEY, jdint INTEGER, jdfraction REAL, observatory VARCHAR(20), instrument VARCHAR(20), line VARCHAR(20), wave_nm REAL, path VARCHAR(80), bytes INTEGER, cloudy INTEGER);
    CREATE TABLE OBSERVATORY (ID_OBSERVATORY INTEGER PRIMARY KEY, OBSERVAT VARCHAR(20), INSTRUME VARCHAR(20));
    CREATE TABLE OBSERVATIONS (ID_OBSERVATIONS INTEGER PRIMARY KEY, OBSERVATORY_ID INTEGER, JDINT INTEGER, JDFRAC REAL, QCLK_URL VARCHAR(80));
    CREATE TABLE ACTIVEREGIONS (ID_AR INTEGER PRIMARY KEY, OBSERVATIONS_ID INTEGER, FEAT_AREA_MM2 REAL, BR_HG_LONG0_DEG REAL, BR_HG_LONG2_DEG REAL, BR_HG_LAT0_DEG REAL, BR_HG_LAT1_DEG REAL, NOAA_NUMBER INTEGER, SNAPSHOT_FN VARCHAR(80));
    CREATE TABLE TYPE_III (ID_TYPE_III INTEGER PRIMARY KEY, OBSERVATIONS_ID INTEGER, BR_Y0_MHZ REAL, BR_Y1_MHZ REAL, DRIFT_START REAL, MULTIPLE INTEGER, SNAPSHOT_FN VARCHAR(80), TIME_START VARCHAR(30), TIME_END VARCHAR(30));
""")
lines = {"H-alpha": 656.28, "Ca II K": 393.37, "He I": 1083.0}
for number in range(60):
    line, wave = list(lines.items())[number % 3]
    row = number, 2459000 + number // 3, 0.66357638889, "Meudon", "spectroheliograph", line, wave, f"pub/{line.replace(' ', '')}/{number:06d}.fits", rng.randint(1, 9) * 1_000_000, int(number == 31)
    database.execute("INSERT INTO daily VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
database.executemany("INSERT INTO OBSERVATORY VALUES (?, ?, ?)", [(1, "SOHO", "MDI"), (2, "Wind", "WAVES")])
for number in range(40):
    kind = "mdi" if number < 20 else "waves"
    database.execute("INSERT INTO OBSERVATIONS VALUES (?, ?, ?, ?, ?)", (number, 1 if number < 20 else 2, 2452940 + number % 20, 0.25, f"https://hfc.example.org/{kind}/{number:04d}.png"))
for number in range(50):
    west, south = rng.uniform(5, 330), rng.uniform(-40, 30)
    east, north = west + rng.uniform(2, 12), south + rng.uniform(2, 8)
    database.execute("INSERT INTO ACTIVEREGIONS VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (number, number % 20, rng.uniform(100, 5000), west, east, south, north, 10480 + number % 25, f"ar_{number:04d}.png"))
for number in range(30):
    start = datetime(2003, 10, 28, 11) + timedelta(hours=number)
    values = number, 20 + number % 20, rng.uniform(0.02, 1), rng.uniform(5, 13.825), -rng.uniform(0.01, 2), number % 2, f"t3_{number:04d}.png", stamp(start), stamp(start + timedelta(seconds=rng.randint(60, 900)))
    database.execute("INSERT INTO TYPE_III VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
database.commit()
database.close()
