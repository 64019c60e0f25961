"""Samples that stand in files: HAPI sends those that other readers of the files have; times, versions, gaps and layouts of channels as files have them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import cdflib
import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.io.votable import parse as read_votable
from jsonschema import Draft4Validator
from test_spans import read

from das2_streams import parse_stream
from file_servers import ServedFiles, serve_http
from hven.app._server import create_and_start_application
from hven.formats.media import open_product
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model import plugins, settings
from hven.plugins.series import granule_source as granules
from hven.plugins.series import pyramids
from hven.plugins.series.file_time_samples import FileTimeSamples
from hven.site import Site
from plugin_needs import require_plugins
from shared import shared

CDF_TYPES = {"f4": 44, "f8": 45, "i4": 4, "i8": 33}
EVERY = (-(2**62), 2**62)


def warnings_of(report):
    """List what the report warns of, deviations of the tables among it."""
    return [*report.warnings, *(str(one) for table in report.tables.values() for one in table.deviations)]


def cdf(
    path: Path, times: npt.NDArray[np.int64], channels: Sequence[float], seed: int = 0, *, unit: str = "dB", **more: Any
) -> None:
    """Write a day in NDA's layout: an epoch, two polarisations over channels, a status. Skip the test if no package reads CDF."""
    require_plugins("media", "cdf")
    rng = np.random.default_rng(seed)
    file = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"}, delete=True)
    shape = (len(times), len(channels))
    values: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
        "Epoch": (times, {"VAR_TYPE": "support_data"}),
        "LL": (rng.integers(0, 99, shape).astype("f4"), {"DEPEND_0": "Epoch", "DEPEND_1": "Frequency", "UNITS": unit, "FILLVAL": np.float32(-1e31)}),
        "RR": (rng.integers(0, 99, shape).astype("f4"), {"DEPEND_0": "Epoch", "DEPEND_1": "Frequency", "UNITS": "dB"}),
        "STATUS": (np.arange(len(times), dtype="i4") + 1000 * seed, {"DEPEND_0": "Epoch"}),
        **more,
    }  # fmt: skip
    values["LL"][0][0, 0] = -1e31
    table = np.asarray(channels, "f8")
    file.write_var({"Variable": "Frequency", "Data_Type": 45, "Num_Elements": 1, "Rec_Vary": False, "Dim_Sizes": list(table.shape)}, {"UNITS": "MHz", "VAR_TYPE": "support_data"}, table)  # fmt: skip
    for name, (array, said) in values.items():
        kind = CDF_TYPES[array.dtype.str[1:]]
        file.write_var({"Variable": name, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": list(array.shape[1:])}, said, array)  # fmt: skip
    file.close()


def tt2000(text: str) -> int:
    year, month, day = (int(part) for part in text[:10].split("-"))
    hour, minute, second = (int(part) for part in (text[11:] or "00:00:00").split(":"))
    return int(cdflib.cdfepoch.compute_tt2000([year, month, day, hour, minute, second, 0, 0, 0]))


def minutes(day: str, count: int = 1440) -> npt.NDArray[np.int64]:
    return tt2000(day) + np.arange(count, dtype="i8") * 60_000_000_000 + 123_456_789


def write_series_site(
    directory: Path, series: str, *, source: str = "{kind: granules, files: data/*}", more: str = ""
) -> Path:
    home = directory / "collections" / "nda"
    (home / "data").mkdir(parents=True, exist_ok=True)
    text = f"collection: nda\ntitle: Radio\ndescription: Spectra\nlicence_url: https://licence.example\nfiles: data/*\ntables:\n  days:\n    source: {source}\n    follow: true\n{more}    series: {series}\n"  # fmt: skip
    (home / "nda.yaml").write_text(text)
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\ncontact_email = "a@b.example"\n')
    return home / "data"


def open_client(directory: Path) -> tuple[Site, Client]:
    site = Site(settings.load_settings(directory))
    report = ingest_collection(site, "nda")
    assert report.published, report.error
    return site, Client(create_and_start_application(site))


def info(client: Client, name: str = "nda_days") -> Any:
    return json.loads(client.get("/hapi/info", dataset=name).body)


def rows(client: Client, start: str = "", stop: str = "", name: str = "nda_days", **given: str) -> list[list[str]]:
    said = info(client, name)
    answer = client.get("/hapi/data", dataset=name, start=start or said["startDate"], stop=stop or said["stopDate"], **given)  # fmt: skip
    assert answer.status == 200, answer.text
    return [line.split(",") for line in answer.text.splitlines()]


ROUTINE = '{file: "{target.path}", cadence: 1 min}'


@pytest.fixture(scope="module")
def nda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Path]]:
    directory = tmp_path_factory.mktemp("nda")
    data = write_series_site(directory, ROUTINE)
    for number, day in enumerate(("2016-12-30", "2016-12-31", "2017-01-01")):
        cdf(data / f"orn_nda_{day.replace('-', '')}_V01.cdf", minutes(day, 1440 + (day[:4] == "2016" and day[8:] == "31")), [10, 20, 30], number)  # fmt: skip
    site, client = open_client(directory)
    with site:
        yield client, data


def test_samples_of_daily_cdf_files_equal_those_of_cdflib(nda: tuple[Client, Path]) -> None:
    client, data = nda
    said = info(client)
    assert [one["name"] for one in said["parameters"]] == ["Epoch", "LL", "RR", "STATUS"]
    assert said["parameters"][1]["bins"] == [{"name": "Frequency", "units": "MHz", "centers": [10.0, 20.0, 30.0]}]
    assert (said["startDate"], said["stopDate"]) == ("2016-12-30T00:00:00.123456000Z", "2017-01-02T00:00:00.123456000Z")
    assert (said["parameters"][0]["length"], "note" in said) == (30, False)
    answer = client.get("/hapi/data", dataset="nda_days", start=said["startDate"], stop=said["stopDate"], format="binary")  # fmt: skip
    kind = np.dtype([("t", "S30"), ("LL", "<f8", 3), ("RR", "<f8", 3), ("STATUS", "<i4")])
    found = np.frombuffer(answer.body, kind)
    expected = [cdflib.CDF(str(path)) for path in sorted(data.glob("*.cdf"))]
    for name in ("LL", "RR", "STATUS"):
        there = np.concatenate([one.varget(name) for one in expected]).astype("f8")
        there[there == np.float32(-1e31)] = np.nan
        assert np.array_equal(found[name].astype("f8"), there, equal_nan=name == "LL")
    times = np.concatenate([cdflib.cdfepoch.to_datetime(one.varget("Epoch")) for one in expected]).astype("M8[ns]")
    # the sample within the leap second: the last millisecond of the day has it
    leap = int(np.flatnonzero(found["STATUS"] == 1000 + 1440)[0])
    shown = found["t"].astype("U30")
    assert shown[leap] == "2016-12-31T23:59:59.999124332Z"
    assert (shown[1:] > shown[:-1]).all()
    kept = np.arange(len(found)) != leap
    assert [f"{one}Z" for one in times[kept].astype(str)] == shown[kept].tolist()


def test_time_windows_have_the_requested_limits(nda: tuple[Client, Path]) -> None:
    client, _ = nda
    some = rows(client, "2016-12-30T23:58:00.123456Z", "2016-12-31T00:01:00.123456Z", parameters="STATUS")
    assert some == [["2016-12-30T23:58:00.123456789Z", "1438"], ["2016-12-30T23:59:00.123456789Z", "1439"], ["2016-12-31T00:00:00.123456789Z", "1000"]]  # fmt: skip
    stream = client.get("/das2/server", server="dataset", dataset="nda/days", start_time="2016-12-30", end_time="2016-12-30T00:02", ascii="1")  # fmt: skip
    assert stream.body.count(b"\n:01:2016-12-30T00:0") == 2


