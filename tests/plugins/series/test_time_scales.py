"""Times of files that count TAI, TT, TDB or GPS become UTC, as astropy converts them; leap seconds included, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.time import Time

from hven.formats.media import open_product
from hven.model.errors import SourceError
from hven.model.sky import time_scales
from hven.model.table import TimeDecoding, TimeSeriesSpec
from hven.plugins.series.file_time_samples import FileTimeSamples
from plugin_needs import require_plugins

SCALES = ("TAI", "TT", "TDB", "GPS")


def utc(micros: npt.NDArray[np.int64], scale: str) -> npt.NDArray[np.int64]:
    """Convert by astropy, outside of leap seconds."""
    later = np.round(micros).astype("i8") + (19_000_000 if scale == "GPS" else 0)
    days, rest = np.divmod(later, 86_400_000_000)
    there = Time(2_440_587.5 + days, rest / 86_400e6, format="jd", scale="tai" if scale == "GPS" else scale.lower()).utc
    said = there.ymdhms
    days = np.array([f"{y:04d}-{m:02d}-{d:02d}" for y, m, d in zip(said["year"], said["month"], said["day"], strict=True)], "M8[us]")  # fmt: skip
    return days.astype("i8") + np.round(((said["hour"] * 60.0 + said["minute"]) * 60 + said["second"]) * 1e6).astype("i8")  # fmt: skip


def moments(path: Path, **clock: Any) -> npt.NDArray[np.int64]:
    said = TimeSeriesSpec(id="x", path="x", time="T", parameters=("V",), clock=TimeDecoding(**clock))
    with open_product(path, path.name, includes_text_tables=True) as product:
        return FileTimeSamples(product, said, path.name).instants


@pytest.mark.parametrize("scale", SCALES)
def test_they_are_those_of_astropy(scale: str) -> None:
    rng = np.random.default_rng(7)
    first, last = (np.datetime64(one, "us").astype("i8") for one in ("1972-01-03", "2026-01-01"))
    times = rng.integers(first, last, 20_000)
    found = time_scales.convert_to_monotonic_utc(times, scale)
    assert np.abs(found - utc(times, scale)).max() <= 1


@pytest.mark.parametrize("scale", SCALES)
def test_leap_seconds_are_in_order_and_the_day_ends_before_the_next(scale: str) -> None:
    for day, _ in time_scales.LEAP_SECONDS[1 :: 5 if scale == "TDB" else 1]:
        midnight = int(np.datetime64(day, "us").astype("i8"))
        around = midnight + np.arange(-30_000_000, 100_000_000, 10_000)
        found = time_scales.convert_to_monotonic_utc(around, scale)
        assert (np.diff(found) > 0).all()
        # a second of the clock, and it stands within the last millisecond of the day
        assert np.count_nonzero((found >= midnight - 1000) & (found < midnight)) == 100


def test_before_1972_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("T,V\n0,1\n1,2\n")
    with pytest.raises(SourceError, match="TAI times before 1972"):
        moments(tmp_path / "a.csv", unit="s", since="1970-01-01", scale="TAI")


def test_the_file_says_it_or_the_descriptor(tmp_path: Path) -> None:
    seconds = np.array([0.0, 1.5, 756_000_000.25])
    columns = [fits.Column("T", "D", array=seconds, unit="s"), fits.Column("V", "D", array=seconds)]
    for name, where in (("first.fits", 0), ("second.fits", 1)):
        parts = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)])
        parts[where].header["TIMESYS"] = "TT"
        parts.writeto(tmp_path / name)
    begin = np.datetime64("2001-01-01", "us").astype("i8")
    times = begin + np.round(seconds * 1e6).astype("i8")
    for name in ("first.fits", "second.fits"):
        assert np.array_equal(moments(tmp_path / name, since="2001-01-01"), utc(times, "TT"))
        # what the descriptor says holds
        assert np.array_equal(moments(tmp_path / name, since="2001-01-01", scale="UTC"), times)
        assert np.array_equal(moments(tmp_path / name, since="2001-01-01", scale="GPS"), utc(times, "GPS"))


@pytest.mark.parametrize("scale", ["TAI", "GPS", "UTC", ""])
def test_units_of_netcdf_say_it(tmp_path: Path, scale: str) -> None:
    require_plugins("media", "netcdf")
    seconds = np.array([0, 10, 870_000_000], "i8")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.attrs["Conventions"] = "CF-1.8"
        file["T"], file["V"] = seconds, seconds.astype("f8")
        file["T"].make_scale("T")
        file["V"].dims[0].attach_scale(file["T"])
        file["T"].attrs["units"] = f"seconds since 1993-01-01 00:00:00 {scale}".strip()
        file["T"].attrs["standard_name"] = "time"
    times = np.datetime64("1993-01-01", "us").astype("i8") + seconds * 1_000_000
    expected = utc(times, scale) if scale in SCALES else times
    assert np.array_equal(moments(tmp_path / "a.nc"), expected)


def test_values_without_a_time_stay_without(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("T,V\n10,1\n,2\n30,3\n")
    found = moments(tmp_path / "a.csv", unit="s", since="2000-01-01", scale="TAI")
    assert found.tolist() == [int(np.datetime64("1999-12-31T23:59:38", "us").astype("i8")), int(np.datetime64("1999-12-31T23:59:58", "us").astype("i8"))]  # fmt: skip
