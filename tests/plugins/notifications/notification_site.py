"""A site whose accounts get mail and webhooks, with a mail server (aiosmtpd) and a receiver of webhooks."""

from __future__ import annotations

import email
import email.policy
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from hven.model.errors import TranslatableMessage, format_message
from hven.model.settings import load_settings
from hven.plugins.notifications.choice_store import AccountChoices, ChoiceStore
from hven.plugins.notifications.delivery import NotificationDelivery
from hven.plugins.notifications.outbox import Outbox, OutboxMessage
from hven.plugins.notifications.settings import get_notification_settings
from hven.plugins.notifications.store_tables import notification_messages
from hven.site import Site
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.api.store_tables import StateDatabase
from hven.site.auth import Principal

SECRET = "s3cr3t-of-the-harbour"
KIND = "jobs.end"


class _LocalController(Controller):
    """A controller of a server on any free port."""

    port: int

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class MailServer:
    """A mail server on this machine; `answer` is its answer to each mail."""

    def __init__(self, **options: Any) -> None:
        self.mails: list[EmailMessage] = []
        self.raw_mails: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.answer = "250 taken"
        self.recipient_answer = ""
        options = {"server_hostname": "mail.example", "ready_timeout": 120.0, **options}
        self._controller = _LocalController(self, hostname="127.0.0.1", port=0, **options)

    @property
    def port(self) -> int:
        return self._controller.port

    def reset(self) -> None:
        self.mails.clear()
        self.raw_mails.clear()
        self.recipients.clear()
        self.answer = "250 taken"
        self.recipient_answer = ""

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.recipient_answer:
            return self.recipient_answer
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.raw_mails.append(content)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(envelope.rcpt_tos)
        return self.answer

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class WebhookServer:
    """A receiver of webhooks on this machine."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.location = ""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = self.rfile.read(size)
                if len(body) < size:  # its sender was killed: no request has arrived
                    return
                receiver.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/in"

    def reset(self) -> None:
        self.calls.clear()
        self.status = 204
        self.location = ""

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def write_night_lines(_site: Site, principal: Principal) -> list[str]:
    return [f"stars: nothing {SECRET}\r\nnew for {principal.name}"]


class Announcer:
    """Announces events as packages do, in a transaction."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def announce(self, event: SiteEvent, *, fails: bool = False) -> None:
        with self._database.begin_write() as connection:
            notify_accounts(connection, event)
            if fails:
                raise ZeroDivisionError

    def execute(self, statement: sa.Executable) -> None:
        with self._database.begin_write() as connection:
            connection.execute(statement)


@dataclass
class NotificationSite:
    """The site with short ways to use it."""

    site: Site

    @property
    def outbox(self) -> Outbox:
        return self.site.store.get_or_create(Outbox)

    @property
    def choice_store(self) -> ChoiceStore:
        return self.site.store.get_or_create(ChoiceStore)

    @property
    def announcer(self) -> Announcer:
        return self.site.store.get_or_create(Announcer)

    def choose(self, account: str, **values: Any) -> AccountChoices:
        return self.choice_store.change_choices(account, lambda old: replace(old, **values))

    def announce(self, *accounts: str, text: str = "the job {id} is ready", value: object = "a1", **more: Any) -> None:
        message: TranslatableMessage = format_message(text, value)
        fields = {"kind": KIND, "path": "/jobs?job=a1", **more}
        self.announcer.announce(SiteEvent(accounts=accounts, message=message, **fields))

    def deliver(self) -> None:
        NotificationDelivery(self.site).run()

    def change_settings(self, **values: Any) -> None:
        settings = self.site.settings
        section = replace(get_notification_settings(settings), **values)
        self.site.settings = replace(settings, brought={**settings.brought, "notifications": section})

    def make_due(self) -> None:
        self.announcer.execute(sa.update(notification_messages).values(due=0.0))

    def list_messages(self) -> list[OutboxMessage]:
        return self.outbox.list_messages()

    @property
    def states(self) -> list[str]:
        return [message.state for message in self.list_messages()]


def write_settings(directory: Path, mail_port: int, alerts: str = 'smtp_tls = "none"', notifications: str = "") -> None:
    (directory / "hven.toml").write_text(
        f'name = "Uraniborg"\npublic_url = "https://vo.example/hven"\n[alerts]\nmail_from = "hven@vo.example"\n'
        f'smtp_host = "127.0.0.1"\nsmtp_port = {mail_port}\n{alerts}\n'
        f"[notifications]\nmail = true\nwebhooks = true\nprivate_webhooks = true\n{notifications}\n"
    )


@contextmanager
def open_notification_site(
    directory: Path, mail_server: MailServer, webhook_server: WebhookServer
) -> Iterator[NotificationSite]:
    (directory / "collections").mkdir()
    (directory / "secrets.toml").write_text(f"PLAIN = '{SECRET}'\n")
    write_settings(directory, mail_server.port)
    with Site(load_settings(directory, {})) as site:
        notification_site = NotificationSite(site)
        for name in ("anna", "mia"):
            site.store.users.add_account(name)
        notification_site.choose("anna", address="anna@example.org", confirmed=True, channels={KIND: "mail"})
        notification_site.choose("mia", webhook=webhook_server.url, channels={KIND: "webhook"})
        yield notification_site
