"""Makes up headers of exposures in the form of ObsPortal's exports; some have what real ones have: no time, a target below the horizon, a wrong name."""

import csv
import random
from pathlib import Path

rng = random.Random(98)
target = Path(__file__).parent / "collections" / "headers" / "data" / "headers.csv"
INSTRUMENTS = {
    "PIONIER": (["A0 B2 C1 D0", "A0 G1 J2 J3"], ["GRISM", "FREE"]),
    "GRAVITY": (["U1 U2 U3 U4", "A0 G1 J2 K0"], ["HIGH-COMBINED", "MEDIUM-COMBINED"]),
    "MATISSE": (["A0 B2 C1 D0", "U1 U2 U3 U4"], ["LOW", "MEDIUM"]),
}
NAMES = (
    "exp_id", "exp_mjd_start", "exp_mjd_end", "obs_type", "obs_program", "instrument_name", "instrument_mode", "interferometer_stations", "target_name",
    "target_ra", "target_dec", "elevation", "date_updated",
)  # fmt: skip


def header(number: int) -> dict[str, object]:
    """Make a header without a fault."""
    instrument = rng.choices(list(INSTRUMENTS), [5, 3, 2])[0]
    stations, modes = INSTRUMENTS[instrument]
    begin = 57_388 + 1_826 * number / 3_000 + rng.uniform(0, 0.3)  # five years
    return {
        "exp_id": f"{instrument[:5]}.{number:06d}_1",
        "exp_mjd_start": round(begin, 8),
        "exp_mjd_end": round(begin + rng.uniform(30, 300) / 86_400, 8),
        "obs_type": rng.choice(["science", "calibrator"]),
        "obs_program": f"{96 + number // 500:04d}.C-{rng.randrange(1000):04d}(A)",
        "instrument_name": instrument,
        "instrument_mode": rng.choice(modes),
        "interferometer_stations": rng.choice(stations),
        "target_name": f"HD {rng.randrange(1, 300_000)}",
        "target_ra": round(rng.uniform(0, 360), 6),
        "target_dec": round(rng.uniform(-85, 20), 6),
        "elevation": round(rng.uniform(30, 88), 3),
        "date_updated": "2026-01-15T00:00:00",
    }


FAULTS = {
    "no time": {"exp_mjd_start": "", "exp_mjd_end": ""},
    "ends before it begins": {"exp_mjd_end": 57_000.0},
    "below the horizon": {"elevation": -12.5},
    "too far north": {"target_dec": 74.0},
    "no position": {"target_ra": "", "target_dec": ""},
    "a calibration": {"obs_type": "DARK,MEDIUM"},
    "no stations": {"interferometer_stations": ""},
    "a test": {"obs_program": "60.A-9801(U)", "target_name": "TEST"},
}
target.parent.mkdir(parents=True, exist_ok=True)
with target.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, NAMES, lineterminator="\n")
    writer.writeheader()
    for number in range(3_000):
        row = header(number)
        # MATISSE was new in these years
        if rng.random() < {"PIONIER": 0.01, "GRAVITY": 0.015, "MATISSE": 0.045}[row["instrument_name"]]:
            for fault in rng.sample(list(FAULTS), rng.choice([1, 1, 1, 2])):
                row |= FAULTS[fault]
        writer.writerow(row)