def test_availability_lists_the_time_spans_of_files(nda: tuple[Client, Path], tmp_path: Path) -> None:
    """Days that follow each other are one span; what lies further apart than two samples is another one."""
    client, _ = nda
    assert info(client)["x_availability"] == "nda_days_availability"
    name = "nda_days_availability"
    assert rows(client, name=name) == [["2016-12-30T00:00:00.123456Z", "2017-01-02T00:00:00.123456Z", "200", "samples"]]
    data = write_series_site(tmp_path, ROUTINE)
    for number, (day, count) in enumerate((("2020-01-01", 1439), ("2020-01-02", 10), ("2020-01-04", 20))):
        cdf(data / f"x_{day.replace('-', '')}_v01.cdf", minutes(day, count), [10, 20], number)
    cdf(data / "x_20200104_v02.cdf", minutes("2020-01-04", 5), [10, 20], 9)
    site, client = open_client(tmp_path)
    with site:
        found = [row[:2] for row in rows(client, name=name)]
        assert found == [
            ["2020-01-01T00:00:00.123456Z", "2020-01-02T00:10:00.123456Z"],
            ["2020-01-04T00:00:00.123456Z", "2020-01-04T00:20:00.123456Z"],
        ]
        assert [row[0] for row in rows(client, "2020-01-02T00:00Z", "2020-01-04T00:15Z", name)] == [found[1][0]]


def test_files_are_listed_as_hapi_3_4_requires(nda: tuple[Client, Path]) -> None:
    client, data = nda
    said = info(client, "nda_days_files")
    schemas = json.loads(shared("corpora/hapi/data-specification-schema--HAPI-data-access-schema-3.4.json").read_text())

    def plain(one: Any) -> Any:  # names of parts, which would be read as addresses
        if isinstance(one, list):
            return [plain(each) for each in one]
        return {key: plain(each) for key, each in one.items() if key != "id" or not isinstance(each, str)} if isinstance(one, dict) else one  # fmt: skip

    judge = Draft4Validator({**plain(schemas), "$ref": "#/infoFileListing"})
    assert [error.message for error in judge.iter_errors(said | {"HAPI": "3.4"})] == []
    assert said["x_relations"] == [{"id": "nda_days", "type": "isFileListingOf"}]
    base = said["parameters"][1]["stringType"]["uri"]["base"]
    found = rows(client, name="nda_days_files")
    assert [row[0][:10] for row in found] == ["2016-12-30", "2016-12-31", "2017-01-01"]
    assert max(len(row[1]) for row in found) <= said["parameters"][1]["length"] < 60
    for _, path, size in found:
        body = client.get(f"{base}{path}".removeprefix("https://vo.example")).body
        assert (body, float(size)) == ((data.parent / path).read_bytes(), len(body))
    some = rows(client, "2016-12-31", "2017-01-01", "nda_days_files", parameters="fileSize", format="csv")
    assert some == [[found[1][0], found[1][2]]]


