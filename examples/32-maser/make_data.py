"""Writes two days of spectra in the layout of Wind/WAVES (CDF with ISTP's attributes), and a list of the bursts in them with their chain codes, as the HFC has them."""

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path

import cdflib
import numpy as np

rng = np.random.default_rng(1994)
choices = random.Random(1994)
target = Path(__file__).parent / "collections" / "maser" / "data"
target.mkdir(exist_ok=True)
DAYS = (datetime(2003, 10, 28), datetime(2003, 10, 29))
MINUTES = 1440
RAD1 = 20 + 4.0 * np.arange(256)  # kHz
RAD2 = 1075 + 50.0 * np.arange(256)
STEPS = {(-1, 0): 0, (-1, -1): 1, (0, -1): 2, (1, -1): 3, (1, 0): 4, (1, 1): 5, (0, 1): 6, (-1, 1): 7}
EPOCH_JD = 2452940.5  # 2003-10-28T00:00


def encode_chain(pixels: list[tuple[int, int]]) -> str:
    """Write a path of neighbouring pixels as a chain code."""
    return "".join(str(STEPS[x - a, y - b]) for (a, b), (x, y) in zip(pixels, pixels[1:], strict=False))


def trace(first: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the first and the last minute of a burst in each channel: it drifts to lower frequencies and becomes longer."""
    late = 1000 / RAD2[low : high + 1] - 1000 / RAD2[high]
    return first + np.round(15 * late).astype(int), first + 2 + np.round(22 * late).astype(int)


def write_cdf(path: Path, day: datetime, spectra: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write the spectra of a day: a time, channels and values for each receiver."""
    path.unlink(missing_ok=True)
    file = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"})
    facts = {
        "Project": "Wind",
        "Discipline": "Space Physics>Interplanetary Studies",
        "Source_name": "WIND>Wind Interplanetary Plasma Laboratory",
        "Descriptor": "WAV>Radio and Plasma Wave Investigation",
        "Data_type": "L2>60 s spectra",
        "Logical_source": "wi_l2_wav",
        "Logical_file_id": path.stem,
        "Logical_source_description": "Wind/WAVES, spectra of 60 s (made up)",
        "PI_name": "Nobody",
        "PI_affiliation": "Observatoire de Paris",
        "TEXT": "Made up.",
    }
    file.write_globalattrs({name: {0: value} for name, value in facts.items()})

    def write(name: str, kind: int, values: np.ndarray, *, varies: bool = True, **attributes: object) -> None:
        shape = values.shape[1:] if varies else values.shape
        # compressed blocks would contain the time at which they were written
        spec = {"Variable": name, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": varies, "Dim_Sizes": list(shape), "Compress": 0}  # fmt: skip
        file.write_var(spec, var_attrs={"CATDESC": name, "FIELDNAM": name, **attributes}, var_data=values)

    begin = int(cdflib.cdfepoch.compute_tt2000([day.year, day.month, day.day, 0, 0, 30, 0, 0, 0]))
    minutes = begin + 60_000_000_000 * np.arange(MINUTES)  # the middle of each minute
    write("Epoch", 33, minutes, VAR_TYPE="support_data", UNITS="ns", MONOTON="INCREASE")
    for name, (kilohertz, values) in spectra.items():
        write(f"{name}_frequency", 45, kilohertz / 1000, varies=False, VAR_TYPE="support_data", UNITS="MHz", LABLAXIS="Frequency", SCALETYP="linear")  # fmt: skip
        write(name, 44, values.astype("f4"), VAR_TYPE="data", DISPLAY_TYPE="spectrogram", UNITS="dB", LABLAXIS=f"{name} above background", DEPEND_0="Epoch", DEPEND_1=f"{name}_frequency", FILLVAL=np.float32(-1e31), SCALETYP="linear")  # fmt: skip
    file.close()


rows = []
for number, day in enumerate(DAYS):
    low_band = rng.normal(1.0, 0.4, (MINUTES, len(RAD1)))
    high_band = rng.normal(1.0, 0.4, (MINUTES, len(RAD2)))
    for first in sorted(choices.sample(range(20, MINUTES - 60, 45), 6)):
        bottom, top = choices.randrange(0, 12), choices.randrange(150, 256)
        begins, ends = trace(first, bottom, top)
        channels = list(range(bottom, top + 1))
        for channel, begin, end in zip(channels, begins, ends, strict=True):
            high_band[begin : end + 1, channel] += 25
        low_band[ends[0] : ends[0] + 30, -60:] += 12  # the burst goes on below
        # around the area: down its begin, along the lowest channel, up its end, back along the highest one
        down = [(int(x), y) for x, y in zip(begins, channels)][::-1]
        up = [(int(x), y) for x, y in zip(ends, channels)]
        along = [(x, bottom) for x in range(int(begins[0]) + 1, int(ends[0]))]
        back = [(x, top) for x in range(int(ends[-1]) - 1, int(begins[-1]), -1)]
        middle = [((left[0] + right[0]) // 2, left[1]) for left, right in zip(down, up[::-1])]

        def to_jd(minute: int, number: int = number) -> float:
            return EPOCH_JD + number + (minute + 0.5) / 1440

        box = {}
        for corner in range(4):  # 0 and 1 at the begin, 2 and 3 at the end; even ones below
            box[f"BR_X{corner}_UTC"] = to_jd(int(ends.max() if corner > 1 else begins.min()))
            box[f"BR_Y{corner}_MHZ"] = RAD2[top if corner % 2 else bottom] / 1000
        rows.append(
            {
                "ID_TYPE_III": len(rows) + 1,
                "TIME_START": (day + timedelta(minutes=int(begins.min()), seconds=30)).isoformat(),
                "TIME_END": (day + timedelta(minutes=int(ends.max()), seconds=30)).isoformat(),
                **box,
                "CC": encode_chain([*down, *along, *up, *back]),
                "CC_X_UTC": to_jd(down[0][0]),
                "CC_Y_MHZ": RAD2[top] / 1000,
                "SKE_CC": encode_chain(middle),
                "SKE_CC_X_UTC": to_jd(middle[0][0]),
                "SKE_CC_Y_MHZ": RAD2[top] / 1000,
                "CDELT1": 60.0,
                "CDELT2": 0.05,
            }
        )
    write_cdf(target / f"wi_l2_wav_{day:%Y%m%d}_v01.cdf", day, {"RAD1": (RAD1, low_band), "RAD2": (RAD2, high_band)})
with (target / "type_iii.csv").open("w", newline="") as file:
    table = csv.DictWriter(file, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
