"""maser-data reads files for us in an environment of its own (it needs numpy < 2): e-Callisto as it was observed, NDA as its readers know it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cdflib
import numpy as np
import pytest
from astropy.io import fits

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import Server, serve_site
from shared import ROOT, shared

PYTHON = os.environ.get("HVEN_MASER", "")  # of an environment that examples/readers/README.md describes
pytestmark = pytest.mark.needs("HVEN_MASER")
DESCRIPTOR = """\
collection: radio
title: Dynamic spectra
description: Of the Sun and Jupiter
licence_url: https://licence.example
files: data/*
tables:
  callisto:
    source: {kind: granules, files: data/*.fit}
    follow: true
    series: {file: "{target.path}", reader: maser, cadence: 0.25 s}
  nda:
    source: {kind: granules, files: data/*.fits}
    follow: true
    series: {file: "{target.path}", reader: maser, cadence: 0.5 s}
  routine:
    source: {kind: granules, files: data/*.cdf}
    follow: true
    series: {file: "{target.path}", reader: maser, cadence: 1 s}
"""
CHANNELS = ("LL", "RR", "RX1", "RX2")


def newroutine(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Write a file of NDA's NewRoutine in the layout that maser-data reads: frequencies in one table, Julian dates and four channels in the next."""
    first = fits.PrimaryHDU()
    first.header.update({"INSTRUME": "newroutine", "TELESCOP": "NDA", "OBJECT": "Jupiter", "TITLE": "made up", "CONTENT": "", **{f"CHANNEL{at}": name for at, name in enumerate(CHANNELS, 1)}})  # fmt: skip
    frequencies = np.linspace(10, 40, 32).astype("f4")
    days = 2_459_000.5 + np.arange(500) * 0.5 / 86_400
    data = np.random.default_rng(4).gamma(2, size=(500, 32, 4)).astype("f4")
    axes = fits.BinTableHDU.from_columns([fits.Column("FREQ", "32E", array=frequencies[None], unit="MHz")])
    rows = fits.BinTableHDU.from_columns([fits.Column("jd", "D", array=days), fits.Column("DATA", "128E", dim="(4,32)", array=data)])  # fmt: skip
    fits.HDUList([first, axes, rows]).writeto(path)
    return days, data


def routine(path: Path) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """Write a file of NDA's Routine in the layout that maser-data reads by spacepy: ISTP's CDF with two polarisations."""
    file = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"}, delete=True)
    file.write_globalattrs({"Logical_source": {0: "srn_nda_routine_jup_edr"}})
    first = int(cdflib.cdfepoch.compute_tt2000([2016, 12, 30, 0, 0, 0, 0, 0, 0]))
    rng = np.random.default_rng(5)
    values = {name: rng.integers(0, 255, (300, 40)).astype("u1") for name in ("LL", "RR")}
    every = {"Frequency": np.linspace(10, 40, 40), "Epoch": first + np.arange(300) * 1_000_000_000, **values}
    for name, array in every.items():
        varies = name != "Frequency"
        kind = {"Frequency": 45, "Epoch": 33}.get(name, 11)
        sizes = list(array.shape[1:] if varies else array.shape)
        said = {"UNITS": "MHz" if name == "Frequency" else "dB", "LABLAXIS": name, "CATDESC": f"{name} of Jupiter"}
        file.write_var({"Variable": name, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": varies, "Dim_Sizes": sizes}, said, array)  # fmt: skip
    file.close()
    return cdflib.cdfepoch.to_datetime(every["Epoch"]).astype("M8[us]"), values


@pytest.fixture(scope="module")
def maser_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, Any]]:
    site = tmp_path_factory.mktemp("maser")
    data = site / "collections/radio/data"
    data.mkdir(parents=True)
    name = "radio/ecallisto/BIR_20110607_062400_10.fit"
    (data / Path(name).name).write_bytes(shared(f"data/{name}").read_bytes())
    made = newroutine(data / "J20200531_newroutine.fits"), routine(data / "orn_nda_routine_jup_edr_20161230.cdf")
    (data.parent / "radio.yaml").write_text(DESCRIPTOR)
    (site / "maser_reader.py").write_bytes((ROOT / "examples/readers/maser_reader.py").read_bytes())
    (site / "hven.toml").write_text(f'[readers.maser]\ncommand = ["{PYTHON}", "./maser_reader.py"]\nmemory = "2 GiB"\n')
    with Site(settings.load_settings(site), watch_for_changes=False) as opened:
        report = ingest_collection(opened, "radio")
        assert report.published, report.error
        assert all(table.rejected == 0 for table in report.tables.values()), report
    with serve_site(site) as server:
        yield server, data, made


def records(server: Server, name: str, sizes: dict[str, int]) -> tuple[Any, np.ndarray[Any, Any]]:
    said = json.loads(server.get("/hapi/info", dataset=name)[2])
    body = server.get("/hapi/data", dataset=name, start=said["startDate"], stop=said["stopDate"], format="binary")[2]
    kinds = {"double": "<f8", "integer": "<i4"}
    types = [
        ("time", f"S{said['parameters'][0]['length']}"),
        *((one["name"], kinds[one["type"]], one["size"][0]) for one in said["parameters"][1:]),
    ]
    assert {one["name"]: one["size"][0] for one in said["parameters"][1:]} == sizes
    return said, np.frombuffer(body, np.dtype(types))


def test_ecallisto(maser_server: tuple[Server, Path, Any]) -> None:
    server, data, _ = maser_server
    said, found = records(server, "radio_callisto", {"Flux_Density": 200})
    with fits.open(data / "BIR_20110607_062400_10.fit") as file:
        assert np.array_equal(found["Flux_Density"], file[0].data.T)
        centers = file[1].data["FREQUENCY"][0]
        begin = np.datetime64(f"{file[0].header['DATE-OBS'].replace('/', '-')}T{file[0].header['TIME-OBS']}", "us")
        late = np.round(file[1].data["TIME"][0] * 1e6).astype("m8[us]")
    assert np.allclose(said["parameters"][1]["bins"][0]["centers"], centers)
    times = np.array([one[:-1].decode() for one in found["time"]], "M8[us]")
    assert np.abs((times - (begin + late)) / np.timedelta64(1, "us")).max() <= 1


def test_nda_newroutine(maser_server: tuple[Server, Path, Any]) -> None:
    server, _, ((days, values), _) = maser_server
    said, found = records(server, "radio_nda", dict.fromkeys(CHANNELS, 32))
    for at, name in enumerate(CHANNELS):
        assert np.array_equal(found[name].astype("f4"), values[:, :, at])
    assert [one["bins"][0]["units"] for one in said["parameters"][1:]] == ["MHz"] * 4
    times = np.array([one[:-1].decode() for one in found["time"]], "M8[us]")
    expected = np.round((days - 2_440_587.5) * 86_400e6).astype("i8")
    assert np.abs(times.astype("i8") - expected).max() <= 50  # a double of Julian days resolves 40 microseconds


def test_nda_routine(maser_server: tuple[Server, Path, Any]) -> None:
    server, _, (_, (times, values)) = maser_server
    said, found = records(server, "radio_routine", {"LL": 40, "RR": 40})
    for name, expected in values.items():
        assert np.array_equal(found[name], expected)
    assert said["parameters"][1]["bins"][0]["centers"] == np.linspace(10, 40, 40).tolist()
    assert np.array_equal(np.array([one[:-1].decode() for one in found["time"]], "M8[us]"), times)


def test_the_environments_cannot_be_one() -> None:
    done = subprocess.run([PYTHON, "-c", "import maser.data, numpy; print(numpy.__version__)"], capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split(".")[0] == "1"
    assert np.__version__.split(".")[0] != "1"
