"""Deliver what is due: write digests, decide whom events reach, send mail, call webhooks, and try again later."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import queue
import smtplib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import hven
from hven.jobs.api.mail import SecretRedactor, send_mail
from hven.model import plugins
from hven.model.errors import HvenError, UserError, format_message
from hven.plugins.notifications.choice_store import MAIL, WEBHOOK, ChoiceStore
from hven.plugins.notifications.digests import find_digest_day, list_due_digest_kinds
from hven.plugins.notifications.event_kinds import load_event_kinds
from hven.plugins.notifications.message_texts import MessageWriter
from hven.plugins.notifications.outbox import CONFIRMATION_KIND, DROPPED, FAILED, SENT, Outbox, has_attempts_left
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.notifications.settings import get_notification_settings
from hven.site import Site
from hven.site.api.events import SiteEvent
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.plugins.notifications.choice_store import AccountChoices
    from hven.plugins.notifications.outbox import OutboxMessage

log = logging.getLogger("hven.notifications")
WEBHOOK_TIMEOUT_SECONDS = 10.0
MAX_WEBHOOK_ANSWER_BYTES = 64 * 1024
MAX_WEBHOOK_SECONDS = 20.0  # of a call, whatever the receiver does
MAX_FAILED_TARGETS = 10  # of a round
POSTPONE_SECONDS = 300.0
PERMANENT_SMTP_STATUSES = range(500, 600)  # RFC 5321, 4.2.1: the same mail would fail again


class PermanentDeliveryError(UserError):
    """A message that can never be delivered."""


class NotificationDelivery:
    """One round of deliveries of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = get_notification_settings(site.settings)
        self._outbox = site.store.get_or_create(Outbox)
        self._choice_store = site.store.get_or_create(ChoiceStore)
        self._rights = RecipientRights(site)
        self._writer = MessageWriter(site)
        self._redactor = SecretRedactor(site.settings.directory)
        self._failed_targets: set[str] = set()

    def run(self) -> None:
        """Do all that is due."""
        self.write_digests()
        self.create_event_messages()
        self.send_messages()
        self._outbox.delete_old_messages()

    def write_digests(self) -> None:
        """Write the digests of today that do not exist yet."""
        day = find_digest_day()
        kinds = load_event_kinds()
        for choices in self._choice_store.list_choices():
            principal = self._rights.find_principal(choices.account)
            if principal is None:  # it was removed while the site did not use this package
                self._choice_store.remove_account(choices.account)
                continue
            for kind in list_due_digest_kinds(choices, day):
                write_digest = plugins.load_named_object(kinds[kind].digest_writer, f"the kind of events {kind}")
                lines = write_digest(self._site, principal)
                message = format_message("{title}: {day}", format_message(kinds[kind].title), day)
                event = SiteEvent(kind=kind, accounts=(choices.account,), message=message, path=kinds[kind].path)
                self._outbox.add_digest_message(choices, event, lines, day)

    def create_event_messages(self) -> None:
        """Write the messages of new events, to the accounts that want them and may get them."""
        all_choices = self._choice_store.list_choices()
        for event in self._outbox.list_new_events():
            channels = [
                (choices.account, choices.find_reachable_channel(event.kind))
                for choices in all_choices
                if choices.find_reachable_channel(event.kind) in self._settings.channels
                and self._rights.can_receive_event(choices.account, event.accounts, event.table_name)
            ]
            self._outbox.add_messages(event, channels)

    def send_messages(self) -> None:
        """Send the messages that are due, within the limits: mails first, because webhooks may hang."""
        messages = self._outbox.list_due_messages(self._settings.channels)
        for message in sorted(messages, key=lambda message: message.channel != MAIL):
            if len(self._failed_targets) > MAX_FAILED_TARGETS:
                return  # the others are still due; this process must not take hours
            if self._outbox.count_sent_messages() >= self._settings.per_hour:
                self._outbox.hold_messages(POSTPONE_SECONDS)
                return
            target = MAIL
            if message.channel != MAIL:
                target = message.account
            if target in self._failed_targets:
                continue
            if self._outbox.count_sent_messages(message.account) >= self._settings.per_account:
                self._outbox.hold_messages(POSTPONE_SECONDS, account=message.account)
                self._failed_targets.add(message.account)
                continue
            if self._outbox.claim_message(message):
                self._send_message(message, target)

    def _send_message(self, message: OutboxMessage, target: str) -> None:
        choices = self._choice_store.find_choices(message.account)
        if choices is None or not self._is_still_wanted(message, choices):
            self._outbox.end_message(message, DROPPED)
            return
        try:
            if message.channel == MAIL:
                send_mail(self._site.settings, self._writer.build_mail(message, choices))
            else:
                self._call_webhook(message, choices)
        except Exception as error:  # noqa: BLE001  (one message that fails must not stop the others)
            self._record_failure(message, error, target, choices.webhook)
        else:
            self._outbox.end_message(message, SENT)

    def _is_still_wanted(self, message: OutboxMessage, choices: AccountChoices) -> bool:
        """Return whether the account still wants a message and may get it: it may have waited for days."""
        event = message.event
        if event.kind == CONFIRMATION_KIND:
            return bool(choices.address) and self._rights.find_principal(message.account) is not None
        return choices.find_reachable_channel(event.kind) == message.channel and self._rights.can_receive_event(
            message.account, event.accounts, event.table_name
        )

    def _record_failure(self, message: OutboxMessage, error: Exception, target: str, webhook: str) -> None:
        if isinstance(error, HvenError):
            text = str(error)
        else:
            text = f"{type(error).__name__}: {error}"
        webhook_path = urlsplit(webhook).path
        if len(webhook_path) > 1:  # it may contain a key of the account
            text = text.replace(webhook_path, "/..")
        reason = self._redactor.redact_text(" ".join(text.split()))[:300]
        log.warning("the message %s to %s failed: %s", message.number, message.account, reason)
        is_permanent = is_permanent_delivery_error(error)
        is_given_up = is_permanent or not has_attempts_left(message)
        if is_given_up:
            self._outbox.end_message(message, FAILED, reason)
        else:
            self._outbox.schedule_retry(message, reason)
        if not is_permanent:
            self._failed_targets.add(target)
            own_account = ""
            if message.channel != MAIL:
                own_account = message.account
            self._outbox.hold_messages(POSTPONE_SECONDS, account=own_account, channel=message.channel)
        if is_given_up and message.channel == WEBHOOK:
            self._choice_store.change_choices(message.account, lambda old: replace(old, problem=reason))

    def _call_webhook(self, message: OutboxMessage, choices: AccountChoices) -> None:
        """POST a document to a webhook, signed as `standard-webhooks` 1 describes it; redirects are not followed."""
        body = json.dumps(self._writer.build_webhook_document(message, choices), ensure_ascii=False).encode()
        timestamp = f"{time.time():.0f}"
        secret = choices.build_webhook_secret(self._site.store)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"Hven/{hven.__version__}",
            "webhook-id": message.message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign_webhook(secret, message.message_id, timestamp, body),
        }
        answer = send_post_within_time(choices.webhook, body, headers, allow_private=self._settings.private_webhooks)
        if answer.status == 410:  # the receiver no longer exists, as standard-webhooks defines
            raise PermanentDeliveryError("the webhook returned status 410")
        if not 200 <= answer.status < 300:
            raise UserError(f"the webhook returned status {answer.status}")


