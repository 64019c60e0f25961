"""Alerts to people: a webhook, a mail, a program. What cannot be told now is tried again for a day; nothing of it holds up a run."""

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
from hven.jobs._redaction import Hiding
from hven.model.errors import HvenError, ServiceError, UserError
from hven.site.store import now
from hven.sources import remote
from hven.sources.programs import program_at, warded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.model.settings import Settings
    from hven.site.store import Alert, Store

log = logging.getLogger("hven.alerts")

SECONDS = 20.0  # that a webhook or a mail server may take
PROGRAM = 60.0  # seconds that a program may take
CLAIMED = 300.0  # seconds after which an alert is due again, should who had it have died
# seconds between attempts, twice as long each time: a day and a half in all
FIRST, LONGEST, ATTEMPTS = 30.0, 4 * 3600.0, 14
SAID = 200  # characters of a program's last words


def ways_of(settings: Settings) -> list[str]:
    """List the ways in which a site tells people: ``webhook``, ``mail``, ``command``."""
    said = settings.alerts
    return [
        way for way, there in (("webhook", said.webhook), ("mail", said.mail_to), ("command", said.command)) if there
    ]


def deliver(settings: Settings, store: Store) -> int:
    """Send every alert that is due; return how many went out whole."""
    whole = 0
    for item in store.schedules.pending():
        if not store.schedules.claim(item, CLAIMED):
            continue
        ways, left = _attempted(settings, item)
        attempts = max((facts["attempts"] for facts in ways.values()), default=0)
        wait = min(FIRST * 2.0 ** (attempts - 1), LONGEST) if left and attempts < ATTEMPTS else None
        store.schedules.delivered(item, ways, wait)
        whole += not left
    return whole


def _attempted(settings: Settings, item: Alert) -> tuple[dict[str, dict[str, Any]], bool]:
    """Send what was not sent yet; return how it went, and whether something is left."""
    hiding = Hiding(settings.directory)
    offered = ways_of(settings)
    ways: dict[str, dict[str, Any]] = {}
    left = False
    for way, facts in item.ways.items():
        ways[way] = dict(facts)
        if facts.get("sent") or way not in offered:  # a way that the settings have no more
            continue
        ways[way]["attempts"] = facts["attempts"] + 1
        try:
            _WAYS[way](settings, document(settings, item, hiding))
        except Exception as error:  # noqa: BLE001  (a way of telling that fails must not stop the others)
            why = hiding.text(str(error) if isinstance(error, HvenError) else f"{type(error).__name__}: {error}")
            ways[way]["error"] = why
            left = True
            log.warning("the alert about %s could not be told by %s: %s", item.collection, way, why)
        else:
            ways[way] = {"attempts": ways[way]["attempts"], "sent": now()}
    return ways, left


def document(settings: Settings, item: Alert, hiding: Hiding) -> dict[str, Any]:
    """Return what is told, as JSON: without secrets."""
    made = {
        "id": item.id,
        "site": settings.name,
        "variant": settings.variant,
        "url": settings.public_url,
        "collection": item.collection,
        "kind": item.kind,
        "at": item.at,
        "message": item.message,
        **item.details,
        "software": f"Hven {hven.__version__}",
    }
    found: dict[str, Any] = hiding.all({key: value for key, value in made.items() if value is not None})
    return found


def _webhook(settings: Settings, told: Mapping[str, Any]) -> None:
    """POST it as JSON; any answer of 2xx will do. Redirects are not followed."""
    url = settings.resolved(settings.alerts.webhook or "")
    body = json.dumps({"text": _line(told), **told}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"Hven/{hven.__version__}"}
    answer = remote.exchange(
        "POST",
        url,
        content=body,
        headers=headers,
        seconds=SECONDS,
        total=SECONDS,
        limit=64 * 1024,
        allow_private=settings.allow_private,
    )
    if not 200 <= answer.status < 300:
        raise UserError(f"the webhook answers {answer.status}")


def _mail(settings: Settings, told: Mapping[str, Any]) -> None:
    """Send it by SMTP.

    Raises
    ------
    UserError
        A password would go over an open line, or there is no server.
    """
    said = settings.alerts
    if not said.smtp_host or not said.mail_from:
        raise UserError("alerts.smtp_host and alerts.mail_from are needed for mail")
    message = EmailMessage()
    message["Subject"] = _line(told)[:200]
    message["From"] = said.mail_from
    message["To"] = ", ".join(said.mail_to)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=said.mail_from.partition("@")[2] or None)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    message.set_content("\n".join(f"{key}: {value}" for key, value in told.items()) + "\n")
    password = None if said.smtp_password is None else settings.resolved(said.smtp_password)
    if password is not None and said.smtp_tls == "none":
        raise UserError("a password is not sent over an open line", remedy='say smtp_tls = "starttls" or "tls"')
    context = ssl.create_default_context()
    port = said.smtp_port or {"tls": 465, "starttls": 587, "none": 25}[said.smtp_tls]
    opened = (
        smtplib.SMTP_SSL(said.smtp_host, port, timeout=SECONDS, context=context)
        if said.smtp_tls == "tls"
        else smtplib.SMTP(said.smtp_host, port, timeout=SECONDS)
    )
    with opened as server:
        if said.smtp_tls == "starttls":
            server.starttls(context=context)
        if said.smtp_user is not None:
            server.login(said.smtp_user, password or "")
        refused = server.send_message(message)
    if refused:
        raise ServiceError(f"the mail server refuses {', '.join(refused)}")


def _command(settings: Settings, told: Mapping[str, Any]) -> None:
    """Run the site's program with it as JSON on standard input; it is killed with all that came of it after a minute."""
    with tempfile.TemporaryDirectory(prefix="hven-alert-") as place:
        given, errors = Path(place) / "alert.json", Path(place) / "errors"
        given.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
        argv = [program_at(settings.directory, settings.alerts.command[0]), *settings.alerts.command[1:]]
        with errors.open("wb") as said:
            warden = warded(argv, Path(place), said, said, stdin=given)
            try:
                code = warden.wait(PROGRAM)
            except subprocess.TimeoutExpired:
                raise ServiceError(f"the program did not end within {PROGRAM:g} s") from None
            finally:
                if warden.stdin is not None:
                    with suppress(OSError):
                        warden.stdin.close()  # the warden kills what is left
                warden.wait()
        if code:
            words = " ".join(errors.read_text(encoding="utf-8", errors="replace").split())[-SAID:]
            raise ServiceError(f"the program ended with code {code}" + (f": {words}" if words else ""))


def _line(told: Mapping[str, Any]) -> str:
    return " ".join(f"[{told['site']}] {told['message']}".split())


_WAYS: dict[str, Callable[[Settings, Mapping[str, Any]], None]] = {
    "webhook": _webhook,
    "mail": _mail,
    "command": _command,
}
