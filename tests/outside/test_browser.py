"""Chromium: the pages load without a complaint on its console, and show something."""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from running import Server, chromium_program

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--window-size=1200,900",
]


def chromium(profile: Path, *words: str) -> tuple[str, list[str]]:
    """Run it; give what it prints, and what pages wrote on the console."""
    done = subprocess.run(
        [chromium_program(), *FLAGS, f"--user-data-dir={profile}", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.parametrize("path", ["/", "/collections/hipparcos", "/collections/jmdc", "/collections/nonsense"])
def test_pages_load_without_a_complaint(server: Server, tmp_path: Path, path: str) -> None:
    text, console = chromium(tmp_path / "profile", "--dump-dom", server.url + path)
    # a page that is not there is reported by the browser itself
    assert [line for line in console if "404 (Not Found)" not in line] == []
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    assert title
    assert server.url in text
    if path == "/":
        assert "Stars of Hipparcos and Tycho" in text
        assert re.search(r"125.982", text)
    if path.endswith("hipparcos"):
        assert "Magnitude" in text or "vmag" in text


@pytest.mark.parametrize("path", ["/", "/collections/hipparcos"])
def test_pages_show_something(server: Server, tmp_path: Path, path: str) -> None:
    chromium(tmp_path / "profile", f"--screenshot={tmp_path / 'page.png'}", server.url + path)
    data = (tmp_path / "page.png").read_bytes()
    width, height, depth = struct.unpack(">IIB", data[16:25])
    assert (width, height, depth) == (1200, 900, 8)
    lines = pixel_lines(data, height)
    assert len(set(lines)) > 100, "nearly all lines of the page are alike: it is blank"


def pixel_lines(png: bytes, height: int) -> list[bytes]:
    """Take the lines of an image, as they are filtered: those of a blank page are all alike."""
    packed, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            packed += png[at + 8 : at + 8 + length]
        at += 12 + length
    plain = zlib.decompress(packed)
    step = len(plain) // height
    return [plain[row * step : (row + 1) * step] for row in range(height)]
