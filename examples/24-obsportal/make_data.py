"""Makes up what an archive knows of exposures of the VLTI: a table of raw frames, and a page with the header of each; some are missing, cut off, or lack what they should say."""

import csv
import html
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

rng = random.Random(60)
root = Path(__file__).parent / "collections"
LATITUDE, LONGITUDE = -24.62743941, -70.40498688  # of the VLTI
with (root / "obsportal" / "stations.csv").open() as places:  # east and north of the array's origin, in metres
    STATIONS = {row["station"]: (float(row["east"]), float(row["north"])) for row in csv.DictReader(places)}
ARRAYS = ["U1 U2 U3 U4", "A0 B2 D0 C1", "A0 G1 J2 J3"]
MODES = {"GRAVITY": ["LOW", "MEDIUM", "HIGH"], "PIONIER": ["FREE", "GRISM"], "MATISSE": ["LM_LOW", "LM_MEDIUM"]}
TARGETS = {
    "eps Aur": (75.492, 43.823),
    "HD 45677": (97.072, -13.053),
    "V838 Mon": (106.021, -3.847),
    "del Sco": (240.083, -22.622),
    "bet Lyr": (282.520, 33.363),
}
PAIRS = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
NAMES = (
    "dp_id",
    "instrument",
    "object",
    "ra",
    "dec",
    "mjd_obs",
    "exposure",
    "dp_cat",
    "prog_id",
    "ob_id",
    "ins_mode",
    "last_mod_date",
    "lst",
    "stations",
)


def project_baseline(stations: list[str], pair: tuple[int, int], hour: float, dec: float) -> tuple[float, float]:
    """Project a baseline onto the sky: its length, and its angle from north over east. All angles in degrees."""
    (east, north), (east_, north_) = (STATIONS[stations[number - 1]] for number in pair)
    x, y = east_ - east, north_ - north
    sin_h, cos_h, sin_d, cos_d = (f(math.radians(angle)) for angle in (hour, dec) for f in (math.sin, math.cos))
    sin_l, cos_l = math.sin(math.radians(LATITUDE)), math.cos(math.radians(LATITUDE))
    u = x * cos_h - y * sin_l * sin_h
    v = x * sin_d * sin_h + y * (cos_l * cos_d + sin_l * sin_d * cos_h)
    return math.hypot(u, v), math.degrees(math.atan2(u, v)) % 360


def sidereal(mjd: float) -> float:
    """Return the local sidereal time, in degrees."""
    return (280.46061837 + 360.98564736629 * (mjd - 51_544.5) + LONGITUDE) % 360


def header(row: dict[str, object], stations: list[str], seconds: float, *, old: bool, wrong: bool) -> list[str]:
    """Write the cards of an exposure; an old one says no baselines, a wrong one those of other telescopes."""
    begin = float(str(row["mjd_obs"]))
    said: dict[str, object] = {
        "SIMPLE": True, "BITPIX": 16, "NAXIS": 0, "INSTRUME": row["instrument"], "RA": row["ra"], "DEC": row["dec"], "MJD-OBS": begin,
        "LST": round(sidereal(begin) * 240, 3), "EXPTIME": seconds, "ESO INS MODE": row["ins_mode"], "ESO ISS GEOLAT": LATITUDE, "ESO ISS GEOLON": LONGITUDE,
        "ESO ISS CONF NTEL": 4, "ESO ISS AMBI TAU0 START": round(rng.uniform(0.002, 0.012), 4), "ESO ISS AMBI FWHM START": round(rng.uniform(0.4, 1.8), 2),
        "ESO ISS AMBI TEMP": round(rng.uniform(5, 16), 1),
    }  # fmt: skip
    for number, station in enumerate(stations, 1):
        said[f"ESO ISS CONF STATION{number}"] = station
        # the model of optical paths counts to the west and to the south
        said |= {f"ESO ISS CONF T{number}{axis}": -at for axis, at in zip("XY", STATIONS[station], strict=True)}
        said[f"ESO ISS CONF T{number}Z"] = 4.54
    for pair in PAIRS if not old else []:
        name = "".join(map(str, pair))
        for word, later in (("START", 0.0), ("END", seconds)):
            hour = sidereal(begin + later / 86_400) - float(str(row["ra"]))
            length, angle = project_baseline(stations[::-1] if wrong else stations, pair, hour, float(str(row["dec"])))
            said |= {f"ESO ISS PBL{name} {word}": round(length, 3), f"ESO ISS PBLA{name} {word}": round(angle, 3)}
    return [card(key, value) for key, value in said.items()] + ["END"]


def card(key: str, value: object) -> str:
    """Write a card."""
    text = "T" if value is True else f"'{value}'" if isinstance(value, str) else str(value)
    return f"{key:8}= {text:>20} /" if len(key) <= 8 else f"HIERARCH {key} = {text} /"


def main() -> None:
    """Write the table, the pages and the modes of instruments."""
    pages = root / "obsportal" / "data" / "headers"
    pages.mkdir(parents=True, exist_ok=True)
    (root / "eso" / "data").mkdir(exist_ok=True)
    rows = []
    for number in range(60):
        instrument = rng.choice(list(MODES))
        name, (ra, dec) = rng.choice(list(TARGETS.items()))
        stations = rng.choice(ARRAYS).split()
        # at most two hours from the meridian
        mjd = round(
            60_000 + number + ((ra - sidereal(60_000 + number) + rng.uniform(-30, 30)) % 360) / 360.98564736629, 8
        )
        seconds = float(rng.choice([60, 120, 300]))
        when = datetime(1858, 11, 17) + timedelta(days=mjd)
        row: dict[str, object] = {
            "dp_id": f"{instrument[:5]}.{when:%Y-%m-%dT%H:%M:%S}.{number:03d}", "instrument": instrument, "object": name, "ra": ra, "dec": dec, "mjd_obs": mjd,
            "exposure": seconds, "dp_cat": rng.choice(["SCIENCE", "CALIB"]), "prog_id": f"0110.C-{rng.randrange(9999):04d}(A)", "ob_id": 3_000_000 + number // 4,
            "ins_mode": rng.choice(MODES[instrument]), "last_mod_date": (when + timedelta(hours=3)).isoformat(timespec="seconds"),
            "lst": round(sidereal(mjd) * 240, 3), "stations": " ".join(stations),
        }  # fmt: skip
        rows.append(row)
        cards = header(row, stations, seconds, old=number % 20 == 7, wrong=number == 31)
        text = f"<html><head><title>{row['dp_id']}</title></head><body><pre>\n{html.escape(chr(10).join(cards))}\n</pre></body></html>\n"
        if number == 12:
            text = "<html><body>Please log in</body></html>"  # what an archive shows of data that are not public
        if number == 23:
            text = text[: len(text) // 2]
        if number != 44:
            (pages / f"{row['dp_id']}.html").write_text(text)
    with (root / "eso" / "data" / "raw.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
