"""The test data of HAPI's reference server, 2.0 to 3.3, copied by the kind hapi and served here: hapiclient finds the same values there and here, and HAPI's verifier no fault."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pytest
from hapiclient import hapi as read

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import serve_site
from requirements import find_node

pytestmark = [pytest.mark.slow, pytest.mark.needs("HVEN_HAPI_SERVER", "node")]
DATA_SETS = [
    ("2.0", "dataset1"), ("2.1", "dataset1"), ("3.0", "dataset1"), ("3.1", "dataset1"), ("3.1", "dataset1-A\u03b1\u2603"),
    ("3.1", "dataset2"), ("3.2", "DE1/PWI/B_H"), ("3.3", "dataset1"), ("3.3", "dataset2"), ("3.3", "dataset3"),
]  # fmt: skip
NAMES = [f"set_{at}" for at in range(len(DATA_SETS))]
DESCRIPTOR = """\
collection: {name}
title: Test data
description: Test data of HAPI's reference server
tables:
  main:
    source: {{kind: hapi, url: "{url}", dataset: "{dataset}", start: "{start}", stop: "{stop}"}}
    follow: true
    series: {{id: {name}}}
"""


@cache
def describe_version(version: str) -> dict[str, Any]:
    """Read what the reference server has of a version: its program or file, and its data sets."""
    return dict(json.loads((Path(os.environ["HVEN_HAPI_SERVER"]) / f"metadata/TestData{version}.json").read_text()))


def describe(version: str, dataset: str) -> dict[str, Any]:
    said = describe_version(version)
    sets = said.get("catalog_inline") or said["catalog"]
    return next(dict(one["info"]) for one in sets if one["id"] == dataset)


def list_records(version: str, dataset: str, names: str, start: str, stop: str) -> bytes:
    """Have the reference server's own program or file say the records."""
    home = Path(os.environ["HVEN_HAPI_SERVER"])
    info, held = describe(version, dataset), describe_version(version)["data"]
    every = [one["name"] for one in info["parameters"]]
    chosen = ",".join(name for name in every if name in names.split(",")) if names else ""
    if "command" in held:
        words = [find_node() or "node", home / f"bin/TestData{version}.js", "--id", dataset, "--parameters", chosen, "--start", start, "--stop", stop, "--end"]  # fmt: skip
        return subprocess.run(words, capture_output=True, check=True, timeout=60).stdout
    text = (home / Path(held["file"].split("/", 1)[1])).read_text()
    low, high = (np.datetime64(one.rstrip("Z"), "ms") for one in (start, stop))
    lines = [line for line in text.splitlines() if line[:1].isdigit()]
    return "".join(f"{line}\n" for line in lines if low <= np.datetime64(line.partition(",")[0].rstrip("Z"), "ms") < high).encode()  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """What HAPI asks of a server, over the test data of the versions: /VERSION/hapi."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        _, version, _, endpoint = parts.path.split("/")
        head: dict[str, Any] = {"HAPI": version, "status": {"code": 1200, "message": "OK"}}
        dataset = asked.get("dataset", asked.get("id", ""))
        names = asked.get("parameters", "")
        if endpoint == "capabilities":
            body = json.dumps(head | {"outputFormats": ["csv"]}).encode()
        elif endpoint == "catalog":
            body = json.dumps(
                head | {"catalog": [{"id": one} for there, one in DATA_SETS if there == version]}
            ).encode()
        elif endpoint == "info":
            said = describe(version, dataset)
            if names:
                chosen = names.split(",")
                said["parameters"] = [one for at, one in enumerate(said["parameters"]) if not at or one["name"] in chosen]  # fmt: skip
            body = json.dumps(head | said).encode()
        else:
            start, stop = asked.get("time.min", asked.get("start", "")), asked.get("time.max", asked.get("stop", ""))
            body = list_records(version, dataset, names, start, stop)
        self.send_response(200)
        self.send_header("Content-Type", "text/csv" if endpoint == "data" else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def reference_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def limits(version: str, dataset: str) -> tuple[str, str]:
    """Give when the samples begin, and when enough of them have come."""
    said = describe(version, dataset)
    return tuple(said[name] for name in ("sampleStartDate", "sampleStopDate"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Run the reference server, and ours, which copied its data sets."""
    directory = tmp_path_factory.mktemp("reference")
    (directory / "hven.toml").write_text("allow_private = true\n")
    with reference_server() as there:
        for name, (version, dataset) in zip(NAMES, DATA_SETS, strict=True):
            folder = directory / "collections" / name
            folder.mkdir(parents=True)
            start, stop = limits(version, dataset)
            given = {"url": f"{there}/{version}/hapi", "dataset": dataset, "start": start, "stop": stop}
            (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, **given))
        with Site(settings.load_settings(directory), watch_for_changes=False) as site:
            for name in NAMES:
                report = ingest_collection(site, name)
                assert report.published, report.error
        with serve_site(directory) as server:
            yield there, f"{server.url}/hapi"


