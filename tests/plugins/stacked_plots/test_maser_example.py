"""Example 32: bursts from chain codes lie on the spectra of their own instrument, in the boxes that the catalogue states."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from asgi_client import Client

from example_sites import ingest_all, open_example
from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_plugins

pytestmark = pytest.mark.slow
DAY_JD = 2452940.5  # 2003-10-28
LOW_MHZ, HIGH_MHZ, STEP_MHZ = 1.05, 13.85, 0.05  # edges and step of the channels of RAD2
HEIGHT_PIXELS = 220


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Client]]:
    require_plugins("media", "cdf")
    with open_example("32-maser", tmp_path_factory.mktemp("maser")) as directory:
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            yield directory, Client(create_and_start_application(site))


def read_bursts(directory: Path) -> list[dict[str, str]]:
    with (directory / "collections/maser/data/type_iii.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def get_plot(client: Client, begin: str, end: str, *panels: str) -> str:
    query = urlencode([("_from", begin), ("_to", end), *(("panel", panel) for panel in panels)])
    answer = client.get(f"/plots?{query}")
    assert answer.status == 200, answer.text
    return str(answer.text)


def read_outlines(page: str) -> list[np.ndarray]:
    """Read the closed shapes over the spectrogram: their corners in pixels."""
    paths = re.findall(r'class="shape" d="([^"]*)"', page)
    rings = [ring for path in paths for ring in re.findall(r"M([^Mz]*)z", path)]
    return [np.array([list(map(float, point.split())) for point in ring.split("L")]) for ring in rings]


def test_boxes_of_areas_equal_those_of_the_catalogue_to_half_a_pixel(example: tuple[Path, Client]) -> None:
    """An area is made of whole pixels, and the catalogue's box connects their centres: the edges are half a pixel apart."""
    directory, client = example
    page = get_plot(client, "2003-10-28", "2003-10-29", "wind_waves_rad2", "table:maser.bursts")
    bursts = [burst for burst in read_bursts(directory) if float(burst["BR_X0_UTC"]) < DAY_JD + 1]
    outlines = read_outlines(page)
    assert "RAD2_frequency (MHz)" in re.sub(r"\s+", " ", page), "digits of names are no exponents"
    assert len(outlines) == len(bursts) == 6
    minute, channel = 1000 / 1440, HEIGHT_PIXELS * STEP_MHZ / (HIGH_MHZ - LOW_MHZ)
    for burst, outline in zip(bursts, sorted(outlines, key=lambda ring: ring[:, 0].min()), strict=True):
        left, right = ((float(burst[name]) - DAY_JD) * 1000 for name in ("BR_X0_UTC", "BR_X3_UTC"))
        bottom, top = (
            (HIGH_MHZ - float(burst[name])) / (HIGH_MHZ - LOW_MHZ) * HEIGHT_PIXELS
            for name in ("BR_Y0_MHZ", "BR_Y3_MHZ")
        )
        (x, y), (end, foot) = outline.min(axis=0), outline.max(axis=0)
        rounding = 0.06  # positions have one digit
        assert [x, end] == pytest.approx([left - minute / 2, right + minute / 2], abs=rounding)
        assert [y, foot] == pytest.approx([top - channel / 2, bottom + channel / 2], abs=rounding)


def test_areas_cover_the_bright_pixels_of_the_spectra(example: tuple[Path, Client]) -> None:
    from PIL import Image, ImageDraw, ImageFilter

    directory, client = example
    burst = read_bursts(directory)[0]
    start = np.datetime64(burst["TIME_START"][:19]) - np.timedelta64(630, "s")
    times = [str(start), str(start + np.timedelta64(4000, "s"))]
    page = get_plot(client, *times, "wind_waves_rad2", "table:maser.bursts", "table:maser.skeletons")
    match = re.search(r'<image x="([\d.-]+)" width="([\d.]+)" height="220"[^>]*base64,([^"]*)"', page)
    assert match is not None
    picture = Image.open(io.BytesIO(base64.b64decode(match[3]))).convert("RGB")
    left, width = float(match[1]), float(match[2])
    box = (-left / width * picture.width, 0, (1000 - left) / width * picture.width, picture.height)
    drawn = picture.resize((1000, HEIGHT_PIXELS), Image.Resampling.NEAREST, box=tuple(max(side, 0) for side in box))
    is_bright = np.asarray(drawn)[..., 0].astype(int) > 150  # yellow, of viridis
    mask = Image.new("L", drawn.size)
    for outline in read_outlines(page):
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in outline.tolist()], fill=255)
    # a pixel on an edge may be on either side of it
    is_inside, is_outside = (
        np.asarray(mask.filter(ImageFilter.MinFilter(3))) > 0,
        np.asarray(mask.filter(ImageFilter.MaxFilter(3))) == 0,
    )
    assert is_inside.sum() > 1000
    assert is_bright[is_inside].mean() > 0.99
    assert is_bright[is_outside].mean() < 0.005
    assert re.search(r'class="shape" d="[^"]*M[^Mz]*(?:M|")', page), "skeletons are open lines"


def test_hapi_das2_and_files_have_the_samples_of_the_cdf(example: tuple[Path, Client]) -> None:
    cdflib = pytest.importorskip("cdflib")
    directory, client = example
    file = cdflib.CDF(directory / "collections/maser/data/wi_l2_wav_20031028_v01.cdf")
    query = urlencode({"dataset": "wind_waves_rad2", "start": "2003-10-28T10:00Z", "stop": "2003-10-28T10:30Z"})
    lines = [line.split(",") for line in client.get(f"/hapi/data?{query}").text.splitlines()]
    assert len(lines) == 30
    values = np.array([line[1:] for line in lines], np.float32)
    assert np.array_equal(values, file.varget("RAD2")[600:630])
    assert lines[0][0].startswith("2003-10-28T10:00:30")
    info = json.loads(client.get("/hapi/info?dataset=wind_waves_rad2").text)
    assert info["parameters"][1]["bins"][0]["centers"] == pytest.approx(file.varget("RAD2_frequency").tolist())
    assert "Wind/WAVES/rad1" in client.get("/das2/server?server=list").text
    body = client.get("/collections/maser/files/data/wi_l2_wav_20031028_v01.cdf").body
    assert body == (directory / "collections/maser/data/wi_l2_wav_20031028_v01.cdf").read_bytes()


def test_bursts_are_a_valid_catalogue(example: tuple[Path, Client]) -> None:
    _, client = example
    catalogue = json.loads(client.get("/collections/maser/bursts/download?_as=tfcat").text)
    assert len(catalogue["features"]) == 12
    for feature in catalogue["features"]:
        (ring,) = feature["geometry"]["coordinates"]
        x, y = np.array(ring).T
        assert ring[0] == ring[-1]
        assert np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) < 0, "counter-clockwise"
