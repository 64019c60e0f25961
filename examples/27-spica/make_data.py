"""Makes up a survey of stellar diameters: programmes, work packages, 3,000 targets, their set-ups, and two years of it.

The seed is fixed, so every run writes the same files.
"""

import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

SEED = 27
TARGET_COUNT = 3000
FIRST_NIGHT = datetime(2025, 3, 1)
NIGHT_COUNT = 600
OBSERVED_SHARE = 0.75  # of the nights: the others have clouds, or technical work
PROGRAMMES = {
    "DIA": ("Surface brightness and colour of stars", "Anna Berg", ["dwarfs", "giants", "hot stars"]),
    "EXO": ("Hosts of exoplanets", "Bob Lind", ["transits", "radial velocities"]),
    "AST": ("Stars with oscillations", "Chloe Roux", ["PLATO fields", "TESS"]),
    "BIN": ("Binaries", "Dan Okoro", ["spectroscopic", "eclipsing"]),
    "IMG": ("Images of surfaces", "Eva Sato", ["spots"]),
}
SPECTRAL_TYPES = {"B": -0.1, "A": 0.1, "F": 0.35, "G": 0.65, "K": 1.1, "M": 1.6}  # with their B-V
MODES = ["LR_140", "MR_4400", "HR_13000"]
ARRAYS = [  # stations of CHARA, their PoPs, their beams
    ("S1 S2 E1 E2 W1 W2", "521432", "B1 B2 B3 B4 B5 B6"),
    ("S1 E1 W1 W2", "5241", "B1 B3 B5 B6"),
    ("S2 E2 W2", "143", "B2 B4 B6"),
]
EXTRAS = {
    "EXO": [("planet_period", "d", 1.0, 900.0), ("planet_mass", "jupiterMass", 0.1, 12.0)],
    "AST": [("nu_max", "uHz", 20.0, 3200.0)],
    "BIN": [("semi_major_axis", "mas", 0.2, 20.0), ("eccentricity", "", 0.0, 0.8)],
}

rng = random.Random(SEED)
root = Path(__file__).parent / "collections/spica/data"


