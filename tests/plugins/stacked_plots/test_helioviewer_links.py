"""Links to Helioviewer, read as its own scripts read them."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from asgi_client import Client

from example_sites import ingest_all, open_example
from process_runner import run_hven

# observatory, instrument (and detector, where it has another name), measurement: what Helioviewer has, with its first day
SOURCES = {
    **{("SDO", "AIA", str(line)): "2010-06-02" for line in (94, 131, 171, 193, 211, 304, 335, 1600, 1700, 4500)},
    **{("SOHO", "EIT", str(line)): "1996-01-15" for line in (171, 195, 284, 304)},
}


def read_as_helioviewer(address: str) -> tuple[datetime, list[tuple[str, ...]]]:
    """Read an address as Helioviewer does (HelperFunctions.js: layerStringToLayerArray, parseLayerString, getUTCTimestamp).

    Layers are separated by ``],``; the last two values of a layer are visibility and opacity; of equal names in a row
    one counts; of a date the characters up to the seconds count.
    """
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "helioviewer.org", "/")
    parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
    date = parameters["date"]
    places = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
    moment = datetime(*(int(date[begin:end]) for begin, end in places), tzinfo=UTC)
    layers = []
    for text in parameters["imageLayers"].split("],"):
        *names, visible, opacity = re.sub(r"[\[\]]", "", text).split(",")
        assert visible == "1"
        assert 0 < int(opacity) <= 100
        layers.append(tuple(name for at, name in enumerate(names) if at == 0 or name != names[at - 1]))
    return moment, layers


def find_link(client: Client, begin: str, end: str) -> str:
    page = client.get(f"/plots?{urlencode({'_from': begin, '_to': end, 'panel': 'field;bx'})}").text
    match = re.search(r'href="(https://helioviewer[^"]*)"', page)
    return html.unescape(match[1]) if match else ""


@pytest.mark.parametrize(
    ("begin", "end", "middle"),
    [
        ("2003-10-28T00:00", "2003-10-29T00:00", datetime(2003, 10, 28, 12, tzinfo=UTC)),
        ("2014-04-18T08:00:00", "2014-04-18T08:00:30.5", datetime(2014, 4, 18, 8, 0, 15, tzinfo=UTC)),
        ("1996-02-01", "1996-02-03", datetime(1996, 2, 2, tzinfo=UTC)),
    ],
)
def test_plots_lead_to_images_that_helioviewer_has(client: Client, begin: str, end: str, middle: datetime) -> None:
    moment, layers = read_as_helioviewer(find_link(client, begin, end))
    assert moment == middle
    (layer,) = layers
    assert datetime.fromisoformat(SOURCES[layer]).replace(tzinfo=UTC) <= moment


def test_plots_before_the_first_images_have_no_link(client: Client) -> None:
    assert find_link(client, "1990-01-01", "1990-01-02") == ""


@pytest.mark.slow
def test_images_of_the_example_lead_to_the_same_image(tmp_path: Path) -> None:
    with open_example("10-sdo-aia-images", tmp_path) as directory:
        ingest_all(directory)
        query = "SELECT external_link, wavelength, time_min FROM aia.epn_core"
        lines = run_hven("--site", directory, "query", "-f", "csv", query).stdout.splitlines()[1:]
    assert len(lines) == 15
    for line in lines:
        *link, wavelength, julian_day = line.rsplit(",", 2)
        moment, layers = read_as_helioviewer(",".join(link).strip('"'))
        assert layers == [("SDO", "AIA", f"{float(wavelength) * 10:g}")]
        assert layers[0] in SOURCES
        assert abs(moment.timestamp() / 86_400 + 2_440_587.5 - float(julian_day)) < 1.1 / 86_400