def orfees(path: Path, day: str, late: float = 0.0, stokes: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Write a file as readers of ORFEES know it: five bands, each with its channels and its clock."""
    rng = np.random.default_rng(stokes)
    count, sizes = 500, (8, 6, 6, 4, 5)
    first = fits.PrimaryHDU()
    first.header["DATE-OBS"], first.header["TIME-OBS"], first.header["TELESCOP"] = day, "08:00:00:250", "ORFEES"
    made: dict[str, npt.NDArray[Any]] = {}
    for band, size in enumerate(sizes, 1):
        made[f"FREQ_B{band}"] = np.linspace(144 + 170 * (band - 1), 144 + 170 * band, size, endpoint=False).astype(
            ">f4"
        )
        made[f"TIME_B{band}"] = (28_800_250 + np.arange(count) * 100 + 2 * band).astype(">i4")
        made[f"STOKESI_B{band}"] = rng.normal(size=(count, size)).astype(">f4")
    made["TIME_B3"][200:] += round(late * 1000)
    channels = [fits.Column(f"FREQ_B{band}", f"{size}E", array=made[f"FREQ_B{band}"][None], unit="MHz") for band, size in enumerate(sizes, 1)]  # fmt: skip
    data = [fits.Column(f"{name}_B{band}", "J" if name == "TIME" else f"{size}E", array=made[f"{name}_B{band}"]) for name in ("TIME", "STOKESI") for band, size in enumerate(sizes, 1)]  # fmt: skip
    fits.HDUList([first, fits.BinTableHDU.from_columns(channels), fits.BinTableHDU.from_columns(data)]).writeto(path, overwrite=True)  # fmt: skip
    return made


BANDS = range(1, 6)
ORFEES = f"""
      - file: "{{target.path}}"
        cadence: 0.1 s
        time: {{of: TIME_B1, unit: ms, since: "orf%Y%m%d_"}}
        parameters: [stokesi]
        variables:
          stokesi: {{of: [{", ".join(f"STOKESI_B{band}" for band in BANDS)}], time: [{", ".join(f"TIME_B{band}" for band in BANDS)}], unit: Jy}}
        bins:
          stokesi: {{name: frequency, centers: [{", ".join(f"FREQ_B{band}" for band in BANDS)}]}}
      - file: "{{target.path}}"
        id: orfees_b3
        cadence: 0.1 s
        time: {{of: TIME_B3, unit: ms, since: DATE-OBS}}
        parameters: [STOKESI_B3]
        bins: {{STOKESI_B3: {{name: frequency, centers: FREQ_B3}}}}
"""


@pytest.mark.parametrize("late", [0.0, 0.03, 0.07])
def test_bands_with_separate_clocks_form_one_spectrogram(tmp_path: Path, late: float) -> None:
    data = write_series_site(tmp_path, ORFEES)
    there = orfees(data / "int_orf20140418_080000_0.1.fts", "2014-04-18", late)
    site, client = open_client(tmp_path)
    with site:
        (channels,) = info(client)["parameters"][1]["bins"]
        assert channels["units"] == "MHz"
        assert channels["centers"] == np.concatenate([there[f"FREQ_B{band}"] for band in BANDS]).astype("f8").tolist()
        found = rows(client)
        times = np.array([row[0][:-1] for row in found], "M8[us]")
        values = np.array([row[1:] for row in found], "f8").astype("f4")
        at, ends = np.datetime64("2014-04-18", "us"), np.cumsum([0, 8, 6, 6, 4, 5])
        for band in BANDS:
            own = values[:, ends[band - 1] : ends[band]]
            kept = ~np.isnan(own).any(axis=1)
            # each record of each band stands once, under a time that is no further from its own than half the cadence
            assert np.array_equal(own[kept], there[f"STOKESI_B{band}"])
            off = (times[kept] - at) / np.timedelta64(1, "ms") - there[f"TIME_B{band}"]
            assert np.abs(off).max() <= 50
        assert len(found) == (500 if late < 0.05 else 501)
        alone = rows(client, name="orfees_b3")
        assert [row[0] for row in alone] == [f"{at + np.timedelta64(int(one), 'ms')}Z" for one in there["TIME_B3"]]
        assert np.array_equal(np.array([row[1:] for row in alone], "f8").astype("f4"), there["STOKESI_B3"])


def test_each_of_the_five_clocks_of_orfees_equals_that_of_astropy(tmp_path: Path) -> None:
    """Each band as a data set with its own clock: times to the millisecond, channels and values as astropy reads them."""
    series = "".join(
        f"""
      - file: "{{target.path}}"
        id: orfees_b{band}
        cadence: 0.1 s
        time: {{of: TIME_B{band}, unit: ms, since: "orf%Y%m%d_"}}
        parameters: [STOKESI_B{band}]
        bins: {{STOKESI_B{band}: {{name: frequency, unit: MHz, centers: FREQ_B{band}}}}}"""
        for band in BANDS
    )
    data = write_series_site(tmp_path, series)
    for name, late in (("int_orf20140418_080000_0.1.fts", 0.03), ("int_orf20140419_080000_0.1.fts", 0.0)):
        orfees(data / name, f"{name[7:11]}-{name[11:13]}-{name[13:15]}", late)
    site, client = open_client(tmp_path)
    with site:
        clocks = set()
        for band in BANDS:
            times, values = [], []
            for path in sorted(data.glob("*.fts")):
                with fits.open(path) as hdus:
                    midnight = np.datetime64(hdus[0].header["DATE-OBS"], "ms")
                    times.append(midnight + np.asarray(hdus[2].data[f"TIME_B{band}"], "i8").astype("m8[ms]"))
                    values.append(np.asarray(hdus[2].data[f"STOKESI_B{band}"], "f4"))
                    channels = np.asarray(hdus[1].data[f"FREQ_B{band}"][0], "f8")
            found = rows(client, name=f"orfees_b{band}")
            assert np.array_equal(np.array([row[0][:-1] for row in found], "M8[ms]"), np.concatenate(times))
            assert np.array_equal(np.array([row[1:] for row in found], "f8").astype("f4"), np.concatenate(values))
            (axis,) = info(client, name=f"orfees_b{band}")["parameters"][1]["bins"]
            assert axis["centers"] == channels.tolist()
            clocks.add(found[0][0])
        assert len(clocks) == 5, "no two bands begin at the same millisecond"


def test_images_and_single_row_tables_are_read_as_samples(tmp_path: Path) -> None:
    """e-Callisto: the image is the spectrogram, its table of one row has both axes; GOES: all samples in one row."""
    callisto, goes = shared("data/radio/ecallisto/BIR_20110607_062400_10.fit"), shared("data/helio/timeseries/go1520110607.fits")  # fmt: skip
    for folder, series, path in (
        ("callisto", """{file: "{target.path}", cadence: 0.25 s, time: {of: TIME, unit: s, since: DATE-OBS TIME-OBS}, parameters: [intensity], variables: {intensity: {of: "0"}}, bins: {intensity: {name: frequency, unit: MHz, centers: FREQUENCY}}}""", callisto),
        ("goes", """{file: "{target.path}", time: {of: TIME, since: TIMEZERO}, part: FLUXES, parameters: [FLUX], variables: {FLUX: {fill: -99999}}}""", goes),
    ):  # fmt: skip
        data = write_series_site(tmp_path / folder, series)
        shutil.copy(path, data)
        site, client = open_client(tmp_path / folder)
        with site, fits.open(path) as hdus:
            found = rows(client)
            values = np.array([row[1:] for row in found], "f8")
            if folder == "callisto":
                table = hdus[1].data[0]
                assert np.array_equal(values, hdus[0].data.T.astype("f8"))
                assert info(client)["parameters"][1]["bins"][0]["centers"] == table["FREQUENCY"].tolist()
                zero, seconds = np.datetime64("2011-06-07T06:24:00.213", "us"), table["TIME"]
            else:
                there = hdus[2].data["FLUX"][0].astype("f8")
                there[there == -99999] = np.nan
                assert np.array_equal(values.astype("f4"), there.astype("f4"), equal_nan=True)
                zero, seconds = np.datetime64("2011-06-07", "us"), hdus[2].data["TIME"][0]
            expected = zero + np.round(seconds * 1e6).astype("m8[us]")
            assert [row[0] for row in found] == [f"{one}Z" for one in expected.astype(str)]


def test_samples_of_real_files_equal_those_of_other_readers(tmp_path: Path) -> None:
    require_plugins("media", "cdf", "netcdf")
    paths = [*sorted(shared("data/helio/cdf").glob("*.cdf")), *sorted(shared("data/helio/timeseries").glob("*.nc"))]
    data = write_series_site(tmp_path, "[]")
    tables = [f'  t{at}: {{source: {{kind: granules, files: "data/{path.name}"}}, follow: true, series: {{file: "{{target.path}}", id: t{at}}}}}' for at, path in enumerate(paths)]  # fmt: skip
    home = data.parent / "nda.yaml"
    home.write_text(home.read_text().partition("  days:")[0] + "\n".join(tables))
    for path in paths:
        shutil.copy(path, data)
    site, client = open_client(tmp_path)
    with site:
        for at, path in enumerate(paths):
            said = info(client, f"t{at}")
            if path.name.startswith(("ac_h0_mfi_00000000", "solo_L1")):  # a skeleton, and one without records
                assert site.get_published_state().tables_by_name[f"nda.t{at}"].rows == 1
                assert client.get("/hapi/data", dataset=f"t{at}", start="2000-01-01", stop="2001-01-01").body == b""
                continue
            names = [one["name"] for one in said["parameters"]]
            kinds = {"double": "<f8", "integer": "<i4"}
            dtype = np.dtype([(one["name"], kinds.get(one["type"], f"S{one.get('length')}"), tuple(one.get("size", ()))) for one in said["parameters"]])  # fmt: skip
            answer = client.get("/hapi/data", dataset=f"t{at}", start=said["startDate"], stop=said["stopDate"], format="binary")  # fmt: skip
            found = np.frombuffer(answer.body, dtype)
            assert (
                _compare_with_cdflib(path, names, found)
                if path.suffix == ".cdf"
                else _compare_with_h5py(path, names, found)
            ) > 0


def _compare_with_cdflib(path: Path, names: Sequence[str], found: npt.NDArray[Any]) -> int:
    source = cdflib.CDF(str(path))
    clock = source.varget(names[0])
    order = np.argsort(clock.real.ravel(), kind="stable")
    if source.varinq(names[0]).Data_Type == 33:
        texts = np.asarray(cdflib.cdfepoch.encode(clock), "U29")
        texts = texts if (np.asarray(clock) % 1000).any() else texts.astype("U26")
    else:
        texts = cdflib.cdfepoch.to_datetime(clock).astype("M8[us]").astype(str)
    assert found[names[0]].astype("U30").tolist() == [f"{one}Z" for one in texts[order]]
    checked = 0
    for name in names[1:]:
        values, fill = source.varget(name), source.varattsget(name).get("FILLVAL")
        if values.dtype.kind not in "iuf" or source.varinq(name).Data_Type in {31, 32, 33}:
            continue
        plain = values.astype("f8")[order]
        own = found[name].astype("f8").reshape(plain.shape)
        gone = np.isnan(plain) if fill is None else (values[order] == np.asarray(fill).astype(values.dtype)) | np.isnan(plain)  # fmt: skip
        assert np.array_equal(own[~gone], plain[~gone]), (path.name, name)
        assert (np.isnan(own[gone]) | (own[gone] == -(2**31))).all()
        checked += 1
    return checked


def _compare_with_h5py(path: Path, names: Sequence[str], found: npt.NDArray[Any]) -> int:
    with h5py.File(path) as file:
        clock = file[names[0]]
        unit = clock.attrs["units"]
        unit = unit.decode() if isinstance(unit, bytes) else unit
        since = np.datetime64(unit.partition(" since ")[2].removesuffix(" UTC"), "us")
        texts = (since + np.round(clock[:] * 1e6).astype("m8[us]")).astype(str)
        assert found[names[0]].astype("U27").tolist() == [f"{one}Z" for one in texts]
        checked = 0
        for name in names[1:]:
            fill, there = file[name].attrs.get("_FillValue"), file[name][:].astype("f8")
            kept = np.ones(there.shape, bool) if fill is None else there != fill
            if not {"scale_factor", "add_offset"} & {*file[name].attrs}:
                assert np.array_equal(found[name].astype("f8")[kept], there[kept]), (path.name, name)
                checked += 1
    return checked


def test_the_higher_version_of_overlapping_files_is_used(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, ROUTINE)
    cdf(data / "x_20200101_V9.cdf", minutes("2020-01-01", 100), [1, 2], 1)
    late = minutes("2020-01-01", 60)[30:]
    cdf(data / "x_20200101b_V10.cdf", np.delete(late, 5), [1, 2], 2)  # with a gap, which stays one
    cdf(data / "x_20200102_V1.cdf", minutes("2020-01-01", 120)[99:], [1, 2], 3)  # begins where the first one ends
    site, client = open_client(tmp_path)
    with site:
        found = [int(row[1]) for row in rows(client, parameters="STATUS")]
        assert found == [*range(1000, 1030), *range(2000, 2029), *range(1060, 1099), *range(3000, 3021)]
        # any window has the same samples
        part = [int(row[1]) for row in rows(client, "2020-01-01T00:20Z", "2020-01-01T01:40:30Z", parameters="STATUS")]
        assert part == [*range(1020, 1030), *range(2000, 2029), *range(1060, 1099), *range(3000, 3002)]
        # the older one is there as a file
        assert client.get("/collections/nda/files/data/x_20200101_V9.cdf").status == 200


def test_changing_channels_become_a_parameter_of_each_sample(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, ROUTINE)
    cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01", 3), [1, 2, 3], 1)
    cdf(data / "x_20200102_V1.cdf", minutes("2020-01-02", 3), [10, 20], 2)
    cdf(data / "x_20200103_V1.cdf", minutes("2020-01-03", 3), [10, 20], 3)
    site, client = open_client(tmp_path)
    with site:
        said = info(client)
        names = [one["name"] for one in said["parameters"]]
        assert names == ["Epoch", "LL", "RR", "STATUS", "Frequency", "RR_Frequency"]
        assert [one.get("size") for one in said["parameters"][1:]] == [[3], [3], None, [3], [3]]
        assert said["parameters"][1]["bins"] == [{"name": "Frequency", "units": "MHz", "centers": "Frequency"}]
        alone = json.loads(client.get("/hapi/info", dataset="nda_days", parameters="LL").body)
        assert alone["parameters"][1] == said["parameters"][1]  # as HAPI's verifier wants it
        assert any("channels of LL change" in note for note in said["note"])
        found = rows(client, parameters="LL,Frequency")
        assert [row[4:] for row in found] == [["1", "2", "3"]] * 3 + [["10", "20", "NaN"]] * 6
        assert [row[3] for row in found[3:]] == ["NaN"] * 6
        first = cdflib.CDF(str(data / "x_20200102_V1.cdf")).varget("LL")
        assert [float(row[2]) for row in found[3:6]] == first[:, 1].tolist()


def test_unordered_duplicate_and_missing_times_are_corrected(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, ROUTINE)
    times = minutes("2020-01-01", 1000)
    odd = times.copy()
    odd[500:600] = times[300:400] + 30_000_000_000  # runs back, in between
    odd[700] = times[699]  # twice
    odd[800] = -(2**63)  # none
    cdf(data / "x_20200101_V1.cdf", odd, [1, 2], 1)
    cdf(data / "x_20200102_V1.cdf", np.full(3, -(2**63)), [1, 2], 2)  # no time at all
    site, client = open_client(tmp_path)
    with site:
        found = rows(client, parameters="STATUS")
        moments = [row[0] for row in found]
        assert moments == sorted(set(moments))
        kept = {number: moment for number, moment in enumerate(odd) if number not in {699, 800}}
        expected = [1000 + number for number, _ in sorted(kept.items(), key=lambda pair: pair[1])]
        assert [int(row[1]) for row in found] == expected


def test_times_of_a_file_are_read_once_for_as_long_as_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_series_site(tmp_path, '{file: "{target.path}", cadence: 1 min, parameters: [LL, STATUS]}')
    cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01", 500), [1, 2], 1)
    site, client = open_client(tmp_path)
    with site:
        read: list[str] = []
        ordered = FileTimeSamples._read_and_sort_times
        monkeypatch.setattr(
            FileTimeSamples, "_read_and_sort_times", lambda self: read.append(self._name) or ordered(self)
        )  # type: ignore[func-returns-value]
        first = rows(client, parameters="LL", start="2020-01-01T00:10Z", stop="2020-01-01T00:20Z")
        assert read[-1:] == ["x_20200101_V1.cdf"]
        read.clear()
        again = rows(client, parameters="STATUS", start="2020-01-01T00:15Z", stop="2020-01-01T00:25Z")
        assert (len(first), len(again)) == (10, 10)
        assert first[5][0] == again[0][0] == "2020-01-01T00:15:00.123456789Z"
        assert read == []
        cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01T00:00:30", 500), [1, 2], 1)
        sync_collection(site, "nda")
        moved = rows(client, parameters="LL", start="2020-01-01T00:15Z", stop="2020-01-01T00:25Z")
        assert moved[0][0] == "2020-01-01T00:15:30.123456789Z"


def test_unreadable_files_are_reported_and_never_sent_in_part(tmp_path: Path) -> None:
    data = write_series_site(
        tmp_path, '{file: "{target.path}", cadence: 1 min, parameters: [LL, STATUS, ODD]}', more="    max_rejects: 1\n"
    )
    for day in (1, 2, 3):
        times = minutes(f"2020-01-0{day}", 2000 if day == 2 else 500)
        more = {"ODD": (np.arange(70, dtype="i4"), {})} if day == 3 else {"ODD": (np.arange(len(times), dtype="f8"), {"DEPEND_0": "Epoch"})}  # fmt: skip
        cdf(data / f"x_2020010{day}_V1.cdf", times, [1, 2], day, **more)
    whole = (data / "x_20200102_V1.cdf").read_bytes()
    (data / "x_20200102_V1.cdf").write_bytes(whole[: len(whole) // 2])
    (data / "x_empty_V1.cdf").write_bytes(b"")
    site = Site(settings.load_settings(tmp_path))
    with site:
        report = ingest_collection(site, "nda")
        table = report.tables["nda.days"]
        assert (table.published, table.rejected) == (1, 3)
        client = Client(create_and_start_application(site))
        assert [row[0][:10] for row in rows(client)] == ["2020-01-01"] * 500
        # changed since: nothing of it is sent, and it is said which file it was
        first = data / "x_20200101_V1.cdf"
        first.write_bytes(first.read_bytes() + b"more")
        answer = client.get("/hapi/data", dataset="nda_days", start="2020-01-01T00:10Z", stop="2020-01-01T00:20Z")
        assert answer.status >= 500
        assert "x_20200101_V1.cdf has changed since it was published" in answer.text


def test_units_of_files_are_converted_or_reported(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, '{file: "{target.path}", cadence: 1 min, parameters: [LL, NOT]}')
    for day, unit in ((1, "mV"), (2, "V"), (3, "")):
        cdf(data / f"x_2020010{day}_V1.cdf", minutes(f"2020-01-0{day}", 2), [1], day, unit=unit or " ")
    site, client = open_client(tmp_path)
    with site:
        said = info(client)
        assert [one["name"] for one in said["parameters"]] == ["Epoch", "LL"]
        assert said["note"] == ["not all files give a unit for LL", "NOT is in no file"]  # fmt: skip
        unit, values = said["parameters"][1]["units"], [float(row[1]) for row in rows(client)]
        own = [cdflib.CDF(str(path)).varget("LL").ravel().astype("f8") for path in sorted(data.glob("*.cdf"))]
        scale = {"V": (1e-3, 1.0), "mV": (1.0, 1e3)}[unit]
        expected = np.concatenate([own[0] * scale[0], own[1] * scale[1], own[2]])
        assert np.allclose(np.nan_to_num(values, nan=-1)[1::2], expected[1::2], rtol=1e-12)
        cdf(data / "x_20200104_V1.cdf", minutes("2020-01-04", 2), [1], 4, unit="nT")
        ingest_collection(site, "nda")
        assert client.get("/hapi/data", dataset="nda_days", start="2020-01-04", stop="2020-01-04T00:01Z").status == 200
        answer = client.get("/hapi/data", dataset="nda_days", start="2020-01-01T00:00:30Z", stop="2020-01-01T00:02Z")
        assert answer.status >= 500
        assert "has the unit 'mV' in data/x_20200101_V1.cdf, but 'nT' in the data set" in answer.text


LEVELS = """\
    columns: {release: {type: timestamp}, pi: {type: string}}
    set: {pi: anna}
    map: {release: "CASE WHEN version = '1' THEN CAST('2020-01-01T00:00:00' AS TIMESTAMP) ELSE CAST('2090-01-01T00:00:00' AS TIMESTAMP) END"}
    access:
      files: "release <= now or reader in (pi) or 'survey' in groups"
      take: release <= now or reader in (pi)
      path: path
"""


def test_who_may_not_take_a_file_has_none_of_its_samples(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, ROUTINE, more=LEVELS)
    for day in (1, 2, 3):
        cdf(data / f"x_2020010{day}_V{1 + (day == 3)}.cdf", minutes(f"2020-01-0{day}", 2), [1], day)
    # a newer version that is locked hides nothing
    cdf(data / "x_20200102b_V2.cdf", minutes("2020-01-02", 2), [1], 5)
    with (tmp_path / "hven.toml").open("a") as file:
        file.write('[people]\ngroups = {survey = ["carl"]}\n')
    site, client = open_client(tmp_path)
    with site:
        tokens = {name: site.store.users.add_account(name) for name in ("anna", "carl")}

        def ask_as(who: str | None, path: str, **given: str) -> Any:
            headers = {"authorization": f"Bearer {tokens[who]}"} if who else {}
            return client.ask("GET", path, urlencode(given).encode(), headers=headers)

        for who, days, status in ((None, [1000, 1001, 2000, 2001], 1), ("carl", [1000, 1001, 2000, 2001], 1), ("anna", [1000, 1001, 5000, 5001, 3000, 3001], 3)):  # fmt: skip
            said = json.loads(ask_as(who, "/hapi/info", dataset="nda_days").body)
            assert said["stopDate"][:10] == ("2020-01-03" if who == "anna" else "2020-01-02")
            answer = ask_as(who, "/hapi/data", dataset="nda_days", start=said["startDate"], stop=said["stopDate"], parameters="STATUS")  # fmt: skip
            assert [int(line.split(",")[1]) for line in answer.text.splitlines()] == days
            late = ask_as(who, "/hapi/data", dataset="nda_days", start="2020-01-03", stop="2020-01-03T00:02Z")
            assert late.status == (200 if status == 3 else 400)


def test_a_new_file_appears_in_every_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is the only one that is read."""
    seen: list[str] = []
    monkeypatch.setattr(granules, "open_product", lambda path, name, **more: (seen.append(name), open_product(path, name, **more))[1])  # fmt: skip
    data = write_series_site(tmp_path, ROUTINE)
    cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01", 3), [1], 1)
    site, client = open_client(tmp_path)
    with site:
        assert len(rows(client)) == 3
        cdf(data / "x_20200102_V1.cdf", minutes("2020-01-02", 2), [1], 2)
        seen.clear()
        report = sync_collection(site, "nda")
        assert report.published, report.error
        assert seen == ["x_20200102_V1.cdf"]
        site.get_published_state()
        assert [row[0][:10] for row in rows(client)] == ["2020-01-01"] * 3 + ["2020-01-02"] * 2
        stream = client.get("/das2/server", server="dataset", dataset="nda/days", start_time="2020-01-02", end_time="2020-01-03", ascii="1")  # fmt: skip
        assert stream.body.count(b":01:2020-01-02T00:0") == 2
        # corrected in place
        cdf(data / "x_20200102_V1.cdf", minutes("2020-01-02", 1), [1], 7)
        sync_collection(site, "nda")
        assert seen == ["x_20200102_V1.cdf"] * 2
        assert [row[1] for row in rows(client, parameters="STATUS")] == ["1000", "1001", "1002", "7000"]
        (data / "x_20200101_V1.cdf").unlink()
        sync_collection(site, "nda", accept_changes=True)
        assert len(seen) == 2
        assert [row[1] for row in rows(client, parameters="STATUS")] == ["7000"]


def test_parquet_and_delimited_text_are_read_in_place(tmp_path: Path) -> None:
    """SILSO's sunspots, 75,422 days without a line of names; Parquet with arrays."""
    silso = shared("data/helio/sunspots/silso_SN_d_tot_V2.0.csv.gz")
    data = write_series_site(tmp_path / "csv", '{file: "{target.path}", time: {of: column_4, unit: d, since: MJD}, parameters: [spots], variables: {spots: {of: column_5, fill: -1}}}')  # fmt: skip
    lines = [line.split(";") for line in gzip.decompress(silso.read_bytes()).decode().splitlines()]
    days = [int(np.datetime64("-".join(line[:3]), "D").astype(int)) + 40_587 for line in lines]
    (data / "spots_V2.csv").write_text("".join(f"{';'.join(line[:3])};{day};{line[4]}\n" for line, day in zip(lines, days, strict=True)))  # fmt: skip
    site, client = open_client(tmp_path / "csv")
    with site:
        found = rows(client)
        assert [row[0][:10] for row in found] == ["-".join(line[:3]) for line in lines]
        assert [row[1] for row in found] == ["NaN" if int(line[4]) < 0 else str(int(line[4])) for line in lines]
    data = write_series_site(tmp_path / "parquet", '{file: "{target.path}"}')
    moments = np.datetime64("2020-01-01", "us") + np.arange(3000).astype("m8[s]")
    table = pa.table(
        {
            "at": pa.array(moments, pa.timestamp("us")),
            "flux": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6000.0)), 2),
            "flag": ["a", "bc", None] * 1000,
        }
    )
    pq.write_table(table, data / "x.parquet", row_group_size=700)
    site, client = open_client(tmp_path / "parquet")
    with site:
        found = rows(client)
        assert [row[0] for row in found] == [f"{one}Z" for one in moments.astype(str)]
        assert [row[1:] for row in found[:3]] == [["0", "1", "a"], ["2", "3", "bc"], ["4", "5", ""]]
        assert [float(row[2]) for row in rows(client, "2020-01-01T00:20Z", "2020-01-01T00:20:02Z")] == [2401.0, 2403.0]


