"""``hven messages``: send a test mail, and list the messages of the outbox."""

from __future__ import annotations

import smtplib
from datetime import UTC, datetime
from email.utils import make_msgid
from typing import Annotated

import typer

from hven.app.api import format_time, load_site_settings, open_site, print_json, print_table
from hven.jobs.api.mail import send_mail
from hven.model.errors import ServiceError
from hven.plugins.notifications.email_addresses import parse_email_address
from hven.plugins.notifications.mails import create_mail
from hven.plugins.notifications.outbox import FAILED, WAITING, Outbox
from hven.plugins.notifications.store_tables import notification_messages

notifications = typer.Typer()


@notifications.command("test")
def send_test_mail(
    context: typer.Context,
    recipient: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Address that gets the mail.")],
) -> None:
    """Send a test mail at once, by the mail server of the site."""
    settings = load_site_settings(context)
    sender = settings.alerts.mail_from or ""
    mail = create_mail(sender, parse_email_address(recipient), f"[{settings.title or settings.name}] test")
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
    mail.set_content(f"This is a test of the mail server settings of {settings.site_url}.\n")
    try:
        send_mail(settings, mail)
    except (OSError, smtplib.SMTPException) as error:
        raise ServiceError(
            f"the mail server {settings.alerts.smtp_host} did not accept the mail: {error}",
            remedy="check smtp_host, smtp_port, smtp_tls, smtp_user and smtp_password in [alerts]",
        ) from error
    typer.echo(f"the mail server {settings.alerts.smtp_host} accepted the mail to {mail['To']}")


@notifications.command("list")
def list_messages(
    context: typer.Context,
    *,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="Only messages that are waiting, or that Hven has given up on.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of messages.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List messages to accounts, the newest first."""
    conditions = []
    if undelivered:
        conditions = [notification_messages.c.state.in_((WAITING, FAILED))]
    with open_site(context) as site:
        messages = site.store.get_or_create(Outbox).list_messages(*conditions, newest_first=True, limit=limit)
    rows = [
        {
            "number": message.number,
            "account": message.account,
            "channel": message.channel,
            "kind": message.event.kind,
            "state": message.state,
            "attempts": message.attempts,
            "time": datetime.fromtimestamp(message.event.at, UTC).isoformat(timespec="seconds"),
            "error": message.error,
        }
        for message in messages
    ]
    if as_json:
        print_json(rows)
        return
    headings = ("number", "account", "channel", "kind", "state", "attempts", "time", "error")
    cells = [[format_time(str(row[name])) if name == "time" else row[name] for name in headings] for row in rows]
    print_table(list(headings), cells, title="Messages to accounts")
