"""Samples that stand in files: HAPI sends those that other readers of the files have; times, versions, gaps and layouts of channels as files have them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cdflib
import numpy as np
import numpy.typing as npt
import pytest
from asking import Client

from hven.app._server import create
from hven.ingest import ingest
from hven.model import settings
from hven.site import Site

CDF_TYPES = {"f4": 44, "f8": 45, "i4": 4, "i8": 33}
EVERY = (-(2**62), 2**62)


def cdf(path: Path, times: npt.NDArray[np.int64], channels: Sequence[float], seed: int = 0, **more: Any) -> None:
    """Write a day in NDA's layout: an epoch, two polarisations over channels, a status."""
    rng = np.random.default_rng(seed)
    file = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"}, delete=True)
    shape = (len(times), len(channels))
    values: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
        "Epoch": (times, {"VAR_TYPE": "support_data"}),
        "LL": (rng.integers(0, 99, shape).astype("f4"), {"DEPEND_0": "Epoch", "DEPEND_1": "Frequency", "UNITS": "dB", "FILLVAL": np.float32(-1e31)}),
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


def made(directory: Path, series: str, *, source: str = "{kind: granules, files: data/*}", more: str = "") -> Path:
    home = directory / "collections" / "nda"
    (home / "data").mkdir(parents=True, exist_ok=True)
    text = f"collection: nda\ntitle: Radio\ndescription: Spectra\nlicence_url: https://licence.example\nfiles: data/*\ntables:\n  days:\n    source: {source}\n    follow: true\n{more}    series: {series}\n"  # fmt: skip
    (home / "nda.yaml").write_text(text)
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\ncontact_email = "a@b.example"\n')
    return home / "data"


def opened(directory: Path) -> tuple[Site, Client]:
    site = Site(settings.load(directory))
    report = ingest(site, "nda")
    assert report.published, report.error
    return site, Client(create(site))


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
    data = made(directory, ROUTINE)
    for number, day in enumerate(("2016-12-30", "2016-12-31", "2017-01-01")):
        cdf(data / f"orn_nda_{day.replace('-', '')}_V01.cdf", minutes(day, 1440 + (day[:4] == "2016" and day[8:] == "31")), [10, 20, 30], number)  # fmt: skip
    site, client = opened(directory)
    with site:
        yield client, data


def test_samples_of_cdf_days_are_those_that_cdflib_reads(nda: tuple[Client, Path]) -> None:
    client, data = nda
    said = info(client)
    assert [one["name"] for one in said["parameters"]] == ["Epoch", "LL", "RR", "STATUS"]
    assert said["parameters"][1]["bins"] == [{"name": "Frequency", "units": "MHz", "centers": [10.0, 20.0, 30.0]}]
    assert (said["startDate"], said["stopDate"]) == ("2016-12-30T00:00:00.123456Z", "2017-01-02T00:00:00.123456Z")
    answer = client.get("/hapi/data", dataset="nda_days", start=said["startDate"], stop=said["stopDate"], format="binary")  # fmt: skip
    kind = np.dtype([("t", "S27"), ("LL", "<f8", 3), ("RR", "<f8", 3), ("STATUS", "<i4")])
    found = np.frombuffer(answer.body, kind)
    expected = [cdflib.CDF(str(path)) for path in sorted(data.glob("*.cdf"))]
    for name in ("LL", "RR", "STATUS"):
        there = np.concatenate([one.varget(name) for one in expected]).astype("f8")
        there[there == np.float32(-1e31)] = np.nan
        assert np.array_equal(found[name].astype("f8"), there, equal_nan=name == "LL")
    times = np.concatenate([cdflib.cdfepoch.to_datetime(one.varget("Epoch")) for one in expected]).astype("M8[us]")
    # the sample within the leap second: the last millisecond of the day has it
    leap = int(np.flatnonzero(found["STATUS"] == 1000 + 1440)[0])
    shown = found["t"].astype("U27")
    assert shown[leap] == "2016-12-31T23:59:59.999124Z"
    assert (shown[1:] > shown[:-1]).all()
    kept = np.arange(len(found)) != leap
    assert [f"{one}Z" for one in times[kept].astype(str)] == shown[kept].tolist()


def test_windows_begin_and_end_where_they_are_asked_to(nda: tuple[Client, Path]) -> None:
    client, _ = nda
    some = rows(client, "2016-12-30T23:58:00.123456Z", "2016-12-31T00:01:00.123456Z", parameters="STATUS")
    assert some == [["2016-12-30T23:58:00.123456Z", "1438"], ["2016-12-30T23:59:00.123456Z", "1439"], ["2016-12-31T00:00:00.123456Z", "1000"]]  # fmt: skip
    stream = client.get("/das2/server", server="dataset", dataset="nda/days", start_time="2016-12-30", end_time="2016-12-30T00:02", ascii="1")  # fmt: skip
    assert stream.body.count(b"\n:01:2016-12-30T00:0") == 2