def send_post_within_time(
    url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool
) -> http_client.HttpAnswer:
    """POST a document in a thread: a receiver may send one byte of its answer now and then, for ever.

    Parameters
    ----------
    url
        Address of the webhook.
    body
        The document.
    headers
        Headers of the request.
    allow_private
        True allows addresses that are not on the public internet.

    Raises
    ------
    HvenError
        The receiver does not answer in time, or its address leads inwards (`PrivateAddressError`).
    """
    answers: queue.Queue[http_client.HttpAnswer | Exception] = queue.Queue()

    def send() -> None:
        try:
            answer = http_client.send_request_once(
                "POST",
                url,
                content=body,
                headers=headers,
                timeout_seconds=WEBHOOK_TIMEOUT_SECONDS,
                total_timeout_seconds=WEBHOOK_TIMEOUT_SECONDS,
                byte_limit=MAX_WEBHOOK_ANSWER_BYTES,
                allow_private=allow_private,
            )
        except Exception as error:  # noqa: BLE001  (the thread that waits raises it)
            answers.put(error)
        else:
            answers.put(answer)

    threading.Thread(target=send, name="webhook", daemon=True).start()
    try:
        answer = answers.get(timeout=MAX_WEBHOOK_SECONDS)
    except queue.Empty:
        raise UserError(f"the webhook did not answer within {MAX_WEBHOOK_SECONDS:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def send_notifications(settings: Settings) -> None:
    """Deliver all that is due on a site.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    with Site(settings) as site:
        NotificationDelivery(site).run()


def is_permanent_delivery_error(error: Exception) -> bool:
    """Return whether the same message would fail again.

    Parameters
    ----------
    error
        Error of a delivery.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(status in PERMANENT_SMTP_STATUSES for status, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPDataError):
        return error.smtp_code in PERMANENT_SMTP_STATUSES
    return isinstance(error, PermanentDeliveryError | http_client.PrivateAddressError)


def sign_webhook(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Sign a call of a webhook (https://www.standardwebhooks.com).

    Parameters
    ----------
    secret
        The secret, with its prefix ``whsec_``.
    message_id, timestamp
        The headers ``webhook-id`` and ``webhook-timestamp``.
    body
        The document.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()}"
