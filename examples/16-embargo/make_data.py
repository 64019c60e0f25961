"""Writes made-up observations of optical interferometers: each kind of collection, category, level and date that decides on an embargo."""

import csv
from itertools import product
from pathlib import Path

here = Path(__file__).parent / "collections" / "oidb" / "data"
HEAD = "id,file_name,obs_collection,calib_level,target_name,dataproduct_category,t_max,obs_release_date,data_rights,datapi,obs_creator_name,submitter,progid,proposal_subid"
ENDS = (61041.5, 60339.25, 60369.999)  # 2026-01-01, 2024-01-30, 2024-02-29: months have other lengths
PEOPLE = ("Mella Guillaume", "bourges / Anna Berg", "anna.berg@example.org", "CARL  MELL/ANNA BERG", "")
rows = []


def add(collection, category="SCIENCE", level=2, end=ENDS[0], own="", rights="", progid="", subid=""):
    number = len(rows)
    name = PEOPLE[number % len(PEOPLE)]
    rows.append([number + 1, f"data/{number // 2:02d}.oifits", collection, level, f"star {number % 7}", category, end, own, rights, name,
                 "l. bourgès" if number % 6 == 5 else "", ("mella", "Anna Berg")[number % 2], progid, subid])  # fmt: skip


for collection, category in product(
    ("SUV", "Chara", "ESO", "pionier", "survey", "simulation"), ("SCIENCE", "science", "", "CALIB")
):
    add(collection, category, end=ENDS[len(rows) % 3], progid="60.A-9237" if collection == "ESO" else "")
for collection, own in product(
    ("SUV", "survey"), ("2025-05-01T12:00:00", "2027-05-01T12:00:00", "2025-05-01T00:00:00")
):
    add(collection, own=own)
    add(collection, "CALIB", own=own)
for own, collection in product(("2025-11-30T06:00:00", "2028-01-01T00:00:00"), ("survey", "ESO")):
    add(collection, level=0, own=own, progid="098.B-0001", rights="public" if collection == "ESO" else "")
for rights in ("public", "Public", "secure", "proprietary"):
    add("CHARA", rights=rights)
for level, subid in product((1, 3), ("A", "B")):
    add("pionier", level=level, progid="098.B-0001", subid=subid)
add("ESO", end="", own="2025-02-28T23:59:59")
add("suv", end=59945.75)
add("eso", end=60675.0, progid="60.A-9237")
add("CHARA", end=60004.5)
here.mkdir(parents=True, exist_ok=True)
for name in {row[1] for row in rows}:  # each of two observations
    (here.parent / name).write_text(f"made up: {name}\n")
with (here / "granules.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([HEAD.split(","), *rows])
