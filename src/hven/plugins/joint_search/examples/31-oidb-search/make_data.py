"""Writes made-up observation logs and OIFITS granules of the VLTI in the words of OiDB."""

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path

rng = random.Random(2015)
here = Path(__file__).parent / "collections"
STARS = {
    "HD 100546": (173.355751, -70.19478),
    "HD 141569": (237.490608, -3.92126),
    "CO Ori": (81.90955, 11.42676),
    "bet Lyr": (282.51997, 33.36267),
    "Sirius": (101.28716, -16.71612),
}
BANDS = {"PIONIER": (1.52e-6, 1.76e-6), "GRAVITY": (1.99e-6, 2.45e-6), "MATISSE": (2.9e-6, 4.9e-6)}
COLLECTIONS = ["eso_vlti", "pionier_archive", "gravity_survey"]
FIRST_NIGHT = datetime(2019, 1, 1)


def make_observation(number: int) -> tuple[str, float, float, float, float, str, str]:
    """Make up what logs and granules share."""
    instrument = rng.choice(list(BANDS))
    short, long = BANDS[instrument]
    begin = 58484 + 9.0 * number + rng.uniform(0, 0.4)
    category = "SCIENCE"
    if rng.random() < 0.3:
        category = "CALIB"
    return instrument, short, long, begin, begin + 0.02, category, f"0{100 + number % 8}.C-0{number % 900:03d}"


def compute_release_date(begin: float, months: int) -> str:
    """Return the end of an embargo, as a text."""
    return (FIRST_NIGHT + timedelta(days=begin - 58484 + 30 * months)).strftime("%Y-%m-%dT%H:%M:%S")


logs: list[list[object]] = [
    [
        "exp_id",
        "target_name",
        "target_ra",
        "target_dec",
        "exp_mjd_min",
        "exp_mjd_max",
        "instrument_name",
        "instrument_em_min",
        "instrument_em_max",
        "obs_type",
        "calib_level",
        "obs_program",
        "obs_collection",
        "exp_date_release",
    ]
]
for number in range(300):
    star = rng.choice(list(STARS)[:4])
    instrument, short, long, begin, end, category, program = make_observation(number)
    logs.append(
        [
            f"{instrument[:5]}.{number:04d}",
            star,
            *STARS[star],
            round(begin, 5),
            round(end, 5),
            instrument,
            short * 1e6,
            long * 1e6,
            category,
            0,
            program,
            "eso_vlti",
            compute_release_date(begin, 12),
        ]
    )
granules: list[list[object]] = [
    [
        "id",
        "target_name",
        "s_ra",
        "s_dec",
        "t_min",
        "t_max",
        "instrument_name",
        "em_min",
        "em_max",
        "dataproduct_category",
        "calib_level",
        "progid",
        "proposal_subid",
        "obs_collection",
        "data_rights",
        "obs_release_date",
        "quality_level",
    ]
]
for number in range(60):
    star = "Sirius" if number % 60 < 13 else rng.choice(list(STARS)[:4])
    instrument, short, long, begin, end, category, program = make_observation(4 * number)
    level = rng.choice([1, 2, 2, 3])
    if number % 10 == 9:
        rights, release = "secure", ""
    elif number % 10 == 8:
        rights, release = "secure", "2099-01-01T00:00:00"
    else:
        rights, release = "public", compute_release_date(begin, 0)
    subid = rng.choice(["A", "B", ""])
    granules.append(
        [
            number + 1,
            star,
            *STARS[star],
            round(begin, 5),
            round(end, 5),
            instrument,
            short,
            long,
            category,
            level,
            program,
            subid,
            rng.choice(COLLECTIONS),
            rights,
            release,
            rng.choice(["good", "fair", "trash"]),
        ]
    )
for collection, rows in (("vlti_logs", logs), ("oidb", granules)):
    folder = here / collection / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
