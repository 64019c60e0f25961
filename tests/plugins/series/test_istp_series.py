"""``hven new --from X.cdf``: what ISTP's attributes say becomes a data set of HAPI that passes check and serves; netCDF with these attributes alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from asgi_client import Client

from das2_streams import parse_stream
from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.descriptor.api.key_proposals import ColumnGuess
from hven.ingest.api.runs import ingest_collection
from hven.model import units
from hven.model.settings import Settings
from hven.model.table import Column, TimeSeriesMetadata
from hven.model.types import parse_type
from hven.model.units import strip_idl_markup
from hven.plugins.series.descriptor.series_proposals import write_series_proposal
from hven.site import Site
from plugin_needs import create_descriptor, require_plugins
from shared import shared

COUNT = 60
RANDOM = np.random.default_rng(1603)
FLUX = RANDOM.uniform(1, 9, (COUNT, 4)).astype("f4")
FIELD = RANDOM.normal(size=(COUNT, 3)).astype("f4")
DENSITY = RANDOM.uniform(1, 9, COUNT).astype("f4")
FLUX[3, 1] = DENSITY[5] = -1e31
DENSITY[7] = -77.0  # below VALIDMIN
FLAGS = RANDOM.integers(0, 3, COUNT).astype("i4")
ENERGY = np.array([10.0, 20.0, 40.0, 80.0], "f4")
VARIABLES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "Energy": (ENERGY, {"VAR_TYPE": "support_data", "UNITS": "keV", "LABLAXIS": "Energy", "CATDESC": "Energies", "SCALETYP": "LOG "}),
    "flux": (FLUX, {"VAR_TYPE": "data", "DISPLAY_TYPE": "spectrogram", "UNITS": "s!E-1!Ncm!E-2!Nster!E-1!NkeV!E-1!N", "LABLAXIS": "J!DH+!N", "CATDESC": "Proton flux", "SCALETYP": "log", "DEPEND_1": "Energy"}),
    "B": (FIELD, {"VAR_TYPE": "data", "DISPLAY_TYPE": "time_series", "UNITS": "nT", "LABLAXIS": "B GSE", "CATDESC": "Magnetic field", "COORDINATE_SYSTEM": "GSE", "SCALETYP": "unknown"}),
    "density": (DENSITY, {"VAR_TYPE": "data", "DISPLAY_TYPE": "time_series", "UNITS": "cm!E-3!N", "LABLAXIS": "n", "CATDESC": "Density", "SCALETYP": "linear"}),
    "flag": (FLAGS, {"VAR_TYPE": "support_data", "UNITS": "none", "LABLAXIS": "Quality", "CATDESC": "Quality"}),
    "spin": (FLAGS, {"VAR_TYPE": "data", "DISPLAY_TYPE": "no_plot", "UNITS": " ", "CATDESC": "Spins"}),
}  # fmt: skip
HEAD = {"Logical_source": "XX_H0_ABC", "Logical_source_description": "Fields and fluxes", "TEXT": "Made up.", "PI_name": "T. Brahe (tycho@ura.example)", "Acknowledgement": "Thank Tycho."}  # fmt: skip


def write_cdf(path: Path) -> None:
    cdflib = pytest.importorskip("cdflib")
    made = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"})
    made.write_globalattrs({key: {0: value} for key, value in HEAD.items()})

    def variable(name: str, kind: int, values: np.ndarray, attributes: dict[str, Any], *, varies: bool = True) -> None:
        shape = values.shape[1:] if varies else values.shape
        spec = {"Variable": name, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": varies, "Dim_Sizes": list(shape)}
        made.write_var(spec, var_attrs=attributes, var_data=values)

    begin = int(cdflib.cdfepoch.compute_tt2000([2016, 12, 30, 0, 0, 0, 0, 0, 0]))
    variable("Epoch", 33, begin + np.arange(COUNT) * 16_000_000_000, {"VAR_TYPE": "support_data", "UNITS": "ns"})
    for name, (values, said) in VARIABLES.items():
        varies = len(values) == COUNT
        more = {"DEPEND_0": "Epoch"} if varies else {}
        fill: dict[str, Any] = {"FILLVAL": [-1e31, "CDF_FLOAT"]} if values.dtype.kind == "f" else {}
        limits: dict[str, Any] = (
            {"VALIDMIN": [0.0, "CDF_FLOAT"], "VALIDMAX": [100.0, "CDF_FLOAT"]} if name == "density" else {}
        )
        variable(name, 44 if values.dtype.kind == "f" else 4, values, {**said, **more, **fill, **limits}, varies=varies)
    made.close()


def write_netcdf(path: Path) -> None:
    h5netcdf = pytest.importorskip("h5netcdf")
    with h5netcdf.File(path, "w") as file:
        file.attrs.update(HEAD)
        file.dimensions = {"Epoch": COUNT, "Energy": 4, "xyz": 3}
        clock = file.create_variable("Epoch", ("Epoch",), "f8", data=np.arange(COUNT) * 16.0)
        clock.attrs.update({"units": "seconds since 2016-12-30T00:00:00", "VAR_TYPE": "support_data"})
        for name, (values, said) in VARIABLES.items():
            first = ("Epoch",) if len(values) == COUNT else ("Energy",)
            dims = (*first, *({4: ("Energy",), 3: ("xyz",)}[values.shape[1]] if values.ndim > 1 else ()))
            one = file.create_variable(name, dims, values.dtype, data=values)
            one.attrs.update({key: value for key, value in said.items() if key != "DEPEND_1"})
            if values.dtype.kind == "f":
                one.attrs["FILLVAL"] = np.float32(-1e31)
            if name == "density":
                one.attrs.update({"VALIDMIN": np.float32(0.0), "VALIDMAX": np.float32(100.0)})


def test_a_draft_of_istp_proposes_its_series(tmp_path: Path) -> None:
    """The quick part of the next test."""
    write_cdf(tmp_path / "a.cdf")
    path = create_descriptor(Settings(directory=tmp_path), "abc", str(tmp_path / "a.cdf"))
    series = yaml.safe_load(path.read_text())["tables"]["main"]["series"]
    assert (series["id"], series["time"], series["parameters"]) == ("XX_H0_ABC", "epoch", ["flux", "b", "density"])


@pytest.mark.parametrize(("ending", "write"), [("cdf", write_cdf), ("nc", write_netcdf)])
def test_a_draft_of_istp_passes_check_and_serves_hapi(tmp_path: Path, ending: str, write: Any) -> None:
    require_plugins("media", "cdf", "netcdf")
    (tmp_path / "hven.toml").write_text("")
    home = tmp_path / "collections/abc/data"
    home.mkdir(parents=True)
    write(home / f"a.{ending}")
    path = create_descriptor(Settings(directory=tmp_path), "abc", str(home / f"a.{ending}"))
    text = path.read_text()
    made = yaml.safe_load(text)
    assert [str(fault) for fault in check_descriptor(path, Settings(directory=tmp_path))] == []
    assert (made["title"], made["description"], made["creators"]) == ("Fields and fluxes", "Made up.", [{"name": "T. Brahe"}])  # fmt: skip
    assert made["acknowledgement"] == "Thank Tycho."
    table = made["tables"]["main"]
    names = {"epoch", "flux", "b", "density", "flag", "spin"}
    assert names <= set(table["columns"])
    columns = table["columns"]
    assert columns["flux"]["unit"] == "s**-1.cm**-2.sr**-1.keV**-1"
    assert columns["flux"]["label"] == "JH+"
    assert (columns["density"]["unit"], columns["density"]["label"]) == ("cm**-3", "n")
    assert "unit" not in columns["flag"]
    series = table["series"]
    assert (series["id"], series["time"], series["cadence"]) == ("XX_H0_ABC", "epoch", "16 s")
    assert series["parameters"] == ["flux", "b", "density"], "support data and what is not to be shown stay out"
    assert series["vectors"] == {"b": "GSE"}
    assert series["bins"]["flux"] == {"name": "Energy", "unit": "keV", "label": "Energies", "centers": [10.0, 20.0, 40.0, 80.0], "scale_type": "log"}  # fmt: skip
    assert series["scale_types"] == {"flux": "log", "density": "linear"}
    assert "density reaches from -77 to" in text
    assert "CASE WHEN density >= 0 AND density <= 100 THEN density END" in text
    with Site(Settings(directory=tmp_path)) as site:
        ingest_collection(site, "abc")
        client = Client(create_and_start_application(site))
        info = json.loads(client.get("/hapi/info", dataset="XX_H0_ABC").body)
        assert info["status"]["code"] == 1200, info
        shown = {one["name"]: one for one in info["parameters"]}
        assert list(shown) == ["epoch", "flux", "b", "density"]
        assert (shown["flux"]["bins"][0]["centers"], shown["flux"]["bins"][0]["units"]) == ([10, 20, 40, 80], "keV")
        assert (shown["density"]["label"], shown["b"]["coordinateSystemName"]) == ("n", "GSE")
        given = {"dataset": "XX_H0_ABC", "start": info["startDate"], "stop": info["stopDate"], "format": "json"}
        rows = json.loads(client.get("/hapi/data", **given).body)["data"]
        times = {"start_time": info["startDate"], "end_time": info["stopDate"]}
        stream = parse_stream(client.get("/das2/server", server="dataset", dataset="XX_H0_ABC", **times).body)
        spectra = parse_stream(
            client.get("/das2/server", server="dataset", dataset="XX_H0_ABC", params="flux", **times).body
        )
        facts = json.loads(client.get("/series/XX_H0_ABC").body)
    assert (spectra.properties["yScaleType"], spectra.properties["zScaleType"]) == ("log", "log")
    said = {plane.name: plane.properties for packet in stream.packets for plane in packet.planes}
    assert (said["flux"]["yScaleType"], said["flux"]["zScaleType"], said["density"]["yScaleType"]) == ("log", "log", "linear")  # fmt: skip
    assert "yScaleType" not in said["b_1"]
    assert [(one["name"], one["scale"]) for one in facts["parameters"]] == [("flux", "log"), ("b", None), ("density", "linear")]  # fmt: skip
    assert facts["parameters"][0]["bins"]["scale"] == "log"
    times = np.array([row[0].rstrip("Z") for row in rows], "M8[ms]")
    wanted = np.datetime64("2016-12-30T00:00:00", "ms") + np.arange(COUNT) * np.timedelta64(16_000, "ms")
    assert np.abs(times - wanted).max() <= np.timedelta64(1, "ms")
    density = np.array([np.nan if row[3] is None else float(row[3]) for row in rows])
    np.testing.assert_array_equal(density, np.where(np.float32(-1e31) == DENSITY, np.nan, DENSITY.astype("f8")))
    flux = np.array([[np.nan if cell is None else float(cell) for cell in row[1]] for row in rows])
    np.testing.assert_array_equal(flux, np.where(np.float32(-1e31) == FLUX, np.nan, FLUX.astype("f8")))


def test_scales_of_texts_are_not_proposed() -> None:
    stated = {"word": "linear", "rate": "log", "gone": "log"}
    metadata = TimeSeriesMetadata(time="t", data=("word", "rate"), scale_types=stated)
    types = {"t": "timestamp", "word": "string", "rate": "float32"}
    guesses = [
        ColumnGuess(source=name, column=Column(name=name, type=parse_type(text))) for name, text in types.items()
    ]
    lines = write_series_proposal(metadata, guesses, pa.array([]), None)
    assert yaml.safe_load("\n".join(lines))["series"]["scale_types"] == {"rate": "log"}


@pytest.mark.parametrize(
    ("text", "plain", "unit"),
    [
        ("s!E-1!N", "s-1", "s**-1"), ("cm!U-3!N", "cm-3", "cm**-3"), ("s!E-1!Ncm!E-2!Nster!E-1!NkeV!E-1!N", "s-1cm-2ster-1keV-1", "s**-1.cm**-2.sr**-1.keV**-1"),
        ("(nT)!E2!N/Hz", "(nT)2/Hz", "nT**2/Hz"), ("B!DX!N (GSE)", "BX (GSE)", None), ("!4l!3m", "um", "um"), ("nT", "nT", "nT"), ("wait!!", "wait!", None), ("km s!E-1", "km s-1", "km/s"),
    ],
)  # fmt: skip
def test_the_markup_of_idl(text: str, plain: str, unit: str | None) -> None:
    assert strip_idl_markup(text) == plain
    assert units.normalize_unit(text) == unit


def test_files_of_archives_pass_check_with_their_series(tmp_path: Path) -> None:
    require_plugins("media", "cdf")
    (tmp_path / "hven.toml").write_text("")
    for number, name in enumerate(("rbspa_rel04_ect-hope-PA-L3_20121201_v0.0.0.cdf", "psp_fld_l2_mag_rtn_1min_20200104_v02.cdf", "ac_h2_sis_20101105_v06.cdf")):  # fmt: skip
        settings = Settings(directory=tmp_path)
        path = create_descriptor(settings, f"c{number}", str(shared(f"data/helio/cdf/{name}")))
        assert "series" in yaml.safe_load(path.read_text())["tables"]["main"], name
        assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == [], name
