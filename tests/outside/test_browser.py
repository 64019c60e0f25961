"""Chromium: the pages load without a complaint on its console, and show something."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field

import pytest

from process_runner import Server, find_chromium
from requirements import require

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

SHOWN = ("/", "/collections/hipparcos")
PATHS = (*SHOWN, "/collections/jmdc", "/collections/nonsense")


@dataclass(kw_only=True)
class Look:
    """What a page became, what was written on the console, and how it looked."""

    text: str = ""
    console: list[str] = field(default_factory=list)
    picture: bytes = b""


@pytest.fixture(scope="module")
def looks(server: Server) -> dict[str, Look]:
    """Look at each page once, as somebody does who was never here."""
    require("playwright")
    from playwright.sync_api import sync_playwright

    found = {path: Look() for path in PATHS}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"], timeout=120_000)
        for path, look in found.items():
            context = browser.new_context(viewport={"width": 1200, "height": 900})
            context.set_default_timeout(120_000)  # a computer may be busy with other things
            page = context.new_page()
            page.on("console", lambda message, look=look: look.console.append(message.text))  # type: ignore[misc]
            page.on("pageerror", lambda error, look=look: look.console.append(str(error)))  # type: ignore[misc]
            page.goto(server.url + path, wait_until="load")
            look.text = page.content()
            if path in SHOWN:
                look.picture = page.screenshot()
            context.close()
        browser.close()
    return found


@pytest.mark.parametrize("path", PATHS)
def test_pages_load_without_a_complaint(server: Server, looks: dict[str, Look], path: str) -> None:
    text, console = looks[path].text, looks[path].console
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


@pytest.mark.parametrize("path", SHOWN)
def test_pages_show_something(looks: dict[str, Look], path: str) -> None:
    data = looks[path].picture
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
