"""CDF, netCDF and IDL SAVE files open and convert, n of n; values as other readers have them; built files of layouts that no real one is had of."""

from __future__ import annotations

import gzip
import io
import re
import struct
import tempfile
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from array_products import write_array_product
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from hven.formats.media import TablePart, detect_product_file_format, open_product
from hven.formats.media.api import MISSING_INSTANT
from hven.model.errors import SourceError, TooLargeError
from hven.plugins.array_files import cdf, sav
from hven.plugins.array_files.cdf_epochs import convert_epochs_to_instants, convert_epochs_to_mjd
from hven.plugins.array_files.cdf_types import EPOCH16_TYPE, EPOCH_TYPE, TT2000_TYPE
from product_checks import (
    ORIGINS,
    check_conversion,
    check_damage,
    check_failing_server,
    check_remote_reads,
    create_selection,
    cut_product,
    find_real_products,
    open_converted,
    read_whole_array,
    write_product_as_fits,
)
from product_files import write_istp_cdf
from shared import shared

# medium -> patterns below ../shared/data, and how many files they find. What is damaged, and what it says: none
REAL = {
    "cdf": (["helio/cdf/*.cdf"], 7),
    "netcdf": (["helio/timeseries/*.nc"], 2),
}


def products(medium: str, origin: str, folder: Path) -> list[Path]:
    """Give products of a medium: real ones, or one that is made in a folder."""
    if origin == "made":
        folder.mkdir()
        return [write_array_product(medium, folder)]
    patterns, count = REAL[medium]
    return find_real_products(patterns, count)


@ORIGINS
@pytest.mark.parametrize("medium", REAL)
def test_all_products_are_converted(medium, origin, tmp_path):
    """9 of 9 real ones: 7 CDF, 2 netCDF; .sav: what scipy has (below)."""
    for path in products(medium, origin, tmp_path / "made"):
        check_conversion(path, medium)


def test_idl_files_are_converted():
    """47 of 48 of those that scipy is tested with; the other one is damaged, and says so."""
    folder = Path(pytest.importorskip("scipy.io").__file__).parent / "tests" / "data"
    paths = sorted(folder.glob("*.sav"))
    if not paths:
        pytest.skip("scipy came without its tests")
    failed = []
    for path in paths:
        try:
            with open_product(path) as product:
                open_converted(write_product_as_fits(product))
        except SourceError:
            failed.append(path.name)
    assert failed == ["invalid_pointer.sav"]
    with open_product(folder / "array_float32_4d.sav") as product:
        assert product.arrays[0].shape == (4, 5, 8, 7)
    with open_product(folder / "struct_arrays_replicated.sav") as product:
        assert [part.row_count for part in product.parts] == [5, 3]


@pytest.mark.parametrize(
    ("lengths", "names"),
    [
        ([3, 3], ["arrays"]),
        ([3, 4], ["arrays of 3", "arrays of 4"]),
        ([3, 4, 4, 5], ["arrays of 3", "arrays of 4", "arrays of 5"]),
    ],
)
def test_arrays_of_idl_files_are_tables_by_their_lengths(lengths, names):
    """Where all are equally long there is one table, whose name needs no length."""
    found = sav._SavContents()
    for number, length in enumerate(lengths):
        found.add_value(f"v{number}", np.arange(float(length)), 0)
    parts = list(found.create_parts())
    assert [part.name for part in parts] == names
    assert [part.row_count for part in parts] == list(dict.fromkeys(lengths))
    assert sum(len(part.columns) for part in parts) == len(lengths)


def test_epochs_are_converted_with_leap_seconds():
    """By astropy; CDF's own table of them and astropy's agree."""
    instants = ["1999-06-01T00:00:00", "2016-12-31T23:59:59", "2017-01-01T00:00:00", "2020-01-04T06:00:00"]
    seconds = Time(instants, scale="utc").tt - Time("2000-01-01T12:00:00", scale="tt")
    stored = np.append(np.round(seconds.sec * 1e9).astype(np.int64), np.iinfo(np.int64).min)
    days = (np.array(instants, "datetime64[s]") - np.datetime64("1858-11-17")).astype(np.int64) / 86400.0
    assert convert_epochs_to_mjd(stored, TT2000_TYPE)[:4] == pytest.approx(days, abs=1e-9)
    assert np.isnan(convert_epochs_to_mjd(stored, TT2000_TYPE)[4])
    milliseconds = (days + 678_941.0) * 86_400e3
    assert convert_epochs_to_mjd(np.append(milliseconds, -1e31), EPOCH_TYPE)[:4] == pytest.approx(days, abs=1e-9)
    pairs = (milliseconds / 1e3).astype(np.complex128) + 0.5e12j
    assert convert_epochs_to_mjd(pairs, EPOCH16_TYPE) == pytest.approx(days + 0.5 / 86_400.0, abs=1e-9)


