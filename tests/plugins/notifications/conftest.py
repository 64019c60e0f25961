"""The client of these tests is that of the protocols; `notification_site.py` makes the site and the receivers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from notification_site import MailServer, NotificationSite, WebhookServer


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
def site(tmp_path: Path, mail_server: MailServer, webhook_server: WebhookServer) -> Iterator[NotificationSite]:
    from notification_site import open_notification_site

    with open_notification_site(tmp_path, mail_server, webhook_server) as found:
        yield found