def test_reductions_of_files_are_kept_with_the_state_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(pyramids, "MAX_DIRECT_VALUES", 0)
    data = write_series_site(tmp_path, ROUTINE)
    cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01"), [1, 2], 1)
    site, client = open_client(tmp_path)

    def year() -> bytes:
        return client.get("/das2/server", server="dataset", dataset="nda/days", start_time="2020-01-01", end_time="2020-01-05", resolution="3600", ascii="1").body  # fmt: skip

    with site:
        first = year()
        own = site.get_or_create(pyramids.BinPyramidStore, site.settings.var_directory / "reductions")
        own.wait_until_idle()
        assert len([*(site.settings.var_directory / "reductions").glob("*/levels.json")]) == 1
        lines = [[line.split()[1:] for line in body.splitlines() if line.startswith(b":01:")] for body in (first, year())]  # fmt: skip
        assert np.allclose(*(np.array(one, "f8") for one in lines), rtol=1e-6)  # sums of sums are rounded otherwise
        assert len(lines[0]) == 24
        cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01", 300), [1, 2], 2)  # corrected
        ingest_collection(site, "nda")
        site.get_published_state()
        assert year().count(b"\n:01:2020-01-01T") == 5
        own.wait_until_idle()
        assert year().count(b"\n:01:2020-01-01T") == 5


