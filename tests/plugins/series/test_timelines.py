"""Tiles of data sets: their values are those of numpy over the samples, whatever the bins; bytes give back numbers; and what else there is of a time."""

from __future__ import annotations

import html
import io
import json
import re
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import remote_servers
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.params import RequestParams
from hven.model.table import Column
from hven.model.types import parse_type
from hven.plugins.series import sample_sets
from hven.plugins.series.sample_parameters import SampleParameter
from hven.plugins.series.timelines import service as timelines
from hven.plugins.series.timelines.service import BINS_PER_TILE, MAX_TILE_ROWS, encode_values_as_bytes
from hven.plugins.series.timelines.spectrum_channels import resample_spectra
from hven.site import Site
from plugin_needs import require_core_fixtures

SECOND = 1_000_000
START = int(np.datetime64("2003-10-28T00:00:00", "us").astype(int))
MANY, WIDE = 4000, 20
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
DESCRIPTOR = """\
collection: sun
title: Sun
description: Made up
tables:
  spectra:
    access: public
    primary: [moment]
    source: {{kind: parquet, files: ../../samples.parquet}}
    columns:
      moment: {{ucd: time.epoch}}
      flux: {{type: "float32[20]", unit: W}}
      field: {{type: "float32[3]", unit: nT}}
      total: {{unit: W}}
      picture: {{ucd: meta.ref.url}}
    series:
      id: spectra
      cadence: 10 s
      bins:
        flux: {{name: frequency, unit: MHz, ranges: [{ranges}]}}
  bursts:
    source: {{kind: csv, file: ../../bursts.csv}}
    columns:
      first: {{type: timestamp, ucd: time.start}}
      last: {{type: timestamp, ucd: time.end}}
  nights:
    source: {{kind: csv, file: ../../mjd.csv}}
    columns:
      night: {{type: float64, unit: d, ucd: time.epoch, frame: mjd}}
    frames: {{mjd: {{kind: timesys, timeorigin: MJD-origin, timescale: UTC, refposition: TOPOCENTER}}}}
"""

FAR = """\
collection: far
title: Far
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: none
    source: {kind: csv, file: far.csv}
    set: {target_name: Sun, target_class: star, dataproduct_type: ds, processing_level: 2, measurement_type: phot.flux, instrument_host_name: far, instrument_name: far}
    map: {granule_uid: name, granule_gid: name, obs_id: name, time_min: t0, time_max: t1}
"""
NEAR = """\
collection: sun
title: Sun
tables:
  line:
    source: {kind: csv, file: ../../line.csv}
    columns:
      moment: {type: timestamp, ucd: time.epoch}
      total: {type: float64}
    series: {}
"""


def samples() -> dict[str, Any]:
    """Make samples with a gap, values that are none, and a picture now and then."""
    rng = np.random.default_rng(5)
    moments = START + np.arange(MANY) * 10 * SECOND
    moments[2000:] += 7200 * SECOND
    flux = rng.lognormal(0, 2, (MANY, WIDE)).astype("f4")
    flux[rng.random(flux.shape) < 0.01] = np.nan
    total = rng.normal(size=MANY)
    total[17] = np.nan
    return {"moment": moments, "flux": flux, "field": rng.normal(size=(MANY, 3)).astype("f4"), "total": total}


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    return samples()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, source: dict[str, Any]) -> Iterator[Client]:
    root: Path = tmp_path_factory.mktemp("timelines")
    (root / "collections" / "sun").mkdir(parents=True)
    columns = {
        "moment": pa.array(source["moment"]).cast(pa.timestamp("us")),
        "flux": pa.FixedSizeListArray.from_arrays(pa.array(source["flux"].ravel()), WIDE),
        "field": pa.FixedSizeListArray.from_arrays(pa.array(source["field"].ravel()), 3),
        "total": source["total"],
        "picture": ["https://images.example/1.png" if not at % 500 else None for at in range(MANY)],
    }
    pq.write_table(pa.table(columns), root / "samples.parquet")
    (root / "mjd.csv").write_text("night,what\n52940.25,1\n52940.5,2\n")  # 06:00 and 12:00 of that day
    bursts = ["first,last", "2003-10-27T23:00:00,2003-10-28T00:30:00", "2003-10-28T02:00:00,2003-10-28T02:10:00"]
    (root / "bursts.csv").write_text("\n".join([*bursts, "2003-11-28T02:00:00,2003-11-28T02:10:00", ""]))
    ranges = ", ".join(f"[{low}, {low + 1}]" for low in range(WIDE))
    (root / "collections" / "sun" / "sun.yaml").write_text(DESCRIPTOR.format(ranges=ranges))
    (root / "hven.toml").write_text('name = "sun"\n')
    with Site(settings.load_settings(root)) as site:
        ingest_collection(site, "sun")
        yield Client(create_and_start_application(site))


