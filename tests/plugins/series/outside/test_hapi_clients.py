"""hapiclient reads our HAPI server, untouched, in both its formats, pyvo comes to it from a row of EPN-TAP; hven lint has nothing to say; the kinds hapi and das2 copy what they are given."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pyvo
from hapiclient import hapi as read

from das2_streams import parse_stream
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import lint_service, serve_site

START = np.datetime64("2003-10-28T00:00:00.123", "us").astype(np.int64)
ROWS = 3000
DESCRIPTOR = """\
collection: goes
title: X rays
description: Fluxes
tables:
  xrs:
    source: {kind: parquet, files: goes.parquet}
    follow: true
    columns:
      at: {ucd: time.epoch}
      flux: {type: "float32[4]", unit: W}
    series: {cadence: 4 s, bins: {flux: {name: frequency, unit: MHz, centers: [1, 2, 3, 4]}}}
  epn_core:
    standard: epn-tap-2.0
    frame: none
    source: {kind: query, adql: 'SELECT MIN(JD(t."at")) AS low, MAX(JD(t."at")) + 4 / 86400.0 AS high FROM goes.xrs AS t'}
    set: {granule_uid: all, obs_id: all, target_name: Sun, target_class: star, dataproduct_type: ts, processing_level: 3, instrument_host_name: goes}
    map: {time_min: low, time_max: high}
    links: [{series: goes_xrs}]
"""
COPY = """\
collection: {kind}_copy
title: Copied
description: Fluxes
tables:
  xrs:
    source: {{kind: {kind}, url: "{url}", dataset: {dataset}}}
    follow: true