def test_only_a_new_day_is_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins of the days before are those that are kept; what they say is what samples say."""
    monkeypatch.setattr(pyramids, "MAX_DIRECT_VALUES", 0)
    data = write_series_site(tmp_path, ROUTINE)
    for day in (1, 2, 4):
        cdf(data / f"x_2020010{day}_V1.cdf", minutes(f"2020-01-0{day}"), [1, 2], day)
    site, client = open_client(tmp_path)
    asked = {"server": "dataset", "dataset": "nda/days", "start_time": "2020-01-01", "end_time": "2020-01-06", "ascii": "1"}  # fmt: skip

    def hours() -> list[list[bytes]]:
        body = client.get("/das2/server", resolution="3600", **asked).body
        return [line.split()[1:] for line in body.splitlines() if line.startswith(b":01:")]

    read: list[tuple[int, int]] = []
    known = pyramids.read_samples

    def samples(*given: Any, **more: Any) -> Any:
        if "bin_microseconds" not in more:  # what is made to be kept
            read.append((more["start"], more["stop"]))
        return known(*given, **more)

    with site:
        hours()
        own = site.get_or_create(pyramids.BinPyramidStore, site.settings.var_directory / "reductions")
        own.wait_until_idle()
        monkeypatch.setattr(pyramids, "read_samples", samples)
        cdf(data / "x_20200103_V1.cdf", minutes("2020-01-03"), [1, 2], 3)
        assert sync_collection(site, "nda").published
        site.get_published_state()
        first = hours()  # of the samples
        own.wait_until_idle()
        third = int(np.datetime64("2020-01-03", "us").astype(np.int64))
        day = 86_400_000_000
        assert read
        assert all(third - day <= low and high <= third + 2 * day for low, high in read), read
        assert len(first) == 24 * 4
        assert np.allclose(np.array(first, "f8"), np.array(hours(), "f8"), rtol=1e-6)
        assert len([*(site.settings.var_directory / "reductions").glob("*/levels.json")]) == 1
        # a file that is another one now: all is made anew, for nobody knows which times it had
        read.clear()
        cdf(data / "x_20200101_V1.cdf", minutes("2020-01-01", 300), [1, 2], 2)
        assert sync_collection(site, "nda").published
        site.get_published_state()
        assert len(hours()) == 24 * 3 + 5
        own.wait_until_idle()
        assert len(hours()) == 24 * 3 + 5


@pytest.mark.parametrize(("free", "there"), [(20_000, 0), (300_000, 1)])  # a bin for each sample would take 690,000
def test_campaigns_far_apart_need_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, there: int) -> None:  # fmt: skip
    monkeypatch.setattr(pyramids, "MAX_DIRECT_VALUES", 0)
    data = write_series_site(tmp_path, ROUTINE)
    for year in (2001, 2021):
        cdf(data / f"x_{year}0101_V1.cdf", minutes(f"{year}-01-01"), [1, 2], 1)
    site, _ = open_client(tmp_path)
    with site:
        monkeypatch.setattr(pyramids.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        pyramids.build_missing_pyramids(site, "nda")
        assert len([*(site.settings.var_directory / "reductions").glob("*/levels.json")]) == there


def test_rows_with_times_of_their_own_lead_to_files_of_another_server(tmp_path: Path) -> None:
    """Days as modified Julian dates to the second; of two files the one that is needed is asked for."""
    bodies = {}
    for day in (1, 2):
        cdf(tmp_path / "one.cdf", minutes(f"2020-01-0{day}", 700), [1, 2], day)
        bodies[f"/day{day}.cdf"] = (tmp_path / "one.cdf").read_bytes()
    there = ServedFiles(bodies)
    with serve_http(there):
        home = tmp_path / "site" / "collections" / "nda"
        home.mkdir(parents=True)
        (home.parents[1] / "hven.toml").write_text('name = "far"\nallow_private = true\n')
        (home / "rows.csv").write_text("name,t_min,t_max\n" + "".join(f"day{day}.cdf,{58_848 + day},{58_848 + day + 699 / 1440}\n" for day in (1, 2)))  # fmt: skip
        (home / "nda.yaml").write_text(f"""collection: nda