def tile(client: Client, **given: object) -> tuple[Any, Any]:
    answer = client.get("/series/spectra", **{name.upper(): value for name, value in given.items()})
    assert answer.status == 200, answer.text
    return np.load(io.BytesIO(answer.body)), answer.headers


def compute_bins(source: dict[str, Any], values: Any, width: int, number: int) -> tuple[Any, Any, Any]:
    """Reduce with numpy: lowest, mean and highest value of each bin, shape (elements, bins)."""
    place = (source["moment"] - number * BINS_PER_TILE * width) // width
    found = np.full((3, values.shape[1], BINS_PER_TILE), np.nan)
    for at in range(BINS_PER_TILE):
        inside = values[place == at].astype("f8")
        for element in range(values.shape[1]):
            known = inside[:, element][~np.isnan(inside[:, element])]
            if known.size:
                found[:, element, at] = known.min(), known.mean(), known.max()
    return found[0], found[1], found[2]


@pytest.mark.parametrize("width", [SECOND, 5 * SECOND, 60 * SECOND, 1800 * SECOND])
def test_lines_equal_those_computed_with_numpy(client: Client, source: dict[str, Any], width: int) -> None:
    number = (START + 20_000 * SECOND) // (BINS_PER_TILE * width)
    found, _ = tile(client, parameter="total", width=width, tile=number)
    low, mean, high = compute_bins(source, source["total"][:, None], width, number)
    assert found.dtype == np.float32
    assert np.isfinite(found).any()
    assert np.allclose(found, np.concatenate([low, mean, high]), rtol=1e-6, equal_nan=True)
    found, _ = tile(client, parameter="field", width=width, tile=number)
    _, mean, _ = compute_bins(source, source["field"], width, number)
    assert np.allclose(found.reshape(3, 3, BINS_PER_TILE), mean[:, None], rtol=1e-5, atol=1e-6, equal_nan=True)


def values_of(codes: Any, headers: Any) -> Any:
    zero, scale, bend = (float(headers[f"x-{name}"]) for name in ("zero", "scale", "bend"))
    found = zero + scale * np.sinh(bend * (codes.astype("f8") - 128) / 126)
    return np.where(codes <= 1, np.nan, found)