"""


@pytest.fixture(scope="module")
def source() -> pa.Table:
    rng = np.random.default_rng(1)
    short = rng.normal(size=ROWS)
    short[5] = np.nan
    return pa.table(
        {
            "at": pa.array(START + np.arange(ROWS) * 4_000_000).cast(pa.timestamp("us")),
            "short": short,
            "number": np.arange(ROWS, dtype="i4"),
            "flag": np.array(["ok", "b,ad", 'q"é'])[np.arange(ROWS) % 3],
            "flux": pa.array(list(rng.normal(size=(ROWS, 4)).astype("f4")), pa.list_(pa.float32())),
        }
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, source: pa.Table) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("hapi")
    folder = directory / "collections/goes"
    folder.mkdir(parents=True)
    (directory / "hven.toml").touch()
    pq.write_table(source, folder / "goes.parquet")
    (folder / "goes.yaml").write_text(DESCRIPTOR)
    with Site(settings.load_settings(directory), watch_for_changes=False) as site:
        ingest_collection(site, "goes")
    with serve_site(directory) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("format_", ["csv", "binary"])
def test_hapiclient(url: str, source: pa.Table, tmp_path: Path, format_: str) -> None:
    start, stop = "2003-10-28T00:00:00.123Z", "2003-10-28T00:10:00.123Z"
    options = {"usecache": False, "cache": False, "cachedir": str(tmp_path), "format": format_}
    data, meta = read(f"{url}/hapi", "goes_xrs", "", start, stop, **options)
    wanted = source.slice(0, 150)
    assert meta["HAPI"] == "3.3"
    assert data["at"].tolist() == [f"{np.datetime64(one.as_py(), 'us')}Z".encode() for one in wanted["at"]]
    np.testing.assert_allclose(data["short"], wanted["short"].to_numpy(), rtol=1e-15)
    np.testing.assert_array_equal(data["number"], wanted["number"].to_numpy())
    np.testing.assert_allclose(data["flux"], np.array(wanted["flux"].to_pylist()), rtol=1e-6)
    assert [one if isinstance(one, str) else one.decode() for one in data["flag"].tolist()] == wanted[
        "flag"
    ].to_pylist()


def test_pyvo_follows_a_row_to_its_samples(url: str, source: pa.Table) -> None:
    """Its `process` writes names of parameters in capitals, which HAPI does not know: what pyvo says of the services is asked by another client."""

    def fetch_samples(one: Any) -> bytes:
        (at,) = (str(each.value) for each in one.params if each.name == "accessURL")
        given = {each.name: each.value for each in one.input_params if isinstance(each.value, str) and each.value}
        return httpx.get(at, params=given).content

    (row,) = pyvo.dal.TAPService(f"{url}/tap").search("SELECT * FROM goes.epn_core")
    every = {one["local_semantics"]: one for one in row.getdatalink() if one.semantics == "#proc"}
    assert set(every) == {"hapi", "das2"}
    found = [line.split(",") for line in fetch_samples(every["hapi"]).decode().splitlines()]
    assert [int(one[2]) for one in found] == source["number"].to_pylist()
    packet = next(one for one in parse_stream(fetch_samples(every["das2"])).packets if "number" in one.values())
    np.testing.assert_array_equal(packet.values()["number"][:, 0], source["number"].to_numpy())


def test_lint_has_nothing_to_say(url: str) -> None:
    report = lint_service(f"{url}/hapi")
    assert report["judged"]
    assert report["findings"] == []
    assert {one["table"] for one in report["looked"]} == {"goes_xrs", "goes_xrs_availability"}


@pytest.mark.parametrize(
    ("kind", "at", "dataset"), [("hapi", "/hapi", "goes_xrs"), ("das2", "/das2/server", "goes/xrs")]
)
def test_a_referenced_dataset_has_the_same_samples(url: str, source: pa.Table, tmp_path: Path, kind: str, at: str, dataset: str) -> None:  # fmt: skip
    """Nothing is copied; of what is drawn, a das2 server sends bins alone."""
    folder = tmp_path / f"collections/{kind}_copy"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text("allow_private = true\n")
    text = COPY.format(kind=kind, url=f"{url}{at}", dataset=f"{dataset}, reference: true") + "    series: {id: far}\n"
    (folder / f"{kind}_copy.yaml").write_text(text)
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        assert ingest_collection(site, f"{kind}_copy").row_count == 1
    given = {"start": "2003-10-28T00:10Z", "stop": "2003-10-28T00:20Z", "parameters": "short"}
    width = 120_000_000
    tile = f"?PARAMETER=short&WIDTH={width}&TILE={START // (512 * width)}"
    with serve_site(tmp_path) as server:
        mine, there = (httpx.get(f"{base}/hapi/data", params={"dataset": name, **given}).text for base, name in ((server.url, "far"), (url, "goes_xrs")))  # fmt: skip
        assert len(mine.splitlines()) == 150
        assert mine == there
        infos = (httpx.get(f"{base}/hapi/info?dataset={name}").json()["parameters"] for base, name in ((server.url, "far"), (url, "goes_xrs")))  # fmt: skip
        ours, theirs = (next(one for one in each if one["name"] == "flux")["bins"][0]["centers"] for each in infos)
        assert ours == theirs
        drawn, all_of_it = (np.load(io.BytesIO(httpx.get(f"{base}/series/{name}{tile}").content)) for base, name in ((server.url, "far"), (url, "goes_xrs")))  # fmt: skip
    # a das2 server sends two bins for each of ours
    np.testing.assert_allclose(drawn[1], all_of_it[1], rtol=1e-5, atol=0 if kind == "hapi" else 0.2)


@pytest.mark.parametrize(
    ("kind", "at", "dataset"), [("hapi", "/hapi", "goes_xrs"), ("das2", "/das2/server", "goes/xrs")]
)
def test_a_copy_has_the_same_samples(
    url: str, source: pa.Table, tmp_path: Path, kind: str, at: str, dataset: str
) -> None:
    folder = tmp_path / f"collections/{kind}_copy"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text("allow_private = true\n")
    (folder / f"{kind}_copy.yaml").write_text(COPY.format(kind=kind, url=f"{url}{at}", dataset=dataset))
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        assert ingest_collection(site, f"{kind}_copy").row_count == ROWS
        found: dict[str, Any] = site.get_published_state().tables_by_name[f"{kind}_copy.xrs"].statistics  # type: ignore[assignment]
    name = "at" if kind == "hapi" else "time"
    assert found[name]["minimum"].startswith("2003-10-28T00:00:00.123")
    assert found["number"]["maximum"] == ROWS - 1
    short = source["short"].to_numpy()
    assert found["short"]["maximum"] == pytest.approx(np.nanmax(short))
