"""Send alerts to people by a webhook, a mail or a program. An alert that fails is sent again for a day and a half.

No run waits for it.
"""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
import subprocess
import tempfile
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hven
from hven.jobs._redaction import SecretRedactor
from hven.model.errors import HvenError, ServiceError, UserError
from hven.site.store import format_current_time
from hven.sources import http_client
from hven.sources.site_programs import find_program, start_supervised_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.model.settings import Settings
    from hven.site.store import CollectionAlert, StateStore

log = logging.getLogger("hven.alerts")

DELIVERY_TIMEOUT_SECONDS = 20.0  # of a webhook or a mail server
PROGRAM_TIMEOUT_SECONDS = 60.0  # of a program
CLAIM_SECONDS = 300.0  # after this time an alert is due again, if the process that claimed it has died
# the pause between attempts doubles each time: a day and a half in all
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, MAX_ATTEMPTS = 30.0, 4 * 3600.0, 14
MAX_QUOTED_CHARACTERS = 200  # of a program's last output
DEFAULT_SMTP_PORTS = {"tls": 465, "starttls": 587, "none": 25}


def list_alert_channels(settings: Settings) -> list[str]:
    """List the channels by which a site sends alerts: ``webhook``, ``mail``, ``command``."""
    alert_settings = settings.alerts
    settings_by_channel = {
        "webhook": alert_settings.webhook,
        "mail": alert_settings.mail_to,
        "command": alert_settings.command,
    }
    return [channel for channel, setting in settings_by_channel.items() if setting]


def send_due_alerts(settings: Settings, store: StateStore) -> int:
    """Send every alert that is due; return the number of alerts that went out by all channels."""
    delivered_count = 0
    due_alerts = store.schedules.list_due_alerts()
    for due_alert in due_alerts:
        if not store.schedules.claim_alert(due_alert, CLAIM_SECONDS):
            continue
        channels, is_incomplete = _send_alert(settings, due_alert)
        attempts = max((facts["attempts"] for facts in channels.values()), default=0)
        retry_seconds: float | None = None
        if is_incomplete and attempts < MAX_ATTEMPTS:
            retry_seconds = min(FIRST_RETRY_SECONDS * 2.0 ** (attempts - 1), MAX_RETRY_SECONDS)
        store.schedules.record_delivery(due_alert, channels, retry_seconds)
        delivered_count += not is_incomplete
    if due_alerts:
        store.schedules.delete_surplus_alerts()
    return delivered_count


def _send_alert(settings: Settings, alert_record: CollectionAlert) -> tuple[dict[str, dict[str, Any]], bool]:
    """Send an alert by the channels that have not sent it yet; return the results, and whether one failed."""
    redactor = SecretRedactor(settings.directory)
    available_channels = list_alert_channels(settings)
    channels: dict[str, dict[str, Any]] = {}
    is_incomplete = False
    for channel, facts in alert_record.ways.items():
        channels[channel] = dict(facts)
        if facts.get("sent") or channel not in available_channels:  # the settings may have dropped a channel
            continue
        channels[channel]["attempts"] = facts["attempts"] + 1
        try:
            _CHANNEL_SENDERS[channel](settings, build_alert_document(settings, alert_record, redactor))
        except Exception as error:  # noqa: BLE001  (one channel that fails must not stop the others)
            if isinstance(error, HvenError):
                message = str(error)
            else:
                message = f"{type(error).__name__}: {error}"
            reason = redactor.redact_text(message)
            channels[channel]["error"] = reason
            is_incomplete = True
            log.warning("the alert about %s could not be sent by %s: %s", alert_record.collection, channel, reason)
        else:
            channels[channel] = {"attempts": channels[channel]["attempts"], "sent": format_current_time()}
    return channels, is_incomplete


def build_alert_document(settings: Settings, alert_record: CollectionAlert, redactor: SecretRedactor) -> dict[str, Any]:
    """Return the document of an alert, as JSON without secrets."""
    alert_fields = {
        "id": alert_record.id,
        "site": settings.name,
        "variant": settings.variant,
        "url": settings.public_url,
        "collection": alert_record.collection,
        "kind": alert_record.kind,
        "at": alert_record.at,
        "message": alert_record.message,
        **alert_record.details,
        "software": f"Hven {hven.__version__}",
    }
    known_fields = {key: value for key, value in alert_fields.items() if value is not None}
    redacted_fields: dict[str, Any] = redactor.redact_data(known_fields)
    return redacted_fields