title: Far
files: [{{root: "{there.address}", from: days, path: "{{name}}"}}]
tables:
  days:
    source: {{kind: csv, file: rows.csv}}
    primary: name
    columns:
      name: string
      t_min: {{type: double, unit: d, ucd: time.start}}
      t_max: {{type: double, unit: d, ucd: time.end}}
    series: {{file: "{{target.name}}", cadence: 1 min, parameters: [STATUS]}}
""")
        site, client = open_client(tmp_path / "site")
        with site:
            assert [row[1] for row in rows(client, "2020-01-02T11:37:30Z", "2020-01-02T11:40Z")] == ["2698", "2699"]
            assert not any("day1" in line for line in there.asked)
            assert [int(row[1]) for row in rows(client)] == [*range(1000, 1700), *range(2000, 2700)]


def test_polarisations_and_julian_dates_are_read(tmp_path: Path) -> None:
    """NDA's newer receivers: frequencies in a table of their own, a Julian date and all polarisations in each row; a date in two parts."""
    polarised = '{of: DATA, element: %d, unit: "V**2.Hz**-1"}'
    both = f"variables: {{ll: {polarised % 0}, rr: {polarised % 1}}}, bins: {{ll: {{name: frequency, centers: 1.FREQ}}, rr: {{name: frequency, centers: 1.FREQ}}}}"  # fmt: skip
    data = write_series_site(
        tmp_path,
        f"""
      - {{file: "{{target.path}}", time: {{of: jd, unit: d, since: JD}}, parameters: [ll, rr], {both}}}
      - {{file: "{{target.path}}", id: parts, time: {{of: JDINT, unit: d, since: JD, plus: {{of: JDFRAC, unit: d}}}}, parameters: [rr], {both}}}
""",
    )
    rng = np.random.default_rng(1)
    cube, channels = rng.normal(size=(50, 4, 2)).astype("f4"), np.array([10.5, 11.5, 12.5, 13.5])
    whole, share = np.full(50, 2_457_754), 0.5 + np.arange(50) / 86_400
    columns = [
        fits.Column("jd", "D", array=whole + share),
        fits.Column("JDINT", "J", array=whole),
        fits.Column("JDFRAC", "D", array=share),
        fits.Column("DATA", "8E", dim="(2,4)", array=cube),
    ]
    table = fits.BinTableHDU.from_columns([fits.Column("FREQ", "D", array=channels, unit="MHz")])
    fits.HDUList([fits.PrimaryHDU(), table, fits.BinTableHDU.from_columns(columns)]).writeto(data / "nr_20170101.fits")
    site, client = open_client(tmp_path)
    with site:
        said = info(client)
        assert [(one["name"], one.get("size")) for one in said["parameters"][1:]] == [("ll", [4]), ("rr", [4])]
        assert said["parameters"][1]["bins"] == [{"name": "frequency", "units": "MHz", "centers": channels.tolist()}]
        expected = np.datetime64("2017-01-01", "us") + np.arange(50).astype("m8[s]")
        for name, places in (("nda_days", (0, 1)), ("parts", (1,))):
            found = rows(client, name=name)
            assert [row[0] for row in found] == [f"{one}Z" for one in expected.astype(str)]
            there = np.concatenate([cube[:, :, at] for at in places], axis=1)
            assert np.array_equal(np.array([row[1:] for row in found], "f4"), there)