def test_epochs_keep_all_bits_of_a_modified_julian_date():
    """Days since the year 0 have a thirteenth of the digits of days since 1858."""
    milliseconds = np.random.default_rng(2).integers(63_000_000_000_000, 63_900_000_000_000, 1000)
    expected = [float(Fraction(int(value), 86_400_000) - 678_941) for value in milliseconds]
    found = convert_epochs_to_mjd(milliseconds.astype(np.float64), EPOCH_TYPE)
    assert np.abs(found - expected).max() <= np.spacing(60_000.0)


def encode_tt2000(moments):
    """Encode UTC as the library of CDF does."""
    cdfepoch = pytest.importorskip("cdflib").cdfepoch
    found = []
    for moment in moments:
        day, rest = str(moment).split("T")
        second, fraction = rest.split(".")
        parts = [
            *map(int, day.split("-")),
            *map(int, second.split(":")),
            *(int(fraction[at : at + 3]) for at in (0, 3, 6)),
        ]
        found.append(int(cdfepoch.compute_tt2000(parts)))
    return np.array(found)


def test_utc_before_1972_is_that_of_the_standards():
    """At noon of each day: the difference to TAI that SOFA knows, rates and steps included. The library of CDF keeps it for the whole day."""
    erfa = pytest.importorskip("erfa")
    days = np.arange(np.datetime64("1960-01-01"), np.datetime64("1972-01-01"))
    year, month, day = (np.array([int(str(one).split("-")[at]) for one in days]) for at in range(3))
    behind = np.round(erfa.dat(year, month, day, 0.5) * 1e9).astype(int)
    noon = 43_200 * 10**9
    tt2000 = (days - np.datetime64("2000-01-01")).astype(int) * 2 * noon + behind + 32_184_000_000
    micros, nanos = convert_epochs_to_instants(tt2000, TT2000_TYPE)
    assert (micros.astype("M8[us]") == days.astype("M8[us]") + np.timedelta64(12, "h")).all()
    assert (nanos == 0).all()
    assert convert_epochs_to_mjd(tt2000, TT2000_TYPE) == pytest.approx(
        (days - np.datetime64("1858-11-17")).astype(float) + 0.5, abs=1e-12
    )