def _send_to_webhook(settings: Settings, alert_document: Mapping[str, Any]) -> None:
    """POST an alert as JSON; any 2xx answer is a success. Redirects are not followed."""
    url = settings.resolve_secret_address(settings.alerts.webhook or "")
    document = {"text": _format_subject(alert_document), **alert_document}
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"Hven/{hven.__version__}"}
    answer = http_client.send_request_once(
        "POST",
        url,
        content=body,
        headers=headers,
        timeout_seconds=DELIVERY_TIMEOUT_SECONDS,
        total_timeout_seconds=DELIVERY_TIMEOUT_SECONDS,
        byte_limit=64 * 1024,
        allow_private=settings.allow_private,
    )
    if not 200 <= answer.status < 300:
        raise UserError(f"the webhook returned status {answer.status}")


def _send_mail(settings: Settings, alert_document: Mapping[str, Any]) -> None:
    message = EmailMessage()
    message["Subject"] = _format_subject(alert_document)[:200]
    message["From"] = settings.alerts.mail_from
    message["To"] = ", ".join(settings.alerts.mail_to)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=(settings.alerts.mail_from or "").partition("@")[2] or None)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office programs do not answer it
    content_lines = [f"{key}: {value}\n" for key, value in alert_document.items()]
    message.set_content("".join(content_lines))
    send_mail(settings, message)


def send_mail(settings: Settings, message: EmailMessage) -> None:
    """Send a mail by the site's mail server.

    Parameters
    ----------
    settings
        Settings of the site.
    message
        The mail.

    Raises
    ------
    UserError
        A password would be sent without encryption, or the settings name no server.
    ServiceError
        The server rejected a recipient.
    OSError
        The server does not respond, or rejects the mail.
    """
    alert_settings = settings.alerts
    if not alert_settings.smtp_host or not alert_settings.mail_from:
        raise UserError("sending mail requires alerts.smtp_host and alerts.mail_from")
    password: str | None = None
    if alert_settings.smtp_password is not None:
        password = settings.resolve_secret_address(alert_settings.smtp_password)
    if password is not None and alert_settings.smtp_tls == "none":
        raise UserError(
            "Hven does not send passwords over unencrypted connections", remedy='write smtp_tls = "starttls" or "tls"'
        )
    host = alert_settings.smtp_host
    port = alert_settings.smtp_port or DEFAULT_SMTP_PORTS[alert_settings.smtp_tls]
    context = ssl.create_default_context()
    connection: smtplib.SMTP
    if alert_settings.smtp_tls == "tls":
        connection = smtplib.SMTP_SSL(host, port, timeout=DELIVERY_TIMEOUT_SECONDS, context=context)
    else:
        connection = smtplib.SMTP(host, port, timeout=DELIVERY_TIMEOUT_SECONDS)
    with connection as server:
        if alert_settings.smtp_tls == "starttls":
            server.starttls(context=context)
        if alert_settings.smtp_user is not None:
            server.login(alert_settings.smtp_user, password or "")
        refused_recipients = server.send_message(message)
    if refused_recipients:
        raise ServiceError(f"the mail server rejected {', '.join(refused_recipients)}")


def _run_alert_program(settings: Settings, alert_document: Mapping[str, Any]) -> None:
    """Run the site's program with an alert as JSON on its standard input.

    After a minute the program is killed, with all processes that it started.
    """
    program = find_program(settings.directory, settings.alerts.command[0])
    argv = [program, *settings.alerts.command[1:]]
    with tempfile.TemporaryDirectory(prefix="hven-alert-") as temporary_directory:
        directory = Path(temporary_directory)
        input_path = directory / "alert.json"
        output_path = directory / "errors"
        input_path.write_text(json.dumps(alert_document, ensure_ascii=False) + "\n", encoding="utf-8")
        with output_path.open("wb") as output_file:
            process = start_supervised_program(argv, directory, output_file, output_file, stdin=input_path)
            try:
                exit_code = process.wait(PROGRAM_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                raise ServiceError(f"the program did not end within {PROGRAM_TIMEOUT_SECONDS:g} s") from None
            finally:
                if process.stdin is not None:
                    with suppress(OSError):
                        process.stdin.close()  # its supervisor kills what is left
                process.wait()
        if exit_code:
            output_words = output_path.read_text(encoding="utf-8", errors="replace").split()
            last_output = " ".join(output_words)[-MAX_QUOTED_CHARACTERS:]
            detail = f": {last_output}" if last_output else ""
            raise ServiceError(f"the program ended with exit code {exit_code}{detail}")


def _format_subject(alert_document: Mapping[str, Any]) -> str:
    return " ".join(f"[{alert_document['site']}] {alert_document['message']}".split())


_CHANNEL_SENDERS: dict[str, Callable[[Settings, Mapping[str, Any]], None]] = {
    "webhook": _send_to_webhook,
    "mail": _send_mail,
    "command": _run_alert_program,
}