def test_rows_link_to_the_samples_of_their_files(nda: tuple[Client, Path]) -> None:
    client, data = nda
    for path in sorted(data.glob("*.cdf")):
        links = read(client, f"data/{path.name}", "nda.days")
        (hapi,) = (one for one in links if (one["local"], one["semantics"]) == ("hapi", "#proc"))
        assert {one["local"] for one in links if one["semantics"] == "#documentation"} == {"hapi", "das2"}
        body = client.get(f"{hapi['url'].removeprefix('https://vo.example')}?{urlencode(hapi['sent'])}").text
        status = [int(line.rpartition(",")[2]) for line in body.splitlines()]
        assert (
            status == cdflib.CDF(str(path)).varget("STATUS").tolist()
        )  # its last sample, too, and none of the next file


def test_rows_of_files_lead_to_each_of_their_data_sets_many_at_once_and_for_people(tmp_path: Path) -> None:
    """Two data sets of the same files: each row has both, each with its own name and span, by HAPI and by das2."""
    data = write_series_site(tmp_path, '[{id: left, das2: NDA/left, file: "{target.path}", cadence: 1 min, parameters: [LL]}, {id: state, das2: NDA/state, file: "{target.path}", cadence: 1 min, parameters: [STATUS]}]')  # fmt: skip
    for number, day in enumerate(("2020-01-01", "2020-01-02", "2020-01-03")):
        cdf(data / f"nda_{day}_v01.cdf", minutes(day, 20), [10, 20, 30], number)
    site, client = open_client(tmp_path)
    with site:
        names = [f"data/{path.name}" for path in sorted(data.iterdir())]
        answer = client.get("/datalink/nda.days?" + urlencode({"ID": names}, doseq=True))
        table = read_votable(BytesIO(answer.body))
        links = table.get_first_table().to_table().to_pandas()
        services = {one.ID: {param.name: str(param.value) for param in (*one.params, *one.groups[0].entries)} for one in table.resources if one.utype == "adhoc:service"}  # fmt: skip
        assert list(dict.fromkeys(links["ID"])) == names
        for number, name in enumerate(names):
            own = [services[one] for one in links["service_def"][links["ID"] == name] if one]
            by_hapi = {one["dataset"]: one for one in own if "start" in one}
            by_das2 = {one["dataset"]: one for one in own if "start_time" in one}
            assert (set(by_hapi), set(by_das2)) == ({"left", "state"}, {"NDA/left", "NDA/state"})
            status = [1000 * number + at for at in range(20)]
            found = client.get("/hapi/data", dataset="state", start=by_hapi["state"]["start"], stop=by_hapi["state"]["stop"])  # fmt: skip
            assert [int(line.split(",")[1]) for line in found.text.splitlines()] == status
            given = {key: by_das2["NDA/state"][key] for key in ("server", "dataset", "start_time", "end_time")}
            (packet,) = parse_stream(client.get("/das2/server", **given).body).packets
            assert packet.values()["STATUS"][:, 0].tolist() == status
        page = client.get("/datalink/nda.days", ID=names[1], RESPONSEFORMAT="html").text
        for dataset in ("left", "state"):
            assert f"dataset={dataset}&amp;start=2020-01-02T00:00:00." in page
            assert f'value="NDA/{dataset}"' in page
        assert page.count('value="2020-01-02T00:00:00.') == 2


