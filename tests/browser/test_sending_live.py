"""What leaves by SAMP beside the rows of a table: answers of queries, results of jobs, regions as MOCs, files; also from a page that came by https."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from astropy.io.votable import parse_single_table
from browser_site import STARS
from browser_tab import BrowserTab
from mocpy import MOC
from samp_hub import HUB_ADDRESS, ConsentDialog, TopcatClient

from plugin_needs import require_query_editor
from process_runner import run_hven, serve_site
from requirements import require_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GRID = "table.live tr[data-key]"
BRIGHT = "SELECT star, ra, dec, vmag FROM stars.main WHERE vmag < 4"


def connect_samp(tab: BrowserTab, path: str, ready: str) -> Any:
    tab.allowed = (HUB_ADDRESS,)
    page = tab.open_page(path)
    page.wait_for_selector(ready)
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select")
    return page


def rows_at(address: str) -> Any:
    return parse_single_table(io.BytesIO(urllib.request.urlopen(address).read())).to_table()


def test_the_answer_of_a_query(tab: BrowserTab, consent: ConsentDialog, topcat: TopcatClient) -> None:
    require_query_editor()
    page = connect_samp(tab, f"/adql?QUERY={BRIGHT.replace(' ', '+').replace('<', '%3C')}", "[data-answer] tbody tr")
    page.click("text=The table")
    page.wait_for_selector("[data-samp] p:has-text('Sent to Topcat of the test')")
    found = rows_at(topcat.wait_for_message("table.load.votable")["url"])
    assert len(found) == page.locator("[data-answer] tbody tr").count() > 10
    assert max(found["vmag"]) < 4
    # another answer on the same page: the reader is not asked again
    tab.write_query("SELECT TOP 3 star FROM stars.main ORDER BY star")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-answer] .count b:text-is('3')")
    page.click("summary:text-is('SAMP')")
    topcat.messages.clear()
    page.click("text=The table")
    assert list(rows_at(topcat.wait_for_message("table.load.votable")["url"])["star"]) == [1, 2, 3]
    assert len(consent.asked) == 1
    assert tab.find_accessibility_faults() == []


def test_the_result_of_a_job(tab: BrowserTab, topcat: TopcatClient) -> None:
    require_query_editor()
    page = tab.open_page("/adql")
    tab.write_query(BRIGHT)
    page.click("text=Run as a job")
    page.wait_for_url("**/jobs?job=*")
    page.wait_for_selector(".job .phase[data-phase=COMPLETED]")
    tab.allowed = (HUB_ADDRESS,)
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select")
    page.click("text=The table")
    sent = topcat.wait_for_message("table.load.votable")
    assert "/tap/async/" in sent["url"]
    assert max(rows_at(sent["url"])["vmag"]) < 4, "a program has no cookie of the browser's"


def test_regions_are_mocs(tab: BrowserTab, topcat: TopcatClient, tmp_path: Path) -> None:
    topcat.client.bind_receive_notification("coverage.load.moc.fits", topcat.receive_message)
    page = connect_samp(tab, "/collections/stars/main?_near=83.6,22,10&vmag=..9", GRID)
    page.click("text=The region of the search")
    region = moc(topcat.wait_for_message("coverage.load.moc.fits")["url"], tmp_path)
    assert abs(region.sky_fraction - 0.0076) < 0.0008, "a circle of 10 degrees"
    assert region.contains_lonlat(*lonlat([83.6, 83.6, 83.6], [22, 31, 33])).tolist() == [True, True, False]
    assert topcat.wait_for_message("script.aladin.send")["script"] == "draw circle(83.6,22,10deg)"
    topcat.messages.clear()
    page.click("text=The region that the rows cover")
    covered = moc(topcat.wait_for_message("coverage.load.moc.fits")["url"], tmp_path)
    rows = page.evaluate("() => window.hven === undefined")  # the map is not needed for it
    assert rows
    assert 0 < covered.sky_fraction < region.sky_fraction
    assert covered.intersection(region).sky_fraction > covered.sky_fraction / 2


def lonlat(lon: list[float], lat: list[float]) -> Any:
    from astropy import units

    return lon * units.deg, lat * units.deg


def moc(address: str, directory: Path) -> MOC:
    path = directory / "region.fits"
    path.write_bytes(urllib.request.urlopen(address).read())
    return MOC.load(str(path), "fits")


def test_marked_rows_without_their_table(tab: BrowserTab, topcat: TopcatClient) -> None:
    page = connect_samp(tab, "/collections/stars/main?_sort=star", GRID)
    page.click("h1")
    for number in (1, 3):
        page.locator(f"{GRID} input").nth(number).click()
    page.click("summary:text-is('SAMP')")
    page.click("text=The marked rows")
    assert list(rows_at(topcat.wait_for_message("table.load.votable")["url"])["star"]) == [2, 4]


def test_a_file_is_sent_by_its_type(tab: BrowserTab, topcat: TopcatClient) -> None:
    page = connect_samp(tab, "/collections/aia/images?_sort=name", GRID)
    page.click("h1")
    page.locator(f"{GRID} td:nth-child(3)").first.click()
    page.wait_for_selector(".detail dt")
    page.click("summary:text-is('SAMP')")
    page.click("text=The file of this row")
    sent = topcat.wait_for_message("image.load.fits")
    assert sent["url"] == f"https://sdo.example.org/{page.inner_text('.detail h2')}.fits"


def test_what_no_program_takes_is_said(tab: BrowserTab, topcat: TopcatClient) -> None:
    page = connect_samp(tab, "/collections/stars/main", GRID)
    page.click("text=The region that the rows cover")
    page.wait_for_selector(
        "[data-samp] p:has-text('No connected program accepts this message: coverage.load.moc.fits')"
    )


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[str]:
    """Serve stars by https: behind a tunnel that ends TLS, as a proxy would."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [require_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    door = socket.create_server(("127.0.0.1", 0))

    threads: list[threading.Thread] = []

    def begin(target: Callable[..., None], *args: Any) -> threading.Thread:
        threads.append(threading.Thread(target=target, args=args, daemon=True))
        threads[-1].start()
        return threads[-1]

    def pour(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def guest(plain: socket.socket, port: int) -> None:
        with (
            plain,
            contextlib.suppress(OSError),  # who refuses our certificate leaves
            context.wrap_socket(plain, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", port)) as outside,
        ):
            back = begin(pour, outside, inside)
            pour(inside, outside)
            back.join()

    def guests(port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                begin(guest, door.accept()[0], port)

    address = f"https://archive.example:{door.getsockname()[1]}"
    site = tmp_path / "site"
    run_hven("init", site)
    place = site / "collections" / "stars"
    place.mkdir(parents=True)
    (place / "stars.yaml").write_text(STARS)
    lines = [
        "star,name,ra,dec,vmag,sp_type,seen,page",
        *(f"{star},,{star},{star},{star / 10},G2,1572-11-11T18:00:00," for star in range(1, 61)),
    ]
    (place / "stars.csv").write_text("\n".join(lines) + "\n")
    run_hven("--site", site, "ingest", "stars")
    settings = site / "hven.toml"
    settings.write_text(f'public_url = "{address}"\n{settings.read_text()}')
    with serve_site(site) as server:
        begin(guests, server.port)
        yield address
        door.shutdown(socket.SHUT_RDWR)
    door.close()
    for one in threads:
        one.join(30)


def test_a_page_served_by_https_reaches_the_hub(
    browser: Browser, secure: str, consent: ConsentDialog, topcat: TopcatClient
) -> None:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "localhost:21012" in message.text else None)
    try:
        page.goto(f"{secure}/collections/stars/main?vmag=..4")
        assert page.evaluate("isSecureContext")
        page.wait_for_selector(GRID)
        page.click("summary:text-is('SAMP')")
        page.click("[data-samp] button:text-is('Connect')")
        page.wait_for_selector("[data-samp] select")
        assert consent.asked[0][1] == secure
        page.click("text=The table")
        assert topcat.wait_for_message("table.load.votable")["name"] == "Stars"
        assert refused == []
    finally:
        context.close()


def test_a_browser_asks_for_permission_first(
    browser: Browser, secure: str, web_port: int, consent: ConsentDialog, topcat: TopcatClient
) -> None:
    """Chrome 142 and later, for pages that are not of this computer: refused leave is no missing hub, and who gives it later is connected.

    Its shell without windows refuses too, but does not say so.
    """
    door = secure.rpartition(":")[2]
    rules = f"MAP localhost:21012 127.0.0.1:{web_port}, MAP archive.example 127.0.0.1"
    switches = [f"--host-resolver-rules={rules}", f"--ip-address-space-overrides=127.0.0.1:{door}=public"]
    other = browser.browser_type.launch(executable_path=require_program("chromium"), args=["--no-sandbox", *switches])
    try:
        context = other.new_context(ignore_https_errors=True)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(f"{secure}/collections/stars/main?vmag=..4")
        page.wait_for_selector(GRID)
        known = "navigator.permissions.query({name: 'local-network-access'}).then((one) => one.state, () => '')"
        if not page.evaluate(known):
            pytest.skip("this Chromium asks for no leave")
        page.click("summary:text-is('SAMP')")
        page.click("[data-samp] button:text-is('Connect')")
        # without a window nobody can be asked, and Chromium refuses
        page.wait_for_selector("[data-samp] p:has-text('Your browser does not let this page')")
        assert consent.asked == []
        assert secure in page.input_value("[data-samp] input.address")
        assert page.get_attribute("[data-samp] a[download]", "href")
        context.grant_permissions(["local-network-access"])
        page.wait_for_selector("[data-samp] select")
        assert consent.asked[0][1] == secure
        page.click("text=The table")
        assert topcat.wait_for_message("table.load.votable")["name"] == "Stars"
    finally:
        other.close()


def test_permission_is_requested_without_a_hub(browser: Browser, secure: str) -> None:
    """With leave, nothing but the hub can be missing."""
    door = secure.rpartition(":")[2]
    rules = "MAP localhost:21012 127.0.0.1:9, MAP archive.example 127.0.0.1"
    switches = [f"--host-resolver-rules={rules}", f"--ip-address-space-overrides=127.0.0.1:{door}=public"]
    other = browser.browser_type.launch(executable_path=require_program("chromium"), args=["--no-sandbox", *switches])
    try:
        context = other.new_context(ignore_https_errors=True)
        context.set_default_timeout(60_000)
        with contextlib.suppress(Exception):  # one that knows no such leave
            context.grant_permissions(["local-network-access"])
        page = context.new_page()
        page.goto(f"{secure}/collections/stars/main?vmag=..4")
        page.wait_for_selector(GRID)
        page.click("summary:text-is('SAMP')")
        page.click("[data-samp] button:text-is('Connect')")
        page.wait_for_selector("[data-samp] p:has-text('No SAMP hub answers')")
    finally:
        other.close()