@pytest.mark.parametrize(("show", "rows"), [("mean", 256), ("peak", 256), ("mean", 7), ("peak", 7)])
def test_spectra_equal_those_computed_with_numpy(client: Client, source: dict[str, Any], show: str, rows: int) -> None:
    width = 60 * SECOND
    number = (START + 20_000 * SECOND) // (BINS_PER_TILE * width)
    codes, headers = tile(client, parameter="flux", width=width, tile=number, show=show, rows=rows)
    together = int(headers["x-together"])
    assert together == -(-WIDE // rows)
    _, mean, high = compute_bins(source, source["flux"], width, number)
    whole = mean if show == "mean" else high
    parts = [whole[at : at + together] for at in range(0, WIDE, together)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = np.stack([(np.nanmean if show == "mean" else np.nanmax)(part, axis=0) for part in parts])
    found = values_of(codes, headers)
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    there = np.isin(np.arange(BINS_PER_TILE), source["moment"] // width - number * BINS_PER_TILE)
    assert (codes[:, ~there] == 0).all()  # a gap is not what has no value
    assert (codes[:, there] > 0).all()
    zero, scale, bend = (float(headers[f"x-{name}"]) for name in ("zero", "scale", "bend"))
    step = bend / 126 * np.hypot(scale, wanted - zero)  # between two codes
    assert np.nanmax(np.abs(found - wanted) / step) <= 0.6
    assert bend / 126 < 0.15


def test_missing_values_differ_from_gaps(client: Client, source: dict[str, Any]) -> None:
    width = 10 * SECOND
    number = START // (BINS_PER_TILE * width)
    found, _ = tile(client, parameter="total", width=width, tile=number)
    place = START // width - number * BINS_PER_TILE
    assert np.isinf(found[:, place + 17]).all()
    assert np.isnan(found[:, :place]).all()
    blank = np.isnan(source["flux"][: BINS_PER_TILE - place]).T
    codes, _ = tile(client, parameter="flux", width=width, tile=number)
    assert blank.any()
    assert np.array_equal(codes[:, place:] == 1, blank)
    assert not codes[:, :place].any()


def test_changing_channels_are_drawn_at_their_frequencies() -> None:
    """Two lists of channels: each row has the value of the channel, or the mean of those, that is there; peaks stay peaks."""
    centers = np.full((6, 8), np.nan)
    centers[:3] = np.arange(8) + 10  # 10 .. 17
    centers[4:, :4] = [20, 16, 12, 8]  # falling, fewer, wider
    values = centers * 100
    values[0, 3] = np.nan
    picture, axis, changes = resample_spectra(values, centers, 64, use_peaks=False)
    assert (axis, changes) == ((6.0, 22.0, False), [4])
    low, high = 6, 22
    edges = np.linspace(low, high, len(picture) + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    for number in range(6):
        for row, at in enumerate(middle):
            near = np.abs(centers[number] - at)
            half = 0.5 if number < 3 else 2
            if number == 3 or np.nanmin(near) > half:
                assert np.isnan(picture[row, number])
            elif np.nanmin(near) < half:
                wanted = values[number][np.nanargmin(near)]
                assert np.array_equal(picture[row, number], wanted, equal_nan=True)
    rng = np.random.default_rng(1)
    spectra, channels = rng.random((20, 1000)), np.tile(np.geomspace(1, 1000, 1000), (20, 1))
    picture, axis, changes = resample_spectra(spectra, channels * (1 + 1e-9 * rng.random((20, 1))), 50, use_peaks=True)
    assert axis is not None
    assert (axis[2], changes, picture.shape) == (True, [], (50, 20))
    assert np.allclose(picture.max(axis=0), spectra.max(axis=1))
    for stated, lowest, is_log in (
        ("linear", 1.0, False),
        ("log", 1.0, True),
        ("log", 990.0, True),
        ("log", 0.0, False),
    ):
        centers = np.tile(np.linspace(lowest, 1000, 8), (2, 1))
        _, axis, _ = resample_spectra(np.ones((2, 8)), centers, 50, use_peaks=True, scale_type=stated)
        assert axis is not None
        assert axis[2] == is_log
    picture, axis, _ = resample_spectra(np.ones((3, 4)), np.full((3, 4), np.nan), 50, use_peaks=True)
    assert axis is None
    assert np.isnan(picture).all()


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda kind: hnp.arrays(kind, (3, 8), elements=st.floats(width=32, allow_infinity=True))
    )
)
def test_bytes_are_numbers(picture: Any) -> None:
    codes, headers = encode_values_as_bytes(picture)
    known = np.isfinite(picture)
    assert np.array_equal(codes == 0, ~known)
    assert not (codes == 1).any()
    if not known.any():
        return
    found, values = values_of(codes, headers)[known], picture[known].astype(np.float64)
    order = np.argsort(values, kind="stable")
    assert (np.diff(codes[known][order].astype(int)) >= 0).all()  # what is more is shown as more
    most = np.abs(values - np.median(values)).max()
    assert np.abs(found - values).max() <= max(most * 0.14, 1e-30)
    assert np.isfinite(found).all()


def test_bytes_of_logarithmic_values_resolve_their_logarithms() -> None:
    rng = np.random.default_rng(7)
    picture = 10.0 ** rng.uniform(-3, 5, (40, 50))
    picture[0, :3] = [0, -1, np.nan]
    codes, headers = encode_values_as_bytes(picture, is_logarithmic=True)
    found = values_of(codes, headers)
    assert (found[0, 0], codes[0, 2], found[0, 1] < 0) == (0, 0, True)
    assert np.abs(np.log10(found[1:] / picture[1:])).max() < 0.1


def test_what_has_no_samples_is_empty_and_what_is_wrong_is_told(client: Client) -> None:
    for number in (-(10**12), 0, 10**12, 2**62):
        found, _ = tile(client, parameter="total", width=60 * SECOND, tile=number)
        assert np.isnan(found).all()
    codes, _ = tile(client, parameter="flux", width=60 * SECOND, tile=0)
    assert not codes.any()
    bad = [
        {"TILE": 1}, {"TILE": 1, "PARAMETER": "total"}, {"TILE": 1, "PARAMETER": "picture", "WIDTH": 5}, {"TILE": "x", "PARAMETER": "total", "WIDTH": 5},
        {"TILE": 1, "PARAMETER": "total", "WIDTH": 0}, {"TILE": 1, "PARAMETER": "flux", "WIDTH": 5, "ROWS": MAX_TILE_ROWS + 1}, {"TILE": 1, "PARAMETER": "flux", "WIDTH": 5, "SHOW": "all"},
    ]  # fmt: skip
    for given_ in bad:
        answer = client.get("/series/spectra", **given_)
        assert answer.status == 400, given_
        assert json.loads(answer.body)["message"]
    assert client.get("/series/nothing").status == 404


def test_facts_and_page(client: Client) -> None:
    facts = json.loads(client.get("/series/spectra").body)
    assert (facts["start"], facts["rows"], facts["cadence"], facts["regular"]) == (START, MANY, 10 * SECOND, True)
    assert [(one["name"], one["elements"], one["spectrum"]) for one in facts["parameters"]] == [("flux", 20, True), ("field", 3, False), ("total", 1, False)]  # fmt: skip
    assert facts["parameters"][0]["bins"]["centers"][:2] == [0.5, 1.5]
    assert facts["pictures"] == ["picture"]
    for query, browser in (
        (b"", {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}),
        (b"TILE=0&PARAMETER=total&WIDTH=60000000", {}),
    ):
        page = client.ask("GET", "/series/spectra", query, headers=browser)
        assert page.status == 200
        assert client.ask("GET", "/series/spectra", query, headers={**browser, "if-none-match": page.headers["etag"]}).status == 304  # fmt: skip
        assert (b'data-pane="timeline"' in page.body) == bool(browser)
        assert ("<h1>" in client.ask("GET", "/series/nothing", query, headers=browser).text) == bool(browser)


def test_tiles_are_fetched_ahead_as_the_script_asks_for_them(client: Client) -> None:
    page = client.ask("GET", "/series/spectra", b"", headers=BROWSER).text
    assert re.search(r"""<link rel="modulepreload" href="[^"]*timeline-\w+.js">""", page)
    known = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[0])
    assert known == json.loads(client.get("/series/spectra").body)
    assert known["shown"] == ["flux", "field", "total"]
    links = re.findall(r'<link rel="preload" as="fetch" crossorigin href="([^"]+)" media="([^"]+)">', page)
    for address, media in links:
        least, most = map(float, re.findall(r"([\d.]+)px", media))
        asked_for = {name: one for name, (one,) in parse_qs(html.unescape(address).partition("?")[2]).items()}
        assert client.get("/series/spectra", **asked_for).status == 200
        # as many bins as pixels, and the next narrower ones would be more
        width = int(asked_for["WIDTH"])
        bins = 1.02 * (known["stop"] - known["start"]) / width
        pixels = (1.5 if asked_for["PARAMETER"] == "flux" else 1) * bins
        assert pixels <= least - 151.9
        assert 2.6 * pixels >= most - 152 or width == 1
    windows = [1300] * len(links)
    shown = [address for (address, media), at in zip(links, windows, strict=True) if (e := re.findall(r"([\d.]+)px", media)) and float(e[0]) <= at <= float(e[1])]  # fmt: skip
    assert {re.search(r"PARAMETER=(\w+)", one)[1] for one in shown} == {"flux", "field", "total"}  # type: ignore[index]
    span = b"_from=2003-10-28T01:00&_to=2003-10-28T02:00&_p=total"
    some = client.ask("GET", "/series/spectra", span, headers=BROWSER).text
    assert set(re.findall(r"PARAMETER=(\w+)&amp;", some)) == {"total"}
    for query in (b"_from=x&_to=y", b"_from=2003", b"_at=2003-10-28T01:00"):
        assert 'rel="preload"' not in client.ask("GET", "/series/spectra", query, headers=BROWSER).text


def test_without_scripts_the_page_says_what_it_has(client: Client) -> None:
    page = client.ask("GET", "/series/spectra", b"", headers=BROWSER).text
    for name in ("flux", "field", "total"):
        assert f'<td class="code">{name}</td>' in page
    address = html.unescape(re.findall(r'<a href="[^"]*(/hapi/data[^"]*format=csv)"', page)[0])
    path, _, query = address.partition("?")
    answer = client.ask("GET", path, query.encode())
    assert answer.status == 200
    assert answer.body.count(b"\n") == 1000


def test_pages_lead_to_series(client: Client) -> None:
    """The collection's card, its page, the table's page, and the panel of a row, at the time of this row."""
    for path in ("/", "/collections/sun", "/collections/sun/spectra"):
        assert 'href="http://vo.example/series/spectra"' in client.ask("GET", path, headers=BROWSER).text, path
    tables = json.loads(client.get("/collections/sun.json").body)["tables"]
    assert {one["name"]: [each["id"] for each in one["series"]] for one in tables} == {"sun.spectra": ["spectra"], "sun.bursts": [], "sun.nights": []}  # fmt: skip
    rows = json.loads(client.get("/collections/sun/spectra/rows", _size="1").body)
    row = json.loads(client.get("/collections/sun/spectra/row", _row=rows["keys"][0]).body)
    (link,) = (one for one in row["links"] if "/series/" in one["href"])
    assert re.fullmatch(r"http://[^/]+/series/spectra\?_at=2003-10-28T\d\d:\d\d:\d\d[.\d]*Z", link["href"])
    assert client.ask("GET", "/series/spectra", link["href"].partition("?")[2].encode(), headers=BROWSER).status == 200


def test_remote_services_are_queried_independently(tmp_path: Path) -> None:
    """One that answers is counted and drawn, one that does not is told, and keeps nobody waiting for the others."""
    require_core_fixtures("CONCURRENT_SEARCHES")
    there = tmp_path / "there"
    (there / "collections" / "far").mkdir(parents=True)
    (there / "hven.toml").write_text('name = "there"\n')
    (there / "collections" / "far" / "far.yaml").write_text(FAR)
    days = [f"{2452940.5 + at / 10},{2452940.6 + at / 10},g{at}" for at in range(10)]
    (there / "collections" / "far" / "far.csv").write_text("\n".join(["t0,t1,name", *days, ""]))
    here = tmp_path / "here"
    (here / "collections" / "sun").mkdir(parents=True)
    (here / "collections" / "sun" / "sun.yaml").write_text(NEAR)
    (here / "line.csv").write_text("moment,total\n2003-10-28T00:00:00,1\n2003-10-29T00:00:00,2\n")
    with Site(settings.load_settings(there)) as far, remote_servers.open_hanging_server() as silent:
        ingest_collection(far, "far")
        with remote_servers.serve_site(far) as (address, _):
            remote = f'[[remote]]\nname = "far"\nurl = "{address}"\ntables = ["far.epn_core"]\ntitle = "Far"\n'
            remote += f'[[remote]]\nname = "silent"\nurl = "{silent}/tap"\ntables = ["x.epn_core"]\nseconds = 0.3\n'
            (here / "hven.toml").write_text(f'name = "here"\nallow_private = true\n{remote}')
            with Site(settings.load_settings(here)) as site:
                ingest_collection(site, "sun")
                client = Client(create_and_start_application(site))
                page = client.ask("GET", "/series/sun_line", b"", headers=BROWSER).text
                assert 'data-elsewhere="far/far.epn_core silent/x.epn_core"' in page
                span = {"_from": "2003-10-28T00:00", "_to": "2003-10-28T12:00"}
                (line,) = json.loads(client.get("/meanwhile", **span, _elsewhere="far/far.epn_core").body)["lines"]
                assert (line["status"], line["title"]) == ("ok", "Far")
                assert line["rows"] == line["drawn"] == sum(line["counts"]) == 6
                assert line["low"] == pytest.approx(START / SECOND, abs=1)
                (line,) = json.loads(client.get("/meanwhile", **span, _elsewhere="silent/x.epn_core").body)["lines"]
                assert (line["status"], line["rows"]) == ("late", None)
                assert line["message"]
                assert client.get("/meanwhile", **span, _elsewhere="nobody").status == 404


def test_concurrent_rows_of_other_tables_are_counted(client: Client) -> None:
    require_core_fixtures("CONCURRENT_SEARCHES")
    told = json.loads(
        client.get("/meanwhile", _from="2003-10-28T00:10", _to="2003-10-28T02:05", _but="sun.spectra").body
    )
    (line,) = told["lines"]
    assert (line["key"], line["rows"], sum(line["counts"])) == ("sun.bursts", 2, 2)
    assert (line["low"], line["high"]) == pytest.approx(
        (1067295600, 1067306400), abs=1
    )  # they begin at 23:00 and 02:00
    assert client.ask("GET", line["url"].replace(line["url"].partition("/collections")[0], "")).status == 200
    both = json.loads(client.get("/meanwhile", _from="2003-10-28T00:10", _to="2003-10-28T02:05").body)["lines"]
    assert [(one["key"], one["rows"]) for one in both] == [("sun.spectra", 691), ("sun.bursts", 2)]
    day = json.loads(
        client.get("/meanwhile", _from="2003-10-28T05:00", _to="2003-10-28T13:00", _but="sun.spectra").body
    )
    (line,) = day["lines"]
    assert (line["key"], line["low"], line["high"]) == (
        "sun.nights",
        pytest.approx(1067320800),
        pytest.approx(1067342400),
    )
    assert json.loads(client.get("/meanwhile", _from="1990-01-01", _to="1990-01-02").body)["lines"] == []
    assert client.get("/meanwhile", _from="x", _to="1990").status == 400


def test_a_tile_of_very_many_channels_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels are put together bin by bin: what is held is the tile, and what is read at a time."""
    count, bins = 20_000, 3
    kind = np.dtype([("number", "i8"), ("m flux", "f4", (count,)), ("h flux", "f4", (count,))])
    part = np.zeros(bins, kind)
    part["number"], part["m flux"] = np.arange(bins), np.arange(count)
    parameter = SampleParameter(column=Column(name="flux", type=parse_type(f"float32[{count}]")), value_kind="double", dimensions=(count,))  # fmt: skip
    one = SimpleNamespace(numeric_parameters=(parameter,))
    whole = sample_sets.TimeExtent(start=0, stop=3, row_count=3)
    monkeypatch.setattr(timelines.sample_sets, "find_time_extent", lambda *_: whole)
    monkeypatch.setattr(timelines.pyramids, "read_bins", lambda *_, **__: iter([part]))
    given = {"PARAMETER": ("flux",), "WIDTH": ("1",), "TILE": ("0",), "ROWS": ("200",)}
    tracemalloc.start()
    body, headers = timelines._build_tile(None, one, RequestParams(given))  # type: ignore[arg-type]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.load(io.BytesIO(body)).shape == (200, BINS_PER_TILE)
    assert headers["x-together"] == "100"
    assert most < 20_000_000  # a grid of all channels has 82 MB


DAY = 86_400
STRETCHES = {  # begin and end of stretches of samples, in days; seconds between samples
    "slivers": ([(0, 0.2), (365, 365.1)], 60),
    "narrow": ([(0, 1), (365, 365.01)], 2),
    "single": ([(0, 1), (365, 365)], 60),
    "seasons": ([(at, at + 0.5) for at in range(10)], 600),
    "continuous": ([(0, 10)], 600),
    "sparse": ([(at**2, at**2) for at in range(12)], None),
}


@pytest.fixture(scope="module")
def stretches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root: Path = tmp_path_factory.mktemp("stretches")
    (root / "collections" / "sun").mkdir(parents=True)
    (root / "hven.toml").write_text('name = "sun"\n')
    tables = []
    for name, (spans, step) in STRETCHES.items():
        seconds = [at for low, high in spans for at in np.arange(low * DAY, high * DAY + 1, step or DAY)]
        moments = pa.array(START + (np.array(seconds) * SECOND).astype(int)).cast(pa.timestamp("us"))
        pq.write_table(pa.table({"moment": moments, "total": np.arange(float(len(moments)))}), root / f"{name}.parquet")
        cadence = f"cadence: {step} s" if step else ""
        tables.append(
            f"  {name}:\n    access: public\n    source: {{kind: parquet, files: ../../{name}.parquet}}\n    columns:\n"
            f"      moment: {{ucd: time.epoch}}\n      total: {{}}\n    series: {{id: {name}, {cadence}}}\n"
        )
    text = f"collection: sun\ntitle: Sun\ndescription: Made up\ntables:\n{''.join(tables)}"
    (root / "collections" / "sun" / "sun.yaml").write_text(text)
    with Site(settings.load_settings(root)) as site:
        ingest_collection(site, "sun")
        yield Client(create_and_start_application(site))


@pytest.mark.parametrize(
    ("name", "begin"),
    [("slivers", 365), ("narrow", 365), ("single", 365), ("seasons", 0), ("continuous", 0), ("sparse", 0)],
)
def test_a_series_opens_behind_its_last_large_gap(stretches: Client, name: str, begin: float) -> None:
    answer = stretches.get(f"/series/{name}")
    facts = json.loads(answer.body)
    low, high = facts["latest"]
    assert high == facts["stop"]
    assert low <= START + begin * DAY * SECOND, "no sample of the stretch is left out"
    assert START + begin * DAY * SECOND - low <= 0.3 * (high - low), "little of what is shown is empty"
    assert (low == facts["start"]) == (begin == 0)
    same = {"if-none-match": answer.headers["etag"]}
    assert stretches.ask("GET", f"/series/{name}", b"", headers=same).status == 304
    page = stretches.ask("GET", f"/series/{name}", b"", headers=BROWSER).text
    tiles = [html.unescape(one) for one in re.findall(r'<link rel="preload"[^>]* href="([^"]+)"', page)]
    assert tiles
    for one in tiles:
        width, number = (int(re.search(rf"{word}=(\d+)", one)[1]) for word in ("WIDTH", "TILE"))  # type: ignore[index]
        assert (number + 1) * BINS_PER_TILE * width > low - (high - low) // 50, "what is shown first is fetched ahead"