def write_compressed_cdf(path, compression, body=None, *, level=9):
    """Write a CDF, and compress it as a whole: a CCR with what follows its first eight bytes, and a CPR (CDF Internal Format Description 2.1, 2.3)."""
    cdfwrite = pytest.importorskip("cdflib.cdfwrite")
    plain = path.with_name("plain.cdf")
    source = cdfwrite.CDF(str(plain))
    spec = {"Variable": "n", "Data_Type": 4, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": []}
    source.write_var(spec, var_data=np.arange(3000, dtype="i4"))
    source.close()
    rest = plain.read_bytes()[8:]
    if compression == 5:
        packed = gzip.compress(rest if body is None else body, level)
    else:
        packed = re.sub(rb"\x00{1,256}", lambda run: b"\0" + bytes([len(run[0]) - 1]), rest)
    size = 32 + len(packed)
    ccr = struct.pack(">qiqqi", size, 10, 8 + size, len(rest), 0) + packed
    cpr = struct.pack(">qiiiii", 28, 11, compression, 0, 1, 9)
    path.write_bytes(bytes.fromhex("cdf30001cccc0001") + ccr + cpr)
    return plain


@pytest.mark.parametrize("compression", [5, 1])
def test_a_cdf_that_is_compressed_as_a_whole(tmp_path, compression, monkeypatch):
    plain = write_compressed_cdf(tmp_path / "a.cdf", compression)
    before = set(Path(tempfile.gettempdir()).glob("hven-cdf-*"))
    with open_product(tmp_path / "a.cdf") as product, open_product(plain) as other:
        assert next(product.parts[0].read_batches(0, 3000)) == next(other.parts[0].read_batches(0, 3000))
        assert product.cards == other.cards
    assert list(cdf.read_global_attributes(tmp_path / "a.cdf")) == list(cdf.read_global_attributes(plain))
    monkeypatch.setattr("hven.plugins.array_files.compressed_cdf.MAX_UNPACKED_BYTES", 4096)
    with pytest.raises(TooLargeError, match="after decompression, "):
        open_product(tmp_path / "a.cdf")
    assert set(Path(tempfile.gettempdir()).glob("hven-cdf-*")) <= before


def test_a_cdf_that_unpacks_to_more_than_it_says_is_bounded(tmp_path, monkeypatch):
    """20 MB of zeros behind a label that promises a few KB."""
    write_compressed_cdf(tmp_path / "a.cdf", 5, bytes(20_000_000))
    monkeypatch.setattr("hven.plugins.array_files.compressed_cdf.MAX_UNPACKED_BYTES", 1 << 22)
    with pytest.raises(TooLargeError, match="after decompression, "):
        open_product(tmp_path / "a.cdf")


@pytest.mark.parametrize(
    ("at", "word", "message"),
    [
        (12, b"\xff" * 8, "damaged|label states|none"),
        (-16, b"\0\0\0\2", r"has the compression type 2, which Hven cannot read"),
    ],
)
def test_damaged_records_of_the_compression_are_told(tmp_path, at, word, message):
    write_compressed_cdf(tmp_path / "a.cdf", 5)
    data = bytearray((tmp_path / "a.cdf").read_bytes())
    data[at : at + len(word)] = word
    (tmp_path / "a.cdf").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        open_product(tmp_path / "a.cdf")


def test_nanoseconds_equal_those_of_cdflib():
    cdfepoch = pytest.importorskip("cdflib").cdfepoch
    rng = np.random.default_rng(6)
    # 1972 to 2250; no leap second is among them
    fine = rng.integers(-880_000_000_000_000_000, 7_900_000_000_000_000_000, 1000)
    micros, nanos = convert_epochs_to_instants(np.append(fine, np.iinfo(np.int64).min), TT2000_TYPE)
    assert micros[-1] == MISSING_INSTANT
    shown = [f"{one}{more:03d}" for one, more in zip(micros[:-1].astype("M8[us]").astype(str), nanos, strict=False)]
    assert shown == list(cdfepoch.encode(fine))
    seconds = rng.integers(62_000_000_000, 66_000_000_000, 100).astype("f8")
    pico = rng.integers(0, 10**12, 100).astype("f8")
    micros, nanos = convert_epochs_to_instants(seconds + 1j * pico, EPOCH16_TYPE)
    shown = [f"{one}{more:03d}" for one, more in zip(micros.astype("M8[us]").astype(str), nanos, strict=True)]
    assert shown == [cdfepoch.encode_epoch16(one)[:29] for one in seconds + 1j * pico]
    early = np.arange(
        np.datetime64("1960-01-01T12", "ns"),
        np.datetime64("1972-01-01", "ns"),
        np.timedelta64(37 * 3600 * 10**9 + 7, "ns"),
    )
    for moment, micro, nano in zip(early, *convert_epochs_to_instants(encode_tt2000(early), TT2000_TYPE), strict=True):
        assert abs((np.datetime64(int(micro), "us").astype("M8[ns]") + int(nano) - moment).astype(int)) <= 1, moment
    leap = np.arange(536_500_868_184_000_000 - 1_200_000_000, 536_500_868_184_000_000 + 1_200_000_000, 999_983)
    micros, nanos = convert_epochs_to_instants(leap, TT2000_TYPE)
    assert (np.diff(micros * 1000 + nanos) > 0).all()


def test_cdf_series_are_cut_by_time():
    cdflib = pytest.importorskip("cdflib")
    path = shared("data/helio/cdf/rbspa_rel04_ect-hope-PA-L3_20121201_v0.0.0.cdf")
    source = cdflib.CDF(str(path))
    flux, epoch = source.varget("FEDU"), convert_epochs_to_mjd(source.varget("Epoch_Ele"), EPOCH_TYPE)
    with open_product(path) as product:
        found = open_converted(cut_product(product, create_selection(time=(epoch[10], epoch[19])), part_name="FEDU"))
        table = open_converted(
            cut_product(product, create_selection(time=(epoch[10], epoch[19])), part_name="Epoch_Ele")
        )
    wanted = np.where(flux == np.float32(-1e31), np.nan, flux)[10:20]
    assert np.array_equal(found[0].data, wanted, equal_nan=True)
    assert np.array_equal(table[1].data["FEDU"], wanted, equal_nan=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = WCS(found[0].header, fobj=found)
    assert found[0].header["NAXIS3"] == 10
    day = times.all_pix2world([[1.0, 1.0, 1.0]], 1)[0][2] + found[0].header["MJDREF"]
    assert day == pytest.approx(epoch[10], abs=1e-9)


def test_scales_groups_and_times_of_netcdf_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    h5netcdf = pytest.importorskip("h5netcdf")
    with h5netcdf.File(tmp_path / "a.nc", "w") as file:
        group = file.create_group("model")
        group.dimensions = {"time": None, "lat": 5, "lon": 8}
        group.resize_dimension("time", 3)
        times = group.create_variable("time", ("time",), "i4", data=np.array([0, 6, 12]))
        times.attrs["units"] = "hours since 2001-02-03 12:00:00 +02:00"
        for name, unit, values in (("lat", "degrees_north", np.linspace(-40, 40, 5)), ("lon", "degrees_east", np.arange(8) * 45.0)):  # fmt: skip
            group.create_variable(name, (name,), "f8", data=values).attrs["units"] = unit
        data = np.arange(120, dtype="i2").reshape(3, 5, 8)
        field = group.create_variable("t", ("time", "lat", "lon"), "i2", data=data, fillvalue=np.int16(7))
        field.attrs.update(scale_factor=np.float32(0.5), add_offset=np.float32(10.0), units="K")
        one = group.create_variable("p", ("time",), "i2", data=np.array([1, 7, 3], "i2"), fillvalue=np.int16(7))
        one.attrs["units"] = "hPa"
    with open_product(tmp_path / "a.nc") as product:
        table = next(part for part in product.parts if isinstance(part, TablePart))
        rows = pa.Table.from_batches(table.read_batches(0, 3)).to_pylist()
        array = next(part for part in product.arrays if part.name == "model/t")
        values = read_whole_array(array)
        lon, lat = array.create_sky_mapping()(np.array([[1.0, 1.0], [8.0, 5.0]])).T
        assert array.axes[0].read_values()[0] == pytest.approx(51943.0 + 10.0 / 24.0)
        found = open_converted(
            cut_product(product, create_selection(longitude=(80.0, 100.0), latitude=(-25.0, 5.0)), part_name="model/t")
        )
    assert [row["p"] for row in rows] == [1, None, 3]
    assert rows[1]["time"] == pytest.approx(51943.0 + 16.0 / 24.0)
    wanted = data * np.float32(0.5) + np.float32(10.0)
    wanted[data == 7] = np.nan
    assert np.array_equal(values, wanted, equal_nan=True)
    assert lon == pytest.approx([0.0, 315.0])
    assert lat == pytest.approx([-40.0, 40.0])
    assert np.array_equal(found[0].data, wanted[:, 1:3, 2:3], equal_nan=True)
    with h5py.File(tmp_path / "outside.nc", "w") as file:
        file["x"] = h5py.ExternalLink("a.nc", "/model/t")
    with pytest.raises(SourceError, match="are in other files"):
        open_product(tmp_path / "outside.nc")
    with h5py.File(tmp_path / "raw.nc", "w") as file:
        file.create_dataset("x", (4, 4), "u1", external=[("/etc/hostname", 0, 16)])
    with pytest.raises(SourceError, match="are in other files"):
        open_product(tmp_path / "raw.nc")


@ORIGINS
@pytest.mark.parametrize("medium", REAL)
def test_damaged_files_say_so(tmp_path, medium, origin):
    """Cut off at many places, and with bytes changed: a fault of its own or what is left, nothing else."""
    check_damage(products(medium, origin, tmp_path / "made")[-1], tmp_path)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    """A block of CDF, a record of IDL SAVE, each of a few KB: refused before they fill the memory."""
    cdfwrite = pytest.importorskip("cdflib.cdfwrite")
    source = cdfwrite.CDF(str(tmp_path / "a.cdf"), cdf_spec={"Majority": "row_major"})
    spec = {"Variable": "x", "Data_Type": 4, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [1000], "Compress": 9}
    source.write_var(spec, var_data=np.zeros((1000, 1000), "i4"))
    source.close()
    with open_product(tmp_path / "a.cdf") as product:
        assert product.parts[0].row_count == 1000
        assert len(b"".join(write_product_as_fits(product, "0").read_chunks())) > 4_000_000
    packed = zlib.compress(bytes(4_000_000), 9)
    (tmp_path / "a.sav").write_bytes(b"SR\0\6" + struct.pack(">iIIi", 2, 20 + len(packed), 0, 0) + packed)
    monkeypatch.setattr("hven.plugins.array_files.cdf_reader.MAX_BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(sav, "MAX_UNPACKED_BYTES", 1 << 16)
    with open_product(tmp_path / "a.cdf") as product, pytest.raises(TooLargeError, match="after decompression, "):
        write_product_as_fits(product, "0")
    with pytest.raises(TooLargeError, match="after decompression, "):
        open_product(tmp_path / "a.sav")


@ORIGINS
@pytest.mark.parametrize("medium", REAL)
def test_files_from_elsewhere(medium, origin, tmp_path):
    """Read by ranges: the same parts."""
    check_remote_reads(products(medium, origin, tmp_path / "made")[-1])


@pytest.mark.parametrize("medium", REAL)
@pytest.mark.parametrize("after", [0, 1, 4])
@ORIGINS
def test_servers_that_fail_are_no_damaged_files(medium, after, origin, monkeypatch, tmp_path):
    """Whatever library reads: the fault of the server comes through, while a file is opened and while it is read."""
    path = max(products(medium, origin, tmp_path / "made"), key=lambda path: path.stat().st_size)
    check_failing_server(path, after, monkeypatch)


def test_media_are_told_by_what_they_begin_with():
    assert detect_product_file_format("a.dat", b"\x89HDF\r\n\x1a\n").name == "netcdf"
    assert detect_product_file_format("a.dat", b"SR\0\4").name == "sav"
    assert detect_product_file_format("a.cdf").name == "cdf"


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    path = write_array_product("cdf", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SourceError, match="a CDF file needs cdflib") as fault:
        open_product(path)
    assert "hven[products]" in fault.value.remedy


@pytest.mark.parametrize("support", ["support_data", "metadata"])
def test_cdf_opens_with_data_variables(tmp_path, support):
    times = 694_224_069_184_000_000 + np.arange(50) * 4_000_000_000
    over = {"DEPEND_0": "Epoch", "DEPEND_1": "channels"}
    channels = np.broadcast_to(np.arange(1.0, 9.0), (50, 8)).copy()
    path = write_istp_cdf(
        tmp_path / "a.cdf",
        {
            "Epoch_hk": (times, "support_data", {}),
            "rate_hk": (np.arange(50.0), support, {"DEPEND_0": "Epoch_hk"}),
            "Epoch": (times, "support_data", {}),
            "rate_position": (np.arange(50.0), support, {"DEPEND_0": "Epoch", "UNITS": "km"}),
            "channels": (channels, "support_data", {"DEPEND_0": "Epoch", "UNITS": "eV"}),
            "mode_rates": (channels + 1.0, support, over),
            "b": (np.arange(50.0) ** 2, "data", {"DEPEND_0": "Epoch", "UNITS": "nT"}),
            "spectra": (channels**2, "data", over),
        },
    )
    with open_product(path) as product:
        assert product.find_part().name == "spectra"
        roles = {one.name: one.role for one in product.parts}
        assert roles == {"Epoch_hk": "support", "Epoch": "data", "mode_rates": "support", "spectra": "data"}


def test_complex_variables_are_taken_apart(tmp_path):
    h5py = pytest.importorskip("h5py")
    cube = (np.arange(24) - 2j * np.arange(24)).reshape(2, 3, 4).astype("c8")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["gain"] = cube
        file["plain"] = np.arange(6.0).reshape(2, 3)
    with (
        open_product(tmp_path / "a.h5") as product,
        fits.open(io.BytesIO(b"".join(write_product_as_fits(product).read_chunks()))) as opened,
    ):
        real, imaginary, plain = (one.data for one in opened if one.data is not None)
        assert [one.name for one in product.arrays] == ["gain_real", "gain_imag", "plain"]
        assert np.array_equal(real + 1j * imaginary, cube)
        assert plain.shape == (2, 3)
        part = next(one for one in product.arrays if one.name == "gain_imag")
        window = (slice(1, 2), slice(0, 2), slice(1, 3))
        assert np.array_equal(part.read(window), cube.imag[window])
