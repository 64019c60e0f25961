"""Fixtures for tests in a real browser, of the portal and of plug-in packages, which have them in folders ``browser``.

Each test fails if a page requests an address outside the site, or if a script fails. Accessibility is checked, too.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "proofs"))  # the HFC is made there

from browser_site import build_site
from browser_tab import BrowserTab, open_tab
from pyvo.samp import SAMPHubServer
from samp_hub import ConsentDialog, TopcatClient

from network_lock import keep_network
from process_runner import Server, find_chromium, serve_site
from requirements import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser


class BrowserTests:
    """Hooks for the tests in browsers of a folder, which its `conftest.py` registers.

    Parameters
    ----------
    folder
        The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @pytest.hookimpl(tryfirst=True)  # before modules that belong to no group become one each
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the tests of the folder; the hook sees the tests of all folders."""
        folder_prefix = f"{self.folder}{os.sep}"
        for item in items:
            if str(item.path).startswith(folder_prefix):
                item.add_marker(pytest.mark.outside)
                item.add_marker(pytest.mark.slow)
                item.add_marker(pytest.mark.xdist_group("browser"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Hold off changes of the network during a test of the folder."""
        with ExitStack() as stack:
            if self.folder in item.path.parents:
                stack.enter_context(keep_network())
            return (yield)


_running_servers: list[Server] = []


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Serve a site of real and made-up collections, once for the tests of all folders."""
    if not _running_servers:
        site = tmp_path_factory.mktemp("browsed") / "site"
        build_site(site)
        stack = ExitStack()
        _running_servers.append(stack.enter_context(serve_site(site, workers=2)))
        stack.callback(_running_servers.clear)
        request.session.addfinalizer(stack.close)
    return _running_servers[0]


@pytest.fixture(scope="session")
def web_port() -> Iterator[int]:
    """Reserve a port for the SAMP hub of the tests.

    SAMP prescribes port 21012, where a hub of the user or of another test run may listen.
    """
    with socket.socket() as kept:  # bound but not listening: the port stays reserved, and a hub can still listen there
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield int(kept.getsockname()[1])


_open_browsers: list[Browser] = []


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, web_port: int) -> Browser:
    """Open one browser for all modules of a directory; each tab has a context of its own.

    Playwright keeps an event loop running in this thread. The browser closes after the last test of the directory,
    before other tests start an event loop.
    """
    if not _open_browsers:
        require("playwright")
        from playwright.sync_api import sync_playwright

        stack = ExitStack()
        playwright = stack.enter_context(sync_playwright())
        # pages ask localhost:21012, and find our hub
        rules = f"--host-resolver-rules=MAP localhost:21012 127.0.0.1:{web_port}, MAP archive.example 127.0.0.1"
        made = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", rules], timeout=120_000
        )
        for undo in (made.close, _open_browsers.clear):
            stack.callback(undo)
        _open_browsers.append(made)
        directory = next(one for one in request.node.iter_parents() if isinstance(one, pytest.Dir))
        directory.addfinalizer(stack.close)
    return _open_browsers[0]


@pytest.fixture
def external_programs(request: pytest.FixtureRequest) -> None:
    """Start the programs that a page talks to before its tab, so that they end after it.

    A page reports an error if a hub ends during a message.
    """
    for name in ("hub", "topcat"):
        if name in request.fixturenames:
            request.getfixturevalue(name)


@pytest.fixture
def tab(browser: Browser, server: Server, external_programs: None) -> Iterator[BrowserTab]:
    yield from open_tab(browser, server, viewport={"width": 1440, "height": 900})


@pytest.fixture
def phone_tab(browser: Browser, server: Server, external_programs: None) -> Iterator[BrowserTab]:
    yield from open_tab(
        browser, server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
    )


@pytest.fixture
def scriptless_tab(browser: Browser, server: Server) -> Iterator[BrowserTab]:
    """Open a tab without JavaScript."""
    yield from open_tab(browser, server, viewport={"width": 1440, "height": 900}, java_script_enabled=False)


@pytest.fixture
def consent() -> ConsentDialog:
    return ConsentDialog()


@pytest.fixture
def hub(consent: ConsentDialog, web_port: int, tmp_path: Path) -> Iterator[SAMPHubServer]:
    made = SAMPHubServer(
        web_profile=True, web_profile_dialog=consent, web_port=web_port, mode="multiple", lockfile=str(tmp_path / "samp"), addr="127.0.0.1", label="test"
    )  # fmt: skip
    made.start()
    over = threading.Event()

    def people() -> None:
        while not over.is_set():
            consent.handle_queue()
            over.wait(0.05)

    watcher = threading.Thread(target=people, daemon=True)
    watcher.start()
    yield made
    over.set()
    watcher.join()
    if made.is_running:
        made.stop()


@pytest.fixture
def topcat(hub: SAMPHubServer) -> Iterator[TopcatClient]:
    made = TopcatClient(hub)
    yield made
    if made.client.is_connected:
        made.client.disconnect()
