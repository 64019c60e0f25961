"""The client of these tests is that of the protocols; mail and webhooks are received as in the tests of notifications."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

for directory in (
    Path(__file__).parents[2] / "protocols",
    Path(__file__).parents[1] / "notifications",
    Path(__file__).parent,
):
    sys.path.insert(0, str(directory))

if TYPE_CHECKING:
    from notification_site import MailServer, WebhookServer
    from watch_site import WatchSite


@pytest.fixture(scope="session")
def shared_mail_server() -> Iterator[MailServer]:
    from notification_site import MailServer

    with MailServer() as server:
        yield server


@pytest.fixture
def mail_server(shared_mail_server: MailServer) -> MailServer:
    shared_mail_server.reset()
    return shared_mail_server


@pytest.fixture(scope="session")
def shared_webhook_server() -> Iterator[WebhookServer]:
    from notification_site import WebhookServer

    with WebhookServer() as server:
        yield server


@pytest.fixture
def webhook_server(shared_webhook_server: WebhookServer) -> WebhookServer:
    shared_webhook_server.reset()
    return shared_webhook_server


@pytest.fixture
def site(tmp_path: Path, mail_server: MailServer, webhook_server: WebhookServer) -> Iterator[WatchSite]:
    from watch_site import open_watch_site

    with open_watch_site(tmp_path, mail_server.port) as found:
        yield found
