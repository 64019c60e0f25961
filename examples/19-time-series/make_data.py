"""Writes made-up samples to the layouts of real ones: two days of ORFEES and of the Nancay Decameter Array (FITS), a catalogue of bursts (TFCat), a flare of GOES and two centuries of sunspots (text)."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

rng = np.random.default_rng(1932)
HERE = Path(__file__).parent / "collections"
DAYS = [datetime(2014, 4, 18, 8, tzinfo=UTC), datetime(2014, 4, 19, 8, tzinfo=UTC)]
EDGES = (144.0, 350.0, 545.0, 750.0, 860.0, 1004.0)  # MHz, of the five receivers of ORFEES
SIZES = (43, 21, 16, 8, 10)


def place(collection: str, name: str) -> Path:
    target = HERE / collection / "data" / name
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    return target


def drifting(
    seconds: np.ndarray, frequency: np.ndarray, begin: float, first: float, last: float, long: float
) -> np.ndarray:
    """Make a burst that drifts from one frequency to another within some seconds."""
    share = (seconds[:, None] - begin) / long
    center = first * (last / first) ** np.clip(share, 0, 1)
    inside = (share >= 0) & (share <= 1)
    return inside * np.exp(-0.5 * ((frequency[None, :] / center - 1) / 0.06) ** 2)


# ORFEES: five bands in one row of FREQ_B1 .. FREQ_B5, then records with five clocks (ms of the day) and five spectra
for day in DAYS:
    records = 3000
    midnight = day.replace(hour=0)
    bands = [np.linspace(low, high, size, endpoint=False) for low, high, size in zip(EDGES, EDGES[1:], SIZES)]
    columns = []
    for band, frequency in enumerate(bands, 1):
        clock = 28_800_000 + 400 * np.arange(records) + 2 * band
        clock[records // 2 :] += 180_000  # three minutes without samples
        seconds = clock / 1000 - 28_800
        values = rng.normal(30, 1.5, (records, len(frequency))) + 8 * np.sqrt(frequency / 300)
        for begin in (240.0, 420.0, 1050.0):
            values += 90 * drifting(seconds, frequency, begin, 900, 150, 45)
        values[:, rng.integers(0, len(frequency))] += 25  # interference
        values[900:960] = np.nan  # calibration: samples without a value
        columns.append(fits.Column(f"TIME_B{band}", "J", "ms", array=clock.astype("i4")))
        columns.append(fits.Column(f"STOKESI_B{band}", f"{len(frequency)}E", "sfu", array=values.astype("f4")))
    head = fits.PrimaryHDU()
    head.header.update(
        {"DATE-OBS": f"{day:%Y-%m-%d}", "TIME-OBS": "08:00:00:002", "INSTRUME": "ORFEES", "OBJECT": "Sun"}
    )
    channels = fits.BinTableHDU.from_columns(
        [fits.Column(f"FREQ_B{band}", f"{len(one)}E", "MHz", array=one[None]) for band, one in enumerate(bands, 1)]
    )
    name = f"int_orf{midnight:%Y%m%d}_080000_0.1.fts"
    fits.HDUList([head, channels, fits.BinTableHDU.from_columns(columns)]).writeto(place("orfees", name))

# what somebody has found in them: TFCat
features = []
for number, (day, begin) in enumerate([(day, begin) for day in DAYS for begin in (240.0, 420.0, 1050.0)], 1):
    start = day.timestamp() + begin
    ridge = [[start + 45 * at, round(900 * (150 / 900) ** at, 2)] for at in np.linspace(0, 1, 12).tolist()]
    outline = [[time - 2.5, mhz * 1.08] for time, mhz in ridge] + [
        [time + 2.5, mhz / 1.08] for time, mhz in ridge[::-1]
    ]
    ring = [[round(time, 3), round(min(mhz, 1000.0), 2)] for time, mhz in [*outline, outline[0]]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    features.append(
        {"type": "Feature", "id": number, "geometry": geometry, "properties": {"kind": "III", "quality": number % 3}}
    )
field = {"info": "Type of the burst", "datatype": "str", "ucd": "meta.code.class", "unit": ""}
quality = {"info": "0 sure, 2 doubtful", "datatype": "int", "ucd": "meta.code.qual", "unit": ""}
axes = {
    "name": "Time-Frequency",
    "time_coords_id": "unix",
    "spectral_coords": {"type": "frequency", "unit": "MHz"},
    "ref_position_id": "TOPOCENTER",
}
catalogue = {
    "type": "FeatureCollection",
    "features": features,
    "fields": {"kind": field, "quality": quality},
    "properties": {"title": "Bursts of type III, made up", "contact": "nobody@example.org"},
    "crs": {"type": "local", "properties": axes},
}
place("orfees", "bursts.tfcat.json").write_text(json.dumps(catalogue))

# NDA's new routine: a table of frequencies; a table of Julian dates and of spectra of two polarisations. On the second day the receiver has another list of channels.
for number, day in enumerate(DAYS):
    frequency = np.linspace(10, 80, 140) if number == 0 else np.linspace(20, 60, 140)
    seconds = np.arange(0, 5400, 3.0)
    values = rng.gamma(4, 1e-17, (len(seconds), len(frequency), 2))
    for begin in (600.0, 2400.0, 2500.0, 4000.0):
        burst = drifting(seconds, frequency, begin, 80, 12, 90)
        values += 4e-15 * np.stack([burst, 0.3 * burst], axis=2)
    jd = 2440587.5 + (day.timestamp() + seconds) / 86400
    head = fits.PrimaryHDU()
    head.header.update({"INSTRUME": "NDA", "OBJECT": "Sun", "CHANNEL1": "LL", "CHANNEL2": "RR"})
    axis = fits.BinTableHDU.from_columns([fits.Column("frequency", f"{len(frequency)}D", "MHz", array=frequency[None])])
    columns = [
        fits.Column("jd", "D", "d", array=jd),
        fits.Column(
            "DATA", f"{2 * len(frequency)}E", "V**2/Hz", dim=f"(2,{len(frequency)})", array=values.astype("f4")
        ),
    ]
    fits.HDUList([head, axis, fits.BinTableHDU.from_columns(columns)]).writeto(
        place("nda", f"S{day:%y%m%d}_080000.fits")
    )

# GOES: both channels, a sample a minute; two hours are missing, and some values are none
with place("goes", "xrs.csv").open("w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(["obs_time", "xrsa", "xrsb"])
    for minute in range(2 * 1440):
        if 1900 <= minute < 2020:
            continue
        flare = sum(
            size * (minute > at) * np.exp(-max(minute - at, 0) / 25) * min((minute - at) / 8, 1)
            for at, size in ((485, 6e-5), (800, 4e-6), (1950, 2e-4))
        )
        soft = 4e-7 * rng.lognormal(0, 0.05) + flare
        hard = "" if 1000 <= minute < 1040 else f"{soft**1.35 * 12:.3e}"
        lines.writerow(
            [
                f"{DAYS[0].replace(hour=0, tzinfo=None) + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S}",
                hard,
                f"{soft:.3e}",
            ]
        )

# SILSO: 75,422 days, as its file has them: -1 stands for no value
with place("silso", "SN_d_tot_V2.0.csv").open("w") as file:
    for number in range(75_422):
        day = datetime(1818, 1, 1) + timedelta(days=number)
        years = number / 365.25
        mean = 85 * (1 - np.cos(2 * np.pi * (years - 5) / 11.02)) * (0.75 + 0.25 * np.sin(years / 16))
        spots = int(max(rng.normal(mean, 4 + mean / 4), 0))
        seen = rng.random() > (0.15 if years < 30 else 0.0)
        fraction = day.year + (day.timetuple().tm_yday - 0.5) / 365.25
        end = f"{spots:4d};{1 + spots / 12:5.1f};{rng.integers(1, 40):4d}" if seen else "  -1; -1.0;   0"
        file.write(f"{day.year};{day.month:02d};{day.day:02d};{fraction:.3f};{end};1\n")
