"""Data sets of servers elsewhere that are referenced: asked for when somebody asks, never copied; what they do wrong is told and no sample is sent."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from asgi_client import Client
from hapi_server import HapiAnswer, HapiServer, serve

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.sources import _rate_limiting

DESCRIPTOR = """\
collection: far
title: Far
description: Rays of another server
tables:
  rays:
    source: {{kind: hapi, url: "{url}", dataset: rays, reference: true}}
    follow: true
    series: {{id: rays}}
"""
DATA = {"dataset": "rays", "start": "2003-10-28T00:00:00Z", "stop": "2003-10-28T00:06:40Z"}
BEGIN = int(np.datetime64("2003-10-28", "us").astype(np.int64))


@pytest.fixture
def world() -> HapiServer:
    return HapiServer()


@pytest.fixture
def client(world: HapiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.0)
    with serve(world) as url:
        folder = tmp_path / "collections/far"
        folder.mkdir(parents=True)
        (tmp_path / "hven.toml").write_text("allow_private = true\n")
        (folder / "far.yaml").write_text(DESCRIPTOR.format(url=url))
        with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
            assert ingest_collection(site, "far").row_count == 1
            assert not [endpoint for endpoint, _ in world.requests if endpoint == "data"]
            yield Client(create_and_start_application(site))


def test_referenced_samples_are_the_current_ones_of_the_server(client: Client, world: HapiServer) -> None:
    said = json.loads(client.get("/hapi/info", dataset="rays").body)
    theirs = world.info
    assert (said["startDate"][:23], said["stopDate"][:23]) == (theirs["startDate"][:23], theirs["stopDate"][:23])
    assert said["cadence"] == "PT4S"
    for mine, their in zip(said["parameters"][1:], theirs["parameters"][1:], strict=True):
        assert {key: mine.get(key) for key in ("name", "type", "length", "size", "units")} == {key: their.get(key) for key in ("name", "type", "length", "size", "units")}  # fmt: skip
    assert said["parameters"][2]["bins"][0]["centers"] == [1, 2, 3]
    for _ in range(2):
        answer = client.get("/hapi/data", **DATA, format="json")
        rows = json.loads(answer.body)["data"]
        assert [[row[0][:23], *row[1:]] for row in rows] == [[row[0][:23], *row[1:]] for row in world.samples]
        # nobody here knows whether it is the same the next time
        given = urlencode(DATA | {"format": "json"}).encode()
        again = client.ask("GET", "/hapi/data", given, headers={"if-none-match": answer.headers["etag"]})
        assert again.status == 200
        world.samples[3][1] = 77.0
    part = client.get("/hapi/data", dataset="rays", start="2003-10-28T00:00:08Z", stop="2003-10-28T00:00:16Z", parameters="count")  # fmt: skip
    assert [line.split(",")[1] for line in part.text.splitlines()] == ["2", "3"]
    _, asked = world.requests[-1]
    assert (asked["parameters"], asked["start"][:19], asked["stop"][:19]) == ("count", "2003-10-28T00:00:08", "2003-10-28T00:00:16")  # fmt: skip


def test_other_faces_have_them_too(client: Client, world: HapiServer) -> None:
    number = BEGIN // (512 * 4_000_000)
    tiles = [np.load(io.BytesIO(client.get("/series/rays", PARAMETER="count", WIDTH="4000000", TILE=str(number + at)).body)) for at in (0, 1)]  # fmt: skip
    mean = np.concatenate([tile[1] for tile in tiles])
    assert mean[np.isfinite(mean)].tolist() == [row[4] for row in world.samples]
    stream = client.get("/das2/server", server="dataset", dataset="rays", start_time="2003-10-28", end_time="2003-10-28T00:01", ascii="1")  # fmt: skip
    assert stream.body.count(b":01:2003-10-28T00:00") == 15
    found = client.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY="SELECT * FROM far.rays").text
    assert len(found.splitlines()) == 2


def swap_halves(answer: HapiAnswer) -> None:
    answer.body = b"".join(reversed([answer.body[at : at + len(answer.body) // 2] for at in (0, len(answer.body) // 2)]))  # fmt: skip


def broken(answer: HapiAnswer) -> None:
    answer.body = answer.body[:-3]


def answer_unavailable(answer: HapiAnswer) -> None:
    answer.status, answer.body = 503, b"{}"


@pytest.mark.parametrize(("spoil", "words"), [(swap_halves, "not in time order"), (broken, "not a multiple of the record length"), (answer_unavailable, "returned status 503")])  # fmt: skip
def test_invalid_remote_samples_are_reported_and_not_sent(
    client: Client, world: HapiServer, spoil: Any, words: str
) -> None:
    world.alter_answer = lambda endpoint, _given, answer: spoil(answer) if endpoint == "data" else None
    answer = client.get("/hapi/data", **DATA)
    said = json.loads(answer.body)["status"]
    assert (answer.status, said["code"]) == (500, 1501)
    assert words in said["message"]
    assert client.get("/series/rays", PARAMETER="count", WIDTH="4000000", TILE=str(BEGIN // 2_048_000_000)).status == 502  # fmt: skip


def test_a_server_that_is_away_has_no_data_set_until_it_is_back(client: Client, world: HapiServer, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    world.alter_answer = lambda _endpoint, _given, answer: answer_unavailable(answer)
    answer = client.get("/hapi/info", dataset="rays")
    assert (answer.status, json.loads(answer.body)["status"]["code"]) == (500, 1501)
    assert json.loads(client.get("/hapi/catalog").body)["catalog"] == []
    many = len(world.requests)
    client.get("/hapi/info", dataset="rays")
    assert len(world.requests) == many  # it is left alone for a minute
    world.alter_answer = lambda *_: None
    monkeypatch.setattr("hven.plugins.series.sample_sets.monotonic", lambda: 1e12)
    assert client.get("/hapi/info", dataset="rays").status == 200