def test_data_sets_of_one_table_have_their_own_files_and_spans(tmp_path: Path) -> None:
    """A file that has nothing of a data set is another one's; a data set with a clock of its own begins with its own first sample."""
    said = ", ".join(f'{{id: {name}, file: "{{target.path}}", cadence: 1 min, {keys}}}' for name, keys in (("left", "parameters: [LL]"), ("house", "parameters: [HK]"), ("late", "parameters: [SLOW], time: Epoch2"), ("every", "time: Epoch")))  # fmt: skip
    data = write_series_site(tmp_path, f"[{said}]")
    for number, day in enumerate(("2020-01-01", "2020-01-02")):
        late = {
            "Epoch2": (minutes(day, 5) + 10 * 60_000_000_000, {}),
            "SLOW": (np.arange(5, dtype="i4"), {"DEPEND_0": "Epoch2"}),
        }
        cdf(data / f"nda_{day}_v01.cdf", minutes(day, 20), [10, 20, 30], number, **late)
    for day in ("2020-02-01", "2020-02-02"):
        file = cdflib.cdfwrite.CDF(str(data / f"house_{day}_v01.cdf"), cdf_spec={"Majority": "row_major"}, delete=True)
        for name, array, facts in (("Epoch", minutes(day, 20), {}), ("HK", np.arange(20, dtype="f8"), {"DEPEND_0": "Epoch"})):  # fmt: skip
            file.write_var({"Variable": name, "Data_Type": 33 if name == "Epoch" else 45, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": []}, facts, array)  # fmt: skip
        file.close()
    (data / "other_v01.cdf").write_bytes(b"no file of samples")
    site = Site(settings.load_settings(tmp_path))
    with site:
        report = ingest_collection(site, "nda")
        assert report.tables["nda.days"].rejected == 1  # the last one
        client = Client(create_and_start_application(site))
        spans = {"left": ("2020-01-01T00:00:00", "2020-01-02T00:20:00", 40), "house": ("2020-02-01T00:00:00", "2020-02-02T00:20:00", 40), "late": ("2020-01-01T00:10:00", "2020-01-02T00:15:00", 10), "every": ("2020-01-01T00:00:00", "2020-02-02T00:20:00", 80)}  # fmt: skip
        for name, (start, stop, count) in spans.items():
            found = info(client, name)
            assert (found["startDate"][:19], found["stopDate"][:19]) == (start, stop), name
            assert len(rows(client, name=name)) == count
            page = client.get("/" + found["resourceURL"].partition("://")[2].partition("/")[2].partition("#")[0]).text
            assert f'id="{found["resourceURL"].partition("#")[2]}"' in page
        leads = {path.name: {one["sent"]["dataset"] for one in read(client, f"data/{path.name}", "nda.days") if one["local"] == "hapi" and one["semantics"] == "#proc"} for path in sorted(data.glob("*_2020*"))}  # fmt: skip
        assert {name[:3]: found for name, found in leads.items()} == {"nda": {"left", "late", "every"}, "hou": {"house", "every"}}  # fmt: skip


def test_rows_of_files_lead_to_their_file_its_picture_and_its_samples(nda: tuple[Client, Path]) -> None:
    """In DataLink and in the row's panel, although no link is declared: the file itself, and the samples of its span by HAPI and das2."""
    client, data = nda
    path = sorted(data.glob("*.cdf"))[1]
    ident = f"data/{path.name}"
    links = read(client, ident, "nda.days")
    file = f"/collections/nda/files/{ident}"
    own = [one["url"].removeprefix("https://vo.example") for one in links if one["semantics"] == "#this"]
    assert own == [file]
    assert client.get(file).body == path.read_bytes()
    if "previews" in plugins.list_plugins("protocols"):
        assert {one["semantics"] for one in links} >= {"#preview", "#thumbnail"}
    panel = json.loads(client.get("/collections/nda/days/row", _row=json.dumps([ident])).body)
    assert panel["file"] == {"href": f"https://vo.example{file}", "bytes": path.stat().st_size}
    calls = {one["text"]: one["href"].removeprefix("https://vo.example") for one in panel["links"] if one["semantics"] == "proc"}  # fmt: skip
    assert set(calls) == {"Samples of nda_days by HAPI", "Samples of nda_days by DAS2"}
    status = cdflib.CDF(str(path)).varget("STATUS").tolist()
    asked = [dict(parse_qsl(urlsplit(calls[name]).query)) for name in sorted(calls)]
    text = client.get("/hapi/data", **asked[1]).text
    assert [int(line.rpartition(",")[2]) for line in text.splitlines()] == status
    packets = parse_stream(client.get("/das2/server", **asked[0]).body).packets
    assert [one for packet in packets if "STATUS" in packet.values() for one in packet.values()["STATUS"][:, 0].tolist()] == status  # fmt: skip


def test_rows_of_files_that_are_not_published_lead_to_none(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, ROUTINE, source="{kind: granules, files: data/*.cdf}")
    page = tmp_path / "collections" / "nda" / "nda.yaml"
    page.write_text(page.read_text().replace("files: data/*\ntables", "files: data/*.txt\ntables"))
    (data / "readme.txt").write_text("The only file that is published")
    cdf(data / "nda_2020-01-01_v01.cdf", minutes("2020-01-01", 20), [10, 20, 30])
    site, client = open_client(tmp_path)
    with site:
        links = read(client, "data/nda_2020-01-01_v01.cdf", "nda.days")
        assert {one["semantics"] for one in links} == {"#proc", "#documentation"}
        panel = json.loads(client.get("/collections/nda/days/row", _row='["data/nda_2020-01-01_v01.cdf"]').body)
        assert panel["file"] is None
        assert len([one for one in panel["links"] if one["semantics"] == "proc"]) == 2


def test_constants_of_a_file_are_not_samples(tmp_path: Path) -> None:
    """Record variance is mixed in a file: a gain that stands once is none of the samples, unless it is said that it is; then that is told."""
    data = write_series_site(tmp_path, ROUTINE)
    cdf(data / "x_20200101_v01.cdf", minutes("2020-01-01", 3), [1, 2], 1, GAIN=(np.array([5.0]), {}))
    with open_client(tmp_path)[0] as site:
        client = Client(create_and_start_application(site))
        assert [one["name"] for one in info(client)["parameters"]] == ["Epoch", "LL", "RR", "STATUS"]
        assert len(rows(client)) == 3
    write_series_site(tmp_path, '{file: "{target.path}", cadence: 1 min, parameters: [LL, GAIN]}')
    with open_client(tmp_path)[0] as site:
        client = Client(create_and_start_application(site))
        assert [one["name"] for one in info(client)["parameters"]] == ["Epoch", "LL"]
        assert "GAIN is in no file" in info(client)["note"]


def test_nanoseconds_equal_those_of_the_files(tmp_path: Path) -> None:
    """Samples within one microsecond, in files that meet within one: sent in each format, cut at the nanosecond; one length of texts over all files."""
    data = write_series_site(tmp_path, '{file: "{target.path}", cadence: 1 min}')
    step = minutes("2017-01-01", 1) + np.arange(10, dtype="i8") * 333
    cdf(data / "fine_a_v01.cdf", step[[0, 1, 3, 2, 4]], [10, 20], 0)
    cdf(data / "fine_b_v01.cdf", step[5:], [10, 20], 1)
    cdf(data / "plain_v01.cdf", minutes("2016-12-31", 3) - 789, [10, 20], 2)
    assert step[4] // 1000 == step[5] // 1000  # of both
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        assert not [one for one in warnings_of(ingest_collection(site, "nda")) if "digits" in one]
        client = Client(create_and_start_application(site))
        said = info(client)
        whole = [f"{one}Z" for one in cdflib.cdfepoch.encode(step)]
        expected = [f"2016-12-31T00:0{at}:00.123456000Z" for at in range(3)] + whole
        status = [2000, 2001, 2002, 0, 1, 3, 2, 4, 1000, 1001, 1002, 1003, 1004]
        assert said["parameters"][0]["length"] == 30
        assert rows(client, parameters="STATUS") == [[one, str(number)] for one, number in zip(expected, status, strict=True)]  # fmt: skip
        given = {"dataset": "nda_days", "parameters": "STATUS", "start": whole[1], "stop": whole[6]}
        binary = client.get("/hapi/data", format="binary", **given).body
        assert np.frombuffer(binary, "S30,<i4").tolist() == [(one.encode(), number) for one, number in zip(whole[1:6], status[4:], strict=False)]  # fmt: skip
        document = json.loads(client.get("/hapi/data", format="json", **given).body)
        assert document["data"] == [[one, number] for one, number in zip(whole[1:6], status[4:], strict=False)]
        nothing = client.get("/hapi/data", include="header", dataset="nda_days", start=whole[1][:-2] + "9Z", stop=whole[2])  # fmt: skip
        assert (b'"code": 1201' in nothing.body) == (whole[1][-2] < "9")
        # coarser data sets, and lists, are told by the microsecond
        assert info(client, "nda_days_files")["parameters"][0]["length"] == 27
        asked = {"server": "dataset", "dataset": "nda/days", "start_time": "2017-01-01", "end_time": "2017-01-02"}
        text = client.get("/das2/server", ascii="1", **asked).text
        assert 'type="time30"' in text
        assert [line[4:33] for line in text.splitlines() if line.startswith(":01:2017")] == [one[:-1] for one in whole]


def test_lost_digits_of_times_are_reported(tmp_path: Path) -> None:
    """Below a nanosecond, and below a microsecond in years that no count of nanoseconds reaches: the report says where; none is rounded up."""
    data = write_series_site(tmp_path, "{file: '{target.path}', time: T}")
    for name, times in {
        "fine": ["2017-01-01T00:00:00.1234567899"],
        "plain": ["2017-01-01T00:01:00.123456789"],
        "old": ["1582-10-15T00:00:00.1234569"],
    }.items():
        pq.write_table(pa.table({"T": times, "flux": [1.0]}), data / f"{name}.parquet")
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        (told,) = [one for one in warnings_of(ingest_collection(site, "nda")) if "digits" in one]
        assert [name in told for name in ("fine", "plain", "old")] == [True, False, True]
        client = Client(create_and_start_application(site))
        assert "2261" in info(client)["note"][0]
        (data / "old.parquet").unlink()
        ingest_collection(site, "nda")
        fine = [f"2017-01-01T00:0{at}:00.123456789Z" for at in range(2)]
        assert [row[0] for row in rows(client)] == fine
        pq.write_table(pa.table({"T": ["1582-10-15T00:00:00.1234569"], "flux": [1.0]}), data / "old.parquet")
        ingest_collection(site, "nda")
        assert [row[0] for row in rows(client)] == ["1582-10-15T00:00:00.123456Z", *(f"{one[:-4]}Z" for one in fine)]


def test_omitted_samples_are_reported(tmp_path: Path) -> None:
    data = write_series_site(tmp_path, ROUTINE)
    cdf(data / "x_20200101_v01.cdf", minutes("2020-01-01", 3)[[0, 1, 1]], [10, 20], 0)
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        assert any(
            "x_20200101_v01.cdf" in one and "left out" in one for one in warnings_of(ingest_collection(site, "nda"))
        )


@pytest.mark.parametrize(
    ("values", "series"),
    [
        (["2020-01-01T00:00:00.123456789", "2020-01-01T00:00:01.1234567890Z"], "{file: '{target.path}', time: T}"),
        ([1_577_836_800_123_456_789, 1_577_836_801_123_456_789], "{file: '{target.path}', time: {of: T, unit: ns, since: 1970-01-01}}"),
        (pa.array([1_577_836_800_123_456_789, 1_577_836_801_123_456_789], pa.timestamp("ns")), "{file: '{target.path}', time: T}"),
        ([1_577_836_837_123_456_789, 1_577_836_838_123_456_789], "{file: '{target.path}', time: {of: T, unit: ns, since: 1970-01-01, scale: TAI}}"),
    ],
)  # fmt: skip
def test_nanoseconds_of_texts_and_numbers_are_kept(tmp_path: Path, values: list[Any], series: str) -> None:
    data = write_series_site(tmp_path, series)
    pq.write_table(pa.table({"T": values, "flux": [1.0, 2.0]}), data / "x.parquet")
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        assert not any("digits" in one for one in warnings_of(ingest_collection(site, "nda")))
        found = rows(Client(create_and_start_application(site)))
    assert [row[0] for row in found] == ["2020-01-01T00:00:00.123456789Z", "2020-01-01T00:00:01.123456789Z"]
