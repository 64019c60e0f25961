"""The page of a plot: its state is in the address, boxes lie where the bursts are, rights and limits hold."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import pytest
from asgi_client import Client
from plot_samples import BURSTS, CHANNELS, SECOND, START, build_field

from hven.plugins.stacked_plots import plot_addresses, plot_drawing, plot_reading
from hven.plugins.stacked_plots.plot_addresses import MAX_PANELS, PanelAddress, parse_panel, parse_plot_address
from hven.plugins.stacked_plots.table_events import TableEvents, TimeFrequencyShape

DAY = (("_from", "2003-10-28T00:00"), ("_to", "2003-10-29T00:00"))
DAY_SECONDS = 86_400


def ask(client: Client, *panels: str, times: Any = DAY, path: str = "/plots", **more: str) -> Any:
    query = urlencode([*times, *(("panel", panel) for panel in panels), *more.items()])
    return client.get(f"{path}?{query}")


def read_json(client: Client, *panels: str, times: Any = DAY) -> Any:
    query = urlencode([*times, *(("panel", panel) for panel in panels)])
    answer = client.ask("GET", f"/plots?{query}", headers={"accept": "application/json"})
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def test_the_first_page_lists_what_can_be_plotted(client: Client) -> None:
    page = client.get("/plots").text
    for title in ("Magnetic field", "Radio spectra", "Type III bursts", "Images"):
        assert title in page
    assert "Hidden things" not in page
    found = client.get("/plots?q=radio+spectra").text
    assert "Radio spectra" in found
    assert "Magnetic field" not in found
    assert "No data set that you can see" in client.get("/plots?q=nonsense").text


def test_suggestions_are_in_the_language_of_the_reader(client: Client) -> None:
    assert "Wind: Type III bursts" in client.get("/plots?q=wind+bursts").text
    page = client.get("/plots?q=vent+bursts&lang=fr").text
    assert "Vent: Type III bursts" in page
    assert "Wind: Type III bursts" not in page


def test_panels_stand_under_one_another_above_one_time_axis(client: Client) -> None:
    page = ask(client, "waves;intensity", "field;bx;by", "table:wind.bursts", "table:wind.images").text
    titles = re.findall(r'<h2 id="panel-\d"><a href="[^"]*">([^<]*)</a>', page)
    assert titles == ["Radio spectra", "Magnetic field", "Type III bursts", "Images"]
    assert page.count('class="curve') == 2
    assert page.count("<image ") == 1
    assert page.count('class="event"') == 2
    assert page.count('class="moment"') == 24
    assert 6 <= page.count('src="https://images.example/') <= 12
    assert "plot-times-axis" in page
    assert "helioviewer.org/?date=2003-10-28T12%3A00%3A00.000Z&amp;imageLayers=%5BSOHO" in page


def test_links_reorder_hide_and_remove_panels(client: Client) -> None:
    page = ask(client, "field;bx", "waves;intensity").text
    addresses = [
        [value for name, value in parse_qsl(urlsplit(link.replace("&amp;", "&")).query) if name == "panel"]
        for link in re.findall(r'href="([^"]*/plots\?[^"]*)"', page)
    ]
    assert ["waves;intensity", "field;bx"] in addresses
    assert ["-field;bx", "waves;intensity"] in addresses
    assert ["waves;intensity"] in addresses
    assert ["field;bx", "waves;intensity", "table:wind.bursts"] in addresses
    hidden = ask(client, "-field;bx", "waves;intensity").text
    assert 'class="curve' not in hidden
    assert "Magnetic field" in hidden


def test_boxes_of_bursts_lie_on_the_spectrogram_of_their_instrument(client: Client) -> None:
    """BR_X and BR_Y within half a pixel of a picture of 1,000 by 220 pixels; the bright pixels begin and end there."""
    page = ask(client, "waves;intensity", "table:wind.bursts").text
    outline = re.search(r'class="shape" d="M([^z"]*)z', page)
    assert outline is not None
    corners = np.array([list(map(float, point.split())) for point in outline[1].split("L")])
    (x, y), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    boxes = [(x, y, right - x, bottom - y)]
    pattern = r'<rect class="box" x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"'
    boxes += [tuple(map(float, box)) for box in re.findall(pattern, page)]
    assert len(boxes) == len(BURSTS)
    centers = np.log(CHANNELS)
    low, high = centers[0] - (centers[1] - centers[0]) / 2, centers[-1] + (centers[-1] - centers[-2]) / 2
    for burst, (x, y, width, height) in zip(BURSTS, boxes, strict=True):
        left, right = ((time - START) / (DAY_SECONDS * SECOND) * 1000 for time in (burst.begin, burst.end))
        top, bottom = ((1 - (np.log(frequency) - low) / (high - low)) * 220 for frequency in (burst.high, burst.low))
        assert [x, x + width, y, y + height] == pytest.approx([left, right, top, bottom], abs=0.5)
    from PIL import Image

    match = re.search(r'<image x="([\d.-]+)" width="([\d.]+)" height="220"[^>]*base64,([^"]*)"', page)
    assert match is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(match[3]))))
    assert (picture[..., 3] == 255).all(), "no minute and no channel is missing"
    scale = float(match[2]) / picture.shape[1]
    brightness = picture[..., 1].astype(int)
    for x, y, width, height in boxes:
        row = int((y + height / 2) / 220 * picture.shape[0])
        bright = np.flatnonzero(brightness[row] > 120) * scale + float(match[1])
        inside = bright[(bright > x - 30) & (bright < x + width + 30)]
        assert inside.min() == pytest.approx(x, abs=scale)
        assert inside.max() + scale == pytest.approx(x + width, abs=scale)


def test_outlines_of_tfcat_are_drawn_too(client: Client) -> None:
    page = ask(client, "waves;intensity", "table:wind.bursts").text
    assert page.count('class="shape"') == 1
    assert 'class="shape"' not in ask(client, "waves;intensity", "-table:wind.bursts").text
    assert 'class="box"' not in ask(client, "field;bx", "table:wind.bursts").text


def test_rows_outside_of_a_spectrogram_are_not_drawn_over_it() -> None:
    """In pictures, lines along its edge stood for rows of other frequencies."""
    bands = [(2e6, 3e6), (20e6, 30e6), (1e3, 2e3), (9e6, 20e6)]  # the axis has 1 to 10 MHz
    instants = np.array([100, 100, 100, 100])
    shapes = [
        TimeFrequencyShape(np.array([100.0, 200.0, 150.0]), np.array([low, low, high]), is_closed=True, row=row)
        for row, (low, high) in enumerate(bands)
    ]
    later = replace(shapes[0], instants=np.array([3000.0, 3100.0]), hertz=np.array([2e6, 3e6]))
    events = TableEvents(
        begins=instants,
        ends=instants + 50,
        labels=[""] * 4,
        urls=[""] * 4,
        boxes=(np.array([low for low, _ in bands]), np.array([high for _, high in bands])),
        shapes=[*shapes, later],
    )
    axis = plot_drawing.PanelAxis(low=1.0, high=10.0, is_logarithmic=False)
    boxes = plot_drawing.locate_boxes(events, axis, 1e6, (0, 1000), 180)
    assert [round(upper) for _, _, upper, _ in boxes] == [140, -200]
    visible = plot_drawing.list_visible_shapes(events, axis, 1e6, (0, 1000), 180)
    assert [shape.row for shape in visible] == [0, 3]


def test_gaps_stay_gaps_and_extremes_are_drawn(client: Client) -> None:
    page = ask(client, "field;speed").text
    match = re.search(r'class="curve line-0" d="([^"]*)"', page)
    assert match is not None
    assert match[1].count("M") == 2, "the samples without a value divide the line"
    described = read_json(client, "field;bx")["panels"][0]["shows"]
    bx = build_field()[1][:, 0]
    low, high = map(float, re.findall(r"-?[\d.]+", described)[:2])
    assert low == pytest.approx(bx.min(), rel=1e-3)
    assert high == pytest.approx(bx.max(), rel=1e-3)


def test_computed_lines_are_drawn(client: Client) -> None:
    page = ask(client, "field;total=VECTOR_LENGTH(b);smooth=RUNNING_MEAN(VECTOR_LENGTH(b), 600)").text
    assert page.count('class="curve') == 2
    shows = read_json(client, "field;total=SQRT(bx*bx+by*by+bz*bz)")["panels"][0]["shows"]
    lengths = np.linalg.norm(build_field()[1], axis=1)
    low, high = map(float, re.findall(r"-?[\d.]+", shows)[:2])
    assert [low, high] == pytest.approx([lengths.min(), lengths.max()], rel=1e-3)
    assert shows.endswith("nT")


def test_long_spans_are_computed_from_means_and_say_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot_reading, "MAX_COMPUTED_VALUES", 100)
    (panel,) = read_json(client, "field;total=bx+by")["panels"]
    assert "computed from means" in panel["notes"][0]
    assert panel["fault"] == ""


def test_faults_of_one_panel_leave_the_others(client: Client) -> None:
    panels = ["nothing", "field;bq", "field;x=bx+", "waves;intensity;other", "table:wind.nothing", "field;bx"]
    facts = read_json(client, *panels)["panels"]
    assert [bool(panel["fault"]) for panel in facts] == [True] * 5 + [False]
    assert all(panel["fault"] for panel in read_json(client, "nothing", times=())["panels"])


@pytest.mark.parametrize(
    "query",
    [
        {"_from": "yesterday", "_to": "2003"},
        {"_from": "2003-10-29", "_to": "2003-10-28"},
        {"_from": "0001", "_to": "9999"},
        {"panel": "x" * 5000},
    ],
)
def test_wrong_addresses_are_told(client: Client, query: dict[str, str]) -> None:
    assert client.get(f"/plots?{urlencode(query)}").status == 400


def test_the_number_of_panels_is_limited(client: Client) -> None:
    assert ask(client, *["field;bx"] * (MAX_PANELS + 1)).status == 400
    full = ask(client, *["-field;bx"] * MAX_PANELS)
    assert full.status == 200
    assert "as many panels as it can have" in full.text


def test_the_time_of_a_plot_is_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot_reading, "MAX_PLOT_SECONDS", -1.0)
    facts = read_json(client, "field;bx", "table:wind.images")["panels"]
    assert all("seconds" in panel["fault"] for panel in facts)


@pytest.mark.parametrize("panel", ["secret", "secret;level", "secret;x=level*2", "table:wind.secret"])
def test_private_data_are_not_there_for_strangers(client: Client, panel: str) -> None:
    for times in (DAY, ()):
        page = ask(client, panel, times=times)
        assert page.status == 200
        assert not re.search(r"17\.25|18\.5|Hidden things", page.text)
        for name in ("svg", "png", "csv", "cdf"):
            answer = ask(client, panel, times=times, path=f"/plots/plot.{name}")
            assert answer.status in {200, 404}
            assert b"17.25" not in answer.body
    assert client.get(f"/hapi/info?{urlencode({'dataset': panel})}").status == 404


def test_a_span_is_chosen_where_the_address_has_none(client: Client) -> None:
    facts = read_json(client, "field;bx", times=())
    assert facts["from"].startswith("2003-10-28T00:00:00")
    assert facts["to"].startswith("2003-10-29T00:00:00")
    assert read_json(client, "table:wind.bursts", times=())["from"] < "2003-10-28T01:00"


def test_panels_of_an_empty_span_say_so(client: Client) -> None:
    times = (("_from", "1950"), ("_to", "1951"))
    facts = read_json(client, "field;bx", "waves;intensity", "table:wind.bursts", times=times)["panels"]
    assert all(panel["notes"] and not panel["fault"] for panel in facts)
    assert ask(client, "field;bx", "waves", times=times, path="/plots/plot.svg").status == 200


@pytest.mark.parametrize("text", ["a", "-a;b", "table:s.t", "-table:s.t", "a;x=b/c;d"])
def test_panels_are_written_as_they_are_read(text: str) -> None:
    assert parse_panel(text).to_text() == text


def test_addresses_are_short_and_are_read_back() -> None:
    address = parse_plot_address(dict(DAY), ["a;b"])
    assert address.list_parameters() == [*DAY, ("panel", "a;b")]
    for query in address.write_time_links().values():
        again = dict(parse_qsl(query))
        assert parse_plot_address(again, ["a;b"]).panels == (PanelAddress(name="a", parameters=("b",)),)
    assert plot_addresses._format_short_time(START + 90 * SECOND) == "2003-10-28T00:01:30"


def test_pages_of_tables_lead_to_their_plots(client: Client) -> None:
    page = client.get("/collections/wind/bursts").text
    assert "/plots?panel=table%3Awind.bursts" in page
    assert "/plots?panel=field" in client.get("/collections/wind/field").text


def test_titles_and_labels_cannot_become_markup(client: Client) -> None:
    page = ask(client, "<script>alert(1)</script>", "field;bx", q="<b>")
    assert "<script>alert" not in page.text
    assert "<b>" not in page.text.replace("<b>1", "")


def test_a_plot_of_rows_alone_offers_no_files_of_samples() -> None:
    rows_only = parse_plot_address({}, ["table:sky.events"])
    assert rows_only.list_sample_panels() == []
    assert [panel.name for panel in parse_plot_address({}, ["table:sky.events", "a;b"]).list_sample_panels()] == ["a"]


def test_rows_lead_to_the_plot_of_their_time(client: Client) -> None:
    """The link of a row has the panel and the time as parameters of their own."""
    row = json.loads(client.get("/collections/wind/bursts/row", _row='["t3_1"]').body)
    (link,) = [link["href"] for link in row["links"] if "/plots?" in link["href"]]
    state = dict(parse_qsl(urlsplit(link).query))
    assert state["panel"] == "table:wind.bursts"
    assert state["_from"] < "2003-10-28T01:00" < state["_to"]
    answer = client.ask("GET", "/plots", urlsplit(link).query.encode(), headers={"accept": "application/json"})
    (panel,) = json.loads(answer.body)["panels"]
    assert (panel["fault"], panel["shows"]) == ("", "1")


def test_pages_of_series_lead_to_their_plot_and_notebook(client: Client) -> None:
    page = client.ask("GET", "/series/field", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}).text
    assert 'href="http://vo.example/plots?panel=field"' in page
    assert "/plots/plot.ipynb?panel=field" in page
    notebook = json.loads(client.get("/plots/plot.ipynb?panel=field").body)
    assert any("field" in "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
