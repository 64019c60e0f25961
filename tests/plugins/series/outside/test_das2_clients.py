"""Streams of das2 and das 3.0, in every form: das2C and das2py, the reference readers, find each sample that an independent reader finds in them.

The streams are those of the example of time series, and of a table of arrays, polarisations and channels that change. das2C ignores the port
of an address: das2py gets streams of das 3.0, which it reads over HTTP alone, from port 80 of a loopback address.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
from das2_site import make_samples, write_site

from das2_streams import Packet, find_das2c_faults, parse_stream
from example_sites import ingest_all, open_example
from process_runner import serve_site
from requirements import require

pytestmark = pytest.mark.slow
FORMS = [
    {**form, **resolution}
    for form in (
        {},
        {"format.serial": "text"},
        {"format.serial": "text", "compress": "true"},
        {"format.version": "3"},
        {"format.version": "3", "format.serial": "text"},
    )
    for resolution in ({}, {"resolution": "60"}, {"resolution": "864000"})
]
ROLES = {"": "", "mean": "", "center": "", "min": ".min", "max": ".max"}
# das2py writes the values of each dataset to a file, by dimension and role; what is asked for as the center of a dimension must be there
READ = """
import json, sys
import das2
import numpy as np

for address, goal in json.loads(sys.stdin.read()):
    read = das2.read_http if address.startswith("http:") else das2.read_file
    header, sets = read(address)
    found = {}
    for at, dataset in enumerate(sets):
        for key in dataset.keys():
            kind, _, name = key.partition(":")
            dimension = dataset.dCoord[name] if kind == "coord" else dataset.dData[name]
            assert dimension.primary() is dimension["center"] is not None, (address, name)
            for role in dimension.keys():
                found[f"{at} {kind} {name} {role}"] = dimension[role].array
    np.savez(goal, **found)
