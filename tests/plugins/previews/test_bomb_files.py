"""Small files that say they are huge: whoever asks for a picture or the heads of one gets an answer that names the file, and the worker's memory stays bounded."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from plugin_needs import require_plugins

MEBIBYTE = 1024**2
MAX_GROWTH = 512 * MEBIBYTE  # of a process that reads all bombs one after the other
HUGE = 200_000  # on a side
DESCRIPTOR = """\
collection: bombs
title: Bombs
files: [data/*]
"""
# runs in a process of its own, whose largest memory is known
ASK = """
import json, resource, sys
from pathlib import Path
from asgi_client import Client
from hven.app._server import create_and_start_application
from hven.plugins.previews.pictures import downsampling
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

downsampling.READ_TIMEOUT_SECONDS = 2.0
with Site(load_settings(Path(sys.argv[1]), {})) as site:
    ingest_collection(site, "bombs")
    site.refresh_published_state()
    client = Client(create_and_start_application(site))
    client.get("/collections/bombs/preview/data/plain.png")
    found = {}
    for name in sys.argv[2:]:
        for place in ("preview", "headers"):
            before = peak()
            answer = client.get(f"/collections/bombs/{place}/data/{name}")
            found[f"{place} {name}"] = [answer.status, answer.body[:2000].decode("utf-8", "replace"), peak() - before]
print(json.dumps(found))
"""


def png(width: int, height: int) -> bytes:
    """Write a picture of zeros whose rows are one bit a pixel: as small as it can be."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(9), bytes(1 + width // 8)
    packed = [packer.compress(row) for _ in range(min(height, 2000))]  # then it breaks off: nobody should come so far
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", b"".join(packed) + packer.flush())
        + chunk(b"IEND", b"")
    )


def tiff(width: int, height: int) -> bytes:
    """Write a GeoTIFF of one strip, with a scale and a tie point."""
    strip, scale = zlib.compress(bytes(100_000)), struct.pack("<3d", 0.01, 0.01, 0.0)
    tie = struct.pack("<6d", 0, 0, 0, 10, 50, 0)
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 1000),
        (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(strip)), (33550, 12, 3, 600), (33922, 12, 6, 700),
    ]  # fmt: skip
    body = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    body += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    body = body.ljust(600, b"\0") + scale
    return (body.ljust(700, b"\0") + tie).ljust(1000, b"\0") + strip


def netcdf3(rows: int, columns: int) -> bytes:
    """Write a classic netCDF file whose variable has far more values than the file has bytes."""

    def name(text: str) -> bytes:
        return struct.pack(">I", len(text)) + text.encode().ljust(-(-len(text) // 4) * 4, b"\0")

    dims = struct.pack(">II", 10, 2) + name("y") + struct.pack(">I", rows) + name("x") + struct.pack(">I", columns)
    variable = name("image") + struct.pack(">III", 2, 0, 1) + bytes(8) + struct.pack(">IIQ", 6, 2**32 - 1, 400)
    return (b"CDF\x02" + bytes(4) + dims + bytes(8) + struct.pack(">II", 11, 1) + variable).ljust(500, b"\0")


def oifits(rows: int) -> bytes:
    """Write an OIFITS file whose table of visibilities says that it has more rows than any disk."""

    def header(*cards: tuple[str, object]) -> bytes:
        lines = []
        for key, value in cards:
            shown = f"'{value}'" if isinstance(value, str) else "T" if value is True else str(value)
            lines.append(f"{key:8s}= {shown:>20s}".ljust(80))
        return "".join([*lines, "END".ljust(80)]).ljust(2880).encode()

    primary = header(("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True), ("CONTENT", "OIFITS2"))
    table = header(
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 8), ("NAXIS2", rows), ("PCOUNT", 0),
        ("GCOUNT", 1), ("TFIELDS", 1), ("TTYPE1", "VIS2DATA"), ("TFORM1", "1D"), ("EXTNAME", "OI_VIS2"), ("OI_REVN", 2),
    )  # fmt: skip
    return primary + table + bytes(2880)


def cdf(path: Path) -> None:
    """Write a CDF of zeros, packed a thousandfold."""
    from cdflib import cdfwrite

    with cdfwrite.CDF(path) as file:
        said = {
            "Variable": "image", "Data_Type": 45, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [1000, 1000], "Compress": 9,
        }  # fmt: skip
        file.write_var(said, var_data=np.zeros((8, 1000, 1000)))


def write_nested_hdf5(path: Path, name: str) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset(name, (HUGE, HUGE), "f8", chunks=(1000, 1000), compression="gzip", fillvalue=1.0)
        made[:1000, :1000] = np.arange(1000.0)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, int]]:
    require_plugins("media", "cdf", "netcdf")
    site = tmp_path_factory.mktemp("bombs") / "site"
    folder = site / "collections" / "bombs" / "data"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text('name = "bombs"\n')
    (site / "collections" / "bombs" / "bombs.yaml").write_text(DESCRIPTOR)
    (folder / "plain.png").write_bytes(png(64, 64))
    (folder / "wide.png").write_bytes(png(HUGE, HUGE))
    (folder / "map.tif").write_bytes(tiff(HUGE, HUGE))
    (folder / "classic.nc").write_bytes(netcdf3(2**31 - 5, 2**31 - 5))
    (folder / "vis.oifits").write_bytes(oifits(10**15))
    write_nested_hdf5(folder / "grid.nc", "image")
    write_nested_hdf5(folder / "grid.h5", "image")
    cdf(folder / "zeros.cdf")
    names = sorted(path.name for path in folder.iterdir() if path.name != "plain.png")
    assert len(names) == 7
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20 * MEBIBYTE
    here = str(Path(__file__).parents[2] / "protocols")
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(site), *names],
        capture_output=True, text=True, timeout=500, check=False, env={"PYTHONPATH": here, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (status, text, growth) for name, (status, text, growth) in json.loads(done.stdout).items()}


def test_the_answer_names_the_file(answers: dict[str, tuple[int, str, int]]) -> None:
    assert len(answers) == 14
    for asked, (status, text, _) in answers.items():
        name = asked.partition(" ")[2]
        assert status in {200, 400, 404, 413, 503}, (asked, status, text)
        if status != 200:
            assert name in text, (asked, text)
            assert "unexpected error" not in text


def test_memory_stays_bounded(answers: dict[str, tuple[int, str, int]]) -> None:
    growth = {asked: grown // MEBIBYTE for asked, (_, _, grown) in answers.items()}
    assert sum(growth.values()) < MAX_GROWTH // MEBIBYTE, growth
