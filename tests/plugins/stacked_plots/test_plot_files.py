"""Plots as files: pictures, CSV, and CDF that cdflib and Hven's own reader read with the attributes of ISTP."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from asgi_client import Client
from lxml import etree
from plot_samples import CHANNELS, FIELD_COUNT, SECOND, START, build_field, build_spectra
from test_stacked_plots import DAY, ask

from hven.plugins.stacked_plots import plot_files
from hven.plugins.stacked_plots.cdf_writer import CdfVariable, write_cdf
from hven.plugins.stacked_plots.plot_files import convert_to_tt2000
from hven.site import Site
from process_runner import run_hven, serve_site

# attributes that the ISTP Metadata Guidelines require
GLOBAL_ATTRIBUTES = ("Data_type", "Data_version", "Descriptor", "Discipline", "Instrument_type", "Logical_file_id", "Logical_source", "Logical_source_description", "Mission_group", "PI_affiliation", "PI_name", "Project", "Source_name", "TEXT")  # fmt: skip
DATA_ATTRIBUTES = ("CATDESC", "DEPEND_0", "DISPLAY_TYPE", "FIELDNAM", "FILLVAL", "FORMAT", "LABLAXIS", "UNITS", "VALIDMIN", "VALIDMAX", "VAR_TYPE")  # fmt: skip
SUPPORT_ATTRIBUTES = ("CATDESC", "FIELDNAM", "FILLVAL", "FORMAT", "LABLAXIS", "UNITS", "VALIDMIN", "VALIDMAX", "VAR_TYPE")  # fmt: skip
PANELS = ("waves;intensity", "field;bx;b;total=VECTOR_LENGTH(b)", "table:wind.bursts")


def get_file(client: Client, extension: str, *panels: str, times: Any = DAY) -> Any:
    answer = ask(client, *(panels or PANELS), path=f"/plots/plot.{extension}", times=times)
    assert answer.status == 200, answer.text
    assert f"plot_20031028T000000_20031029T000000.{extension}" in answer.headers["content-disposition"]
    return answer


def test_the_svg_is_a_document_of_its_own(client: Client) -> None:
    answer = get_file(client, "svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    root = etree.fromstring(answer.body)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [element for element in root.iter() if "script" in str(element.tag)]
    assert b"Radio spectra" in answer.body
    assert answer.body.count(b'class="curve') == 5


def test_the_png_is_a_picture_of_the_same_plot(client: Client) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(get_file(client, "png").body))
    assert picture.width > 1000
    pixels = np.asarray(picture.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert picture.text["Source"].startswith("http")  # type: ignore[attr-defined]


def test_the_csv_has_all_samples_above_one_time_column(client: Client) -> None:
    rows = list(csv.DictReader(io.StringIO(get_file(client, "csv", "field;bx;total=VECTOR_LENGTH(b)", "waves").text)))
    assert len(rows) == FIELD_COUNT
    assert rows[0]["time"] == "2003-10-28T00:00:00.000000Z"
    vectors = build_field()[1]
    assert [float(row["field.bx"]) for row in rows] == pytest.approx(vectors[:, 0].tolist())
    assert [float(row["field.total"]) for row in rows] == pytest.approx(np.linalg.norm(vectors, axis=1).tolist())
    assert [rows[0]["waves.intensity[1]"], rows[1]["waves.intensity[1]"], rows[6]["waves.intensity[1]"]] == [
        "10",
        "",
        "10",
    ]


def test_files_without_samples_are_refused(client: Client) -> None:
    for extension in ("csv", "cdf"):
        answer = ask(client, "table:wind.bursts", path=f"/plots/plot.{extension}")
        assert answer.status == 404
        assert "no panel with samples" in answer.text
    assert ask(client, "field;bx", path="/plots/plot.exe").status == 404
    assert ask(client, "field;x=bx+", path="/plots/plot.csv").status == 400


def test_the_size_of_files_is_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot_files, "MAX_FILE_VALUES", 100)
    answer = ask(client, "field;bx", path="/plots/plot.csv")
    assert answer.status >= 400
    assert "100 values" in answer.text


def write_file(client: Client, directory: Path) -> Path:
    path = directory / "plot.cdf"
    path.write_bytes(get_file(client, "cdf").body)
    return path


def test_cdflib_reads_the_cdf_with_the_attributes_of_istp(client: Client, tmp_path: Path) -> None:
    cdflib = pytest.importorskip("cdflib")
    cdf = cdflib.CDF(write_file(client, tmp_path))
    info = cdf.cdf_info()
    assert info.zVariables == ["Epoch", "waves_intensity", "waves_intensity_channels", "Epoch_2", "field_bx", "field_b", "field_b_labels", "field_total"]  # fmt: skip
    assert not set(GLOBAL_ATTRIBUTES) - cdf.globalattsget().keys()
    spectrum_times, spectra = build_spectra()
    assert np.allclose(cdf.varget("waves_intensity"), spectra)
    assert np.allclose(np.ravel(cdf.varget("waves_intensity_channels")), CHANNELS)
    assert np.allclose(cdf.varget("field_b"), build_field()[1])
    times = cdflib.cdfepoch.to_datetime(cdf.varget("Epoch"))
    assert np.array_equal(times.astype("M8[us]"), spectrum_times)
    for name in info.zVariables:
        attributes = cdf.varattsget(name)
        kind = attributes["VAR_TYPE"]
        required = {"data": DATA_ATTRIBUTES, "support_data": SUPPORT_ATTRIBUTES, "metadata": ("CATDESC", "FIELDNAM", "FORMAT")}[kind]  # fmt: skip
        missing = set(required) - attributes.keys() - ({"LABLAXIS"} if "LABL_PTR_1" in attributes else set())
        assert not missing, name
        for pointer in ("DEPEND_0", "DEPEND_1", "LABL_PTR_1"):
            assert attributes.get(pointer, "Epoch") in info.zVariables
    assert cdf.varattsget("waves_intensity")["DISPLAY_TYPE"] == "spectrogram"
    assert cdf.varattsget("field_bx")["UNITS"] == "nT"
    assert float(cdf.varattsget("field_bx")["FILLVAL"]) == -1e31


def test_hven_drafts_a_descriptor_from_the_cdf(client: Client, tmp_path: Path) -> None:
    write_file(client, tmp_path)
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    done = run_hven("--site", str(tmp_path), "new", "again", "--from", str(tmp_path / "plot.cdf"))
    text = done.stdout + "".join(path.read_text() for path in tmp_path.rglob("*.yaml"))
    assert 'waves_intensity: {type: "float32[64]"' in text
    assert "unit: dB" in text


@pytest.mark.parametrize(
    "day", ["1972-01-01", "1998-12-31", "1999-01-01", "2003-10-28", "2016-12-31", "2017-01-01", "2026-11-29"]
)
def test_times_are_those_of_cdflib(day: str) -> None:
    cdflib = pytest.importorskip("cdflib")
    instant = np.array([f"{day}T12:34:56.789012"], "M8[us]").astype(np.int64)
    year, month, date = map(int, day.split("-"))
    expected = cdflib.cdfepoch.compute_tt2000([year, month, date, 12, 34, 56, 789, 12, 0])
    assert convert_to_tt2000(instant)[0] == expected


def test_a_cdf_without_records_and_attributes_is_valid(tmp_path: Path) -> None:
    cdflib = pytest.importorskip("cdflib")
    path = tmp_path / "empty.cdf"
    path.write_bytes(write_cdf({}, [CdfVariable(name="x", values=np.empty(0, "<f8"))]))
    assert cdflib.CDF(path).cdf_info().zVariables == ["x"]
    path.write_bytes(write_cdf({"a": ["1", "", "3"]}, []))
    assert list(cdflib.CDF(path).globalattsget()) == ["a"]


def test_computed_parameters_are_served_by_hapi(client: Client) -> None:
    data_set = "field;total=VECTOR_LENGTH(b);bx"
    info = client.get(f"/hapi/info?{urlencode({'dataset': data_set})}")
    assert info.status == 200, info.text
    names = re.findall(r'"name":"(\w+)"', info.text)
    assert names == ["moment", "total", "bx"]
    query = {"dataset": data_set, "start": "2003-10-28T01:00Z", "stop": "2003-10-28T02:00Z"}
    lines = client.get(f"/hapi/data?{urlencode(query)}").text.split()
    assert len(lines) == 360
    vectors = build_field()[1]
    first = 3600 // 10
    assert [float(line.split(",")[1]) for line in lines] == pytest.approx(
        np.linalg.norm(vectors[first : first + 360], axis=1).tolist()
    )
    one = client.get(f"/hapi/data?{urlencode(query | {'parameters': 'bx'})}").text.split()
    assert [float(line.split(",")[1]) for line in one] == pytest.approx(vectors[first : first + 360, 0].tolist())
    assert START + first * 10 * SECOND == int(np.datetime64("2003-10-28T01:00", "us").astype(int))


@pytest.mark.parametrize(
    "data_set", ["field;x=bq", "field;x=bx+", "field;x=RUNNING_MEAN(bx)", "field;bq", "nothing;x=bx"]
)
def test_wrong_computed_parameters_are_errors_of_hapi(client: Client, data_set: str) -> None:
    answer = client.get(f"/hapi/info?{urlencode({'dataset': data_set})}")
    assert answer.status in {400, 404}
    assert '"HAPI"' in answer.text


@pytest.mark.slow
def test_the_cells_of_a_page_of_a_series_read_its_samples(site: Site) -> None:
    pytest.importorskip("hapiclient", reason="hapiclient (dependency group test-all) reads HAPI")
    with serve_site(site.settings.directory) as server:
        _, _, page = server.send("GET", "/series/field", headers={"accept": "text/html,application/xhtml+xml"})
        link = re.search(r'href="[^"]*(/plots/plot\.ipynb\?[^"]*)"', page.decode())
        assert link is not None
        _, _, body = server.get(link[1].replace("&amp;", "&"))
        variables: dict[str, Any] = {}
        with contextlib.redirect_stdout(io.StringIO()):
            for cell in json.loads(body)["cells"]:
                if cell["cell_type"] == "code":
                    exec("".join(cell["source"]), variables)
        assert len(variables["data"]) > 0


def test_a_plot_is_a_notebook_whose_cells_run(client: Client) -> None:
    cells = json.loads(get_file(client, "ipynb").body)["cells"]
    series, rows = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "'field;bx;b;total=VECTOR_LENGTH(b)'" in series
    compile(series, "series", "exec")  # the next test runs it
    query = re.search(r"search\((.*)\)\.to_table", rows)
    assert query is not None
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=ast.literal_eval(query[1]), RESPONSEFORMAT="csv")
    assert [row["name"] for row in csv.DictReader(io.StringIO(answer.text))] == ["t3_1", "t3_2"]