def write_table(name: str, rows: list[dict[str, object]]) -> None:
    """Write a file of values separated by commas."""
    with (root / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make_targets(packages: list[dict[str, object]]) -> list[dict[str, object]]:
    """Make up stars that CHARA can see, spread evenly over the sky."""
    low, high = (math.sin(math.radians(angle)) for angle in (-25, 85))
    rows: list[dict[str, object]] = []
    for number in range(1, TARGET_COUNT + 1):
        spectral_class, colour = rng.choice(list(SPECTRAL_TYPES.items()))
        vmag = round(rng.uniform(2.5, 8.5), 3)
        row: dict[str, object] = {
            "target": number,
            "name": f"SPI {number:04d}",
            "package": rng.choice(packages)["package"],
            "ra": round(rng.uniform(0, 360), 6),
            "dec": round(math.degrees(math.asin(rng.uniform(low, high))), 6),
            "pmra": round(rng.gauss(0, 60), 3),
            "pmdec": round(rng.gauss(0, 60), 3),
            "plx": round(rng.uniform(2, 60), 3),
            "vmag": vmag,
            "rmag": round(vmag - 0.55 * colour, 3),
            "hmag": round(vmag - 2.1 * colour, 3),
            "kmag": round(vmag - 2.2 * colour, 3),
            "sp_type": f"{spectral_class}{rng.randrange(10)}{rng.choice(['V', 'III', 'IV'])}",
            "hd": 1000 + 67 * number,
            "priority": rng.choices([1, 2, 3], [2, 5, 3])[0],
        }
        rows.append(row)
    return rows


def make_setups(targets: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give each target one to three set-ups: the mode, the stations, the beams."""
    rows: list[dict[str, object]] = []
    for target in targets:
        for mode in rng.sample(MODES, rng.choices([1, 2, 3], [80, 15, 5])[0]):
            stations, pops, beams = rng.choice(ARRAYS)
            row: dict[str, object] = {
                "setup": len(rows) + 1,
                "target": target["target"],
                "instrument": "SPICA_6T",
                "mode": mode,
                "stations": stations,
                "pops": pops,
                "beams": beams,
                "visits": rng.choice([1, 1, 2]),
            }
            rows.append(row)
    return rows


def make_nights() -> list[dict[str, object]]:
    """Make up the night log, one row for each night on which somebody observed."""
    rows: list[dict[str, object]] = []
    for number in range(NIGHT_COUNT):
        night = FIRST_NIGHT + timedelta(days=number)
        if rng.random() > OBSERVED_SHARE:
            continue
        seeing = round(rng.lognormvariate(0.1, 0.35), 2)
        row: dict[str, object] = {
            "night": f"{night:%Y-%m-%d}",
            "observer": rng.choice(["Dora Nagy", "Piotr Zak", "Eva Sato"]),
            "seeing": seeing,
            "clouds": rng.choices(["none", "thin", "thick"], [7, 2, 1])[0],
            "telescopes": rng.choices([6, 5, 4], [8, 1, 1])[0],
            "remark": "fringes lost several times" if seeing > 2 else "",
        }
        rows.append(row)
    return rows


def make_observations(
    setups: list[dict[str, object]], nights: list[dict[str, object]]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Observe a part of the set-ups, and reduce a part of the observations."""
    observations: list[dict[str, object]] = []
    products: list[dict[str, object]] = []
    queue = [setup for setup in setups if rng.random() < 0.6]
    for setup in queue:
        for _ in range(int(str(setup["visits"]))):
            night = rng.choice(nights)
            begin = datetime.fromisoformat(str(night["night"])) + timedelta(days=1, minutes=rng.randrange(120, 720))
            row: dict[str, object] = {
                "observation": len(observations) + 1,
                "setup": setup["setup"],
                "night": night["night"],
                "started": begin.isoformat(timespec="seconds"),
                "exposure": rng.choice([300, 600, 900]),
                "fringe_snr": round(rng.lognormvariate(2.2, 0.7), 1),
            }
            observations.append(row)
    observations.sort(key=lambda row: str(row["started"]))
    for number, row in enumerate(observations, 1):
        row["observation"] = number
        if rng.random() < 0.7:
            done = datetime.fromisoformat(str(row["started"])) + timedelta(days=rng.randrange(1, 60))
            product: dict[str, object] = {
                "product": len(products) + 1,
                "observation": number,
                "stage": rng.choice([2, 2, 3]),
                "reduced": f"{done:%Y-%m-%d}T12:00:00",
                "diameter": round(rng.uniform(0.2, 3.0), 3),
                "e_diameter": round(rng.uniform(0.002, 0.03), 4),
            }
            products.append(product)
    return observations, products


def main() -> None:
    """Write all tables."""
    root.mkdir(exist_ok=True)
    programmes: list[dict[str, object]] = []
    packages: list[dict[str, object]] = []
    for name, (title, investigator, parts) in PROGRAMMES.items():
        programmes.append({"programme": name, "title": title, "investigator": investigator, "summary": ""})
        for number, part in enumerate(parts, 1):
            packages.append({"package": f"{name}-{number}", "programme": name, "title": part, "coordinator": investigator})
    targets = make_targets(packages)
    setups = make_setups(targets)
    nights = make_nights()
    observations, products = make_observations(setups, nights)
    extras: list[dict[str, object]] = []
    for target in targets:
        for name, unit, low, high in EXTRAS.get(str(target["package"]).split("-")[0], []):
            value = f"{rng.uniform(low, high):.4g}"
            extras.append({"target": target["target"], "name": name, "content": value, "unit": unit})
    for name, rows in {
        "programmes": programmes,
        "packages": packages,
        "targets": targets,
        "setups": setups,
        "extras": extras,
        "nights": nights,
        "observations": observations,
        "products": products,
    }.items():
        write_table(name, rows)


if __name__ == "__main__":
    main()