"""


def ask_every_form(directory: Path) -> dict[str, bytes]:
    """Ask a site for each of its data sources, whole, in each form."""
    found: dict[str, bytes] = {}
    with serve_site(directory) as server:

        def ask(**given: str) -> bytes:
            with urlopen(f"{server.url}/das2/server?{urlencode(given)}") as answer:
                return bytes(answer.read())

        lines = ask(server="discovery").decode().splitlines()
        for path in (line.partition("|")[0] for line in lines if "|" in line):
            description = ask(server="dsdf", dataset=path)
            found[f"{path.replace('/', '_')}.dsdf"] = description
            start, _, end = (
                parse_stream(description).properties["validRange"].removesuffix("UTC").strip().partition(" to ")
            )
            for form in FORMS:
                name = ".".join((path.replace("/", "_"), *form.values()))
                found[name] = ask(server="dataset", dataset=path, start_time=start, end_time=end, **form)
    return found


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    with open_example("19-time-series", tmp_path_factory.mktemp("das2")) as site:
        ingest_all(site)
        found = ask_every_form(site)
    site = tmp_path_factory.mktemp("arrays")
    write_site(site, make_samples())
    ingest_all(site)
    return found | ask_every_form(site)


@pytest.fixture(scope="module")
def readable_streams(streams: dict[str, bytes]) -> list[str]:
    """Name the streams that das2C can hold in memory: that of July 2026 ends its process when it frees a dataset of exactly five variables, whoever wrote it."""
    five = {
        name for name, raw in streams.items() if any(len(packet.planes) == 6 for packet in parse_stream(raw).packets)
    }
    assert all(name.startswith("Nancay_NDA_Routine_lines") for name in five)
    return [name for name in streams if name not in five and not name.endswith(".dsdf")]


@pytest.fixture(scope="module")
def folder(streams: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("streams")
    for name, raw in streams.items():
        (place / name).write_bytes(raw)
    return place


def list_packets(raw: bytes) -> list[Packet]:
    return [packet for packet in parse_stream(raw).packets if len(packet)]


def test_streams_keep_the_rules_of_das2c(streams: dict[str, bytes]) -> None:
    plain = {name: raw for name, raw in streams.items() if not name.endswith((".true", ".dsdf")) and ".true." not in name}  # fmt: skip
    assert len(streams) == (4 + 5) * (len(FORMS) + 1)
    assert {name: faults for name, raw in plain.items() if (faults := find_das2c_faults(raw))} == {}
    assert all(list_packets(raw) for name, raw in streams.items() if not name.endswith(".dsdf"))
    spectra = parse_stream(streams["Nancay_NDA_NewRoutine_sun"])
    assert len({plane.tags for packet in spectra.packets for plane in packet.planes if plane.name == "ll"}) == 2


def read_by_das2c(raw: bytes) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Read a stream by das2C's das3_csv: for each dataset the times, and values by name."""
    program = [f"{os.environ['HVEN_DAS2C']}/das3_csv", "-r", "17", "-s", "9"]
    done = subprocess.run(program, input=raw, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert b"ERROR" not in done.stderr, done.stderr
    heads: dict[int, list[str]] = {}
    rows: dict[int, list[list[str]]] = {}
    numbers: dict[str, int] = {}  # an identifier may be described anew
    for line in done.stdout.decode().splitlines():
        dataset, kind, *cells = line.split(";")
        if kind == '"header"' and cells[0] == '"coord:time"':
            numbers[dataset] = len(heads)
            heads[numbers[dataset]] = [cell.strip('"') for cell in cells]
        elif kind == '"values"':
            rows.setdefault(numbers[dataset], []).append(cells)
    found = []
    for number, cells in rows.items():
        head = heads[number]
        starts = [at for at, name in enumerate(head) if name.startswith("data:")]
        table = np.array([row[1:] for row in cells], float)
        table[np.isclose(table, -1e31)] = np.nan
        assert table.shape[1] == len(head) - starts[0]
        values = {}
        for first, last in zip(starts, [*starts[1:], len(head)], strict=True):
            _, name, role, *_ = [*head[first].split(":"), ""]
            values[name + ROLES[role]] = table[:, first - starts[0] : last - starts[0]]
        found.append((np.array([row[0] for row in cells], "datetime64[us]").astype(np.int64), values))
    return found


@pytest.mark.needs("HVEN_DAS2C")
def test_das2c_finds_every_sample(streams: dict[str, bytes], readable_streams: list[str], folder: Path) -> None:
    for name in [*readable_streams, *(name for name in streams if name.endswith(".dsdf"))]:
        raw = streams[name]
        judge = [f"{os.environ['HVEN_DAS2C']}/das3_test", folder / name]
        done = subprocess.run(judge, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        if name.endswith(".dsdf"):
            continue
        found, wanted = read_by_das2c(raw), list_packets(raw)
        assert len(found) == len(wanted), name
        for (times, values), packet in zip(found, wanted, strict=True):
            real = packet.values()
            np.testing.assert_allclose(times, real.pop("")[:, 0], atol=1, rtol=0, err_msg=name)
            assert values.keys() == real.keys(), name
            for each, matrix in real.items():
                np.testing.assert_allclose(values[each], matrix, rtol=1e-15, atol=0, err_msg=f"{name}: {each}")


@contextmanager
def serve_at_port_80(folder: Path) -> Iterator[str]:
    """Serve a folder where das2C can ask for it."""
    require("root")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.77.0.1", 80), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield "http://127.77.0.1"
        finally:
            server.shutdown()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.needs("HVEN_DAS2PY")
def test_das2py_finds_every_sample(
    streams: dict[str, bytes], readable_streams: list[str], folder: Path, tmp_path: Path, version: int
) -> None:
    names = [name for name in readable_streams if streams[name].startswith(b"|" if version == 3 else b"[")]
    with serve_at_port_80(folder) as server:
        lines = [(f"{server if version == 3 else folder}/{name}", str(tmp_path / f"{name}.npz")) for name in names]
        program = [os.environ["HVEN_DAS2PY"], "-c", READ]
        done = subprocess.run(
            program, input=json.dumps(lines), capture_output=True, text=True, timeout=500, check=False
        )
    assert done.returncode == 0, done.stderr
    for name in names:
        found = np.load(tmp_path / f"{name}.npz")
        wanted = list_packets(streams[name])
        assert {int(key.split()[0]) for key in found} == set(range(len(wanted))), name
        for at, packet in enumerate(wanted):
            values = packet.values()
            times = found[f"{at} coord time center"]
            times = times.reshape(len(times), -1)[:, 0].astype("datetime64[us]").astype(np.int64)
            np.testing.assert_allclose(times, values.pop("")[:, 0], atol=1, rtol=0, err_msg=name)
            tags = packet.planes[1].tags
            for key in (key for key in found if key.startswith(f"{at} coord ") and tags and " time " not in key):
                np.testing.assert_allclose(found[key][0], tags, err_msg=f"{name}: {key}")
            keys = {key: key.split()[2:] for key in found if key.startswith(f"{at} data ")}
            assert {variable + ROLES[role] for variable, role in keys.values()} == values.keys(), name
            for key, (variable, role) in keys.items():
                matrix = np.where(np.isclose(found[key], -1e31), np.nan, found[key]).reshape(len(times), -1)
                wide = values[variable + ROLES[role]]
                np.testing.assert_allclose(matrix, wide, rtol=1e-6 if matrix.dtype == "f4" else 1e-15, err_msg=f"{name}: {key}")  # fmt: skip


@pytest.mark.needs("HVEN_DAS2PY")
def test_das_verify_takes_every_stream_of_das_3(streams: dict[str, bytes], folder: Path) -> None:
    """It judges by das2's schemas."""
    for name, raw in streams.items():
        if raw.startswith(b"|"):
            words = [os.environ["HVEN_DAS2PY"], "-m", "das2.verify", folder / name]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr}"
            assert "Stream validates as a das-basic-stream version 3.0" in done.stdout + done.stderr, name