@pytest.mark.parametrize("format_", ["csv", "binary"])
@pytest.mark.parametrize(("name", "chosen"), list(zip(NAMES, DATA_SETS, strict=True)), ids=NAMES)
def test_hapiclient_finds_the_same_values(
    servers: tuple[str, str], tmp_path: Path, name: str, chosen: tuple[str, str], format_: str
) -> None:
    there, here = servers
    version, dataset = chosen
    start, stop = limits(version, dataset)
    options = {"usecache": False, "cache": False, "cachedir": str(tmp_path)}
    wanted, _ = read(f"{there}/{version}/hapi", quote(dataset), "", start, stop, format="csv", **options)
    said = read(here, name, **options)
    found, meta = read(here, name, "", said["startDate"], said["stopDate"], format=format_, **options)
    assert len(found) == len(wanted) > 0
    original = describe(version, dataset)["parameters"]
    # there is no array of times here: its elements are texts; an array of integers, which may have any value, goes as doubles
    arrays = {"isotime": "string", "integer": "double"}
    kinds = [arrays.get(one["type"], one["type"]) if "size" in one else one["type"] for one in original]
    assert [one["type"] for one in meta["parameters"]] == kinds
    assert [one.get("size") for one in meta["parameters"]] == [one.get("size") for one in original]
    for ours, theirs, said in zip(found.dtype.names, wanted.dtype.names, original, strict=True):
        left, right = found[ours], wanted[theirs]
        assert left.shape == right.shape, (ours, theirs)
        if said["type"] == "double" and said.get("fill"):
            right = np.where(right == float(said["fill"]), np.nan, right)
        if left.dtype.kind in "SUO":
            assert _texts(left, "") == _texts(right, said.get("fill", "")), (ours, theirs)
        else:
            np.testing.assert_array_equal(left, right, err_msg=f"{ours}, {theirs}")


def _texts(values: np.ndarray, fill: str) -> list[str]:
    """Give texts without padding, times without the form that they have, and none for what is missing."""
    found = [(one if isinstance(one, str) else one.decode()).strip("\0 ") for one in values.ravel().tolist()]
    found = ["" if one == fill else one for one in found]
    return [str(np.datetime64(one.rstrip("Z"), "us")) if one[:4].isdigit() else one for one in found]


@pytest.mark.needs("HVEN_VERIFIER")
def test_the_verifier_finds_no_fault(servers: tuple[str, str], tmp_path: Path) -> None:
    told = tmp_path / "told"
    given = ["--url", servers[1], "--output", "json", "--datatimeout", "60000", "--metatimeout", "30000"]
    with told.open("wb") as out:
        subprocess.run([find_node() or "node", "verify.js", *given], cwd=os.environ["HVEN_VERIFIER"], stdout=out, check=False, timeout=600)  # fmt: skip
    text = told.read_text()
    found = json.loads(text[text.index("{") :])
    assert len(found["passes"]) > 1000
    assert [(one["url"], one["description"], one.get("got")) for one in found["fails"]] == []
