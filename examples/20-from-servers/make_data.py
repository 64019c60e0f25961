"""Writes made-up contents of four servers of a centre: two indices of Elasticsearch, the items of a STAC API (served/), and a database of solar features (hfc.sqlite).

NRH's index has the faults of the real one: labels that say "2280 MHz" for 228.0 MHz, and a day with one frequency twice.
"""

import json
import random
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
rng = random.Random(1956)
BANDS = [150.9, 173.2, 228.0, 270.6, 298.7, 327.0, 408.0, 432.0, 445.0]
WRONG, TWICE, DRAFT = {5, 17}, 11, 23  # days

nrh = []
for number in range(30):
    day = datetime(2011, 6, 1) + timedelta(days=number)
    bands = sorted(rng.sample(BANDS, rng.randint(4, 8)) + ([228.0] if number in WRONG | {TWICE} else []))
    bands = sorted(set(bands)) if number in WRONG else sorted({*bands}) + ([228.0] if number == TWICE else [])
    looks = [
        {
            "label": f"{band * 10:.0f} MHz" if number in WRONG and band == 228.0 else f"{band:.1f} MHz",
            "file": f"nrh{day:%d%m%Y}_{band * 10:.0f}.gif", "bytes": rng.randint(20_000, 90_000),
        }
        for band in bands
    ]  # fmt: skip
    start, stop = day + timedelta(hours=8, seconds=rng.randint(0, 3600)), day + timedelta(hours=15, seconds=30 * number)
    said = {"begin": f"{start:%Y-%m-%dT%H:%M:%S}Z", "end": f"{stop:%Y-%m-%dT%H:%M:%S}Z", "cadence": 10.0, "status": "draft" if number == DRAFT else "checked"}  # fmt: skip
    nrh.append({"day": f"{day:%Y%m%d}", **said, "quicklooks": looks})
dates = {"type": "date"}
looks_there = {"label": {"type": "keyword"}, "file": {"type": "keyword"}, "bytes": {"type": "long"}}
nrh_there = {"day": {"type": "keyword"}, "begin": dates, "end": dates, "cadence": {"type": "float"}, "status": {"type": "keyword"}, "quicklooks": {"type": "nested", "properties": looks_there}}  # fmt: skip

FIVE = {"B1": (144, 328), "B2": (324, 496), "B3": (492, 664), "B4": (660, 832), "B5": (828, 1000)}
orfees = []
for number in range(25):
    start = datetime(2012, 8, 1, 7) + timedelta(days=number, seconds=rng.randint(0, 1800))
    stop = start + timedelta(hours=rng.choice([4, 8]), milliseconds=rng.randint(0, 999))
    bands = list(FIVE)[: 4 if number == 9 else 5]  # a receiver was off
    orfees.append(
        {
            "begin": start.isoformat(timespec="milliseconds"), "end": stop.isoformat(timespec="milliseconds"), "step": 0.1,
            "fits": {"name": f"int_orf{start:%Y%m%d_%H%M%S}_0.1.fts", "bytes": rng.randint(100, 400) * 1048576},
            "bands": [{"name": name, "low": FIVE[name][0], "high": FIVE[name][1]} for name in bands], "quicklook": f"orfees{start:%Y%m%d}.png",
        }
    )  # fmt: skip
bands_there = {"name": {"type": "keyword"}, "low": {"type": "double"}, "high": {"type": "double"}}
fits_there = {"name": {"type": "keyword"}, "bytes": {"type": "long"}}
orfees_there = {"begin": dates, "end": dates, "step": {"type": "double"}, "fits": {"properties": fits_there}, "bands": {"properties": bands_there}, "quicklook": {"type": "keyword"}}  # fmt: skip

cubes = []
for number in range(40):
    start = datetime(2004, 1, 14) + timedelta(hours=7.6 * number)
    west, south = rng.uniform(-178, 170), rng.uniform(-75, 60)
    east, north = west + rng.uniform(3, 8), south + rng.uniform(2, 12)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    name = f"ORB{18 + number:04d}_1"
    cubes.append(
        {
            "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "omega", "bbox": [west, south, east, north],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "datetime": f"{start.isoformat()}Z", "updated": f"2020-01-{1 + number % 28:02d}T00:00:00Z", "gsd": 300.0 + number, "ssys:targets": ["mars"],
                "start_datetime": f"{start.isoformat()}Z", "end_datetime": f"{(start + timedelta(minutes=8)).isoformat()}Z",
                "view:incidence_angle": round(rng.uniform(5, 70), 3),
            },
            "assets": {"cube": {"href": f"https://psup.example.org/omega/{name}.nc", "type": "application/x-netcdf", "file:size": rng.randint(9, 60) * 1048576}},
        }
    )  # fmt: skip

served = HERE / "served"
served.mkdir(exist_ok=True)
for name, content in {
    "nrh_index": {"index": "nrh", "mapping": nrh_there, "documents": nrh},
    "orfees": {"index": "orfees", "mapping": orfees_there, "documents": orfees},
    "omega_api": {"items": cubes},
}.items():
    (served / f"{name}.json").write_text(json.dumps(content, indent=1))

TABLES = """
CREATE TABLE SUNSPOTS (ID_SUNSPOT integer primary key, OBSERVATIONS_ID integer, FEAT_CARR_LONG_DEG real, FEAT_CARR_LAT_DEG real, FEAT_DIAM_DEG real, UMBRA_NUMBER integer);
CREATE TABLE OBSERVATIONS (ID_OBSERVATIONS integer primary key, JDINT integer, JDFRAC real, EXP_TIME real, URL varchar(200));
CREATE VIEW VIEW_SP_HQI AS SELECT s.ID_SUNSPOT, s.FEAT_DIAM_DEG, o.JDINT, o.JDFRAC, o.EXP_TIME, o.URL
    FROM SUNSPOTS s JOIN OBSERVATIONS o ON s.OBSERVATIONS_ID = o.ID_OBSERVATIONS;
"""
(HERE / "hfc.sqlite").unlink(missing_ok=True)
with sqlite3.connect(HERE / "hfc.sqlite") as database:
    database.executescript(TABLES)
    for image in range(20):
        url = f"https://hfc.example.org/mdi/fd_{image:03d}.fits"
        database.execute("INSERT INTO OBSERVATIONS VALUES (?, ?, ?, 30.0, ?)", (image, 2453006 + image, 0.0625, url))
    for spot in range(80):
        place = (rng.uniform(0, 360), rng.uniform(-35, 35), rng.uniform(0.2, 4.0))
        database.execute("INSERT INTO SUNSPOTS VALUES (?, ?, ?, ?, ?, ?)", (spot, spot // 4, *place, rng.randint(0, 5)))
database.close()
