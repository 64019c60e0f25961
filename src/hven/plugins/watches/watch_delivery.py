"""Deliver what watches have found: mail and webhooks, again after failures, and not after a right has ended."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hven
from hven.jobs.api.mail import SecretRedactor, send_mail
from hven.model.errors import HvenError, UserError
from hven.plugins.notifications.choice_store import MAIL, WEBHOOK, ChoiceStore
from hven.plugins.notifications.delivery import (
    PermanentDeliveryError,
    is_permanent_delivery_error,
    send_post_within_time,
    sign_webhook,
)
from hven.plugins.notifications.outbox import Outbox
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.notifications.settings import get_notification_settings
from hven.plugins.watches.match_documents import MatchWriter
from hven.plugins.watches.visible_matches import select_visible_rows
from hven.plugins.watches.watch_store import DROPPED, FAILED, SENT, WatchStore

if TYPE_CHECKING:
    from hven.plugins.watches.watch_store import Watch, WatchMatch
    from hven.site import Site

log = logging.getLogger("hven.watches")
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 30.0, 4 * 3600.0
MAX_FAILING_SECONDS = 7 * 86_400.0  # after this time Hven gives up, and tells the account
MIN_ATTEMPTS = 10  # but not before it has tried as often
MAX_ROUND_SECONDS = 60.0  # then changes are matched again before anything else is delivered
MATCHES_AT_ONCE = 64
CONCURRENT_WEBHOOKS = 8
HOUR_SECONDS = 3600.0
POSTPONE_SECONDS = 300.0


class WatchDelivery:
    """One round of deliveries of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = get_notification_settings(site.settings)
        self._store = site.store.get_or_create(WatchStore)
        self._choice_store = site.store.get_or_create(ChoiceStore)
        self._outbox = site.store.get_or_create(Outbox)
        self._rights = RecipientRights(site)
        self._redactor = SecretRedactor(site.settings.directory)
        self._is_mail_down = False  # then no other mail is tried in this round

    def run(self) -> None:
        """Deliver what is due, until nothing is due or the time of a round is over."""
        end = time.monotonic() + MAX_ROUND_SECONDS
        self._store.delete_old_matches()
        while time.monotonic() < end:
            claimed_matches = self._store.claim_due_matches(MATCHES_AT_ONCE)
            if not claimed_matches:
                return
            self._send_matches(claimed_matches)

    def _send_matches(self, claimed_matches: list[tuple[WatchMatch, Watch]]) -> None:
        """Deliver matches, webhooks at the same time; one watch gets its next match after the former was taken."""
        mail_counts = self._store.count_sent_mails(time.time() - HOUR_SECONDS)
        other_mail_count = self._outbox.count_sent_messages()
        values_by_number: dict[int, dict[str, Any]] = {}
        calls = []
        busy_watches: set[str] = set()
        for match, watch in claimed_matches:
            visible_match = self._find_visible_match(match, watch)
            if visible_match is None or watch.channel not in self._settings.channels or watch.problem:
                values_by_number[match.number] = {"state": DROPPED, "ended": time.time()}
            elif watch.name in busy_watches:
                values_by_number[match.number] = {"due": time.time(), "attempts": match.attempts - 1}
            elif watch.channel == WEBHOOK:
                busy_watches.add(watch.name)
                calls.append((visible_match, watch))
            elif (
                self._is_mail_down
                or self._is_mail_limit_reached(watch.account, mail_counts, other_mail_count)
                or self._is_confirmation_awaited(match, watch)
            ):
                due = time.time() + POSTPONE_SECONDS
                values_by_number[match.number] = {"due": due, "attempts": match.attempts - 1}
            else:
                mail_counts[watch.account] = mail_counts.get(watch.account, 0) + 1
                values_by_number[match.number] = self._send_match(visible_match, watch)
                self._is_mail_down = "due" in values_by_number[match.number]
        with ThreadPoolExecutor(CONCURRENT_WEBHOOKS) as executor:
            outcomes = executor.map(lambda call: self._send_match(*call), calls)
            values_by_number |= {match.number: values for (match, _), values in zip(calls, outcomes, strict=True)}
        self._store.update_matches(values_by_number)
        for match, watch in claimed_matches:
            values = values_by_number[match.number]
            if values.get("state") == FAILED:
                self._store.stop_watch(watch, values["error"])
            elif values.get("error"):
                self._store.hold_matches(watch.name, values["due"])

    def _is_mail_limit_reached(self, account: str, mail_counts: dict[str, int], other_count: int) -> bool:
        is_own_limit_reached = mail_counts.get(account, 0) >= self._settings.per_account
        return is_own_limit_reached or sum(mail_counts.values()) + other_count >= self._settings.per_hour

    def _is_confirmation_awaited(self, match: WatchMatch, watch: Watch) -> bool:
        """Return whether the account has entered another address, and still has time to confirm it."""
        choices = self._choice_store.find_choices(watch.account)
        is_old = match.at + MAX_FAILING_SECONDS < time.time()
        return choices is not None and bool(choices.address) and not choices.confirmed and not is_old

    def _find_visible_match(self, match: WatchMatch, watch: Watch) -> WatchMatch | None:
        """Return what the account may see of a match now; None: nothing, or the account is gone."""
        principal = self._rights.find_principal(watch.account)
        if principal is None:
            return None
        return next(iter(select_visible_rows(self._site, principal, watch.table_name, [match])), None)

    def _send_match(self, match: WatchMatch, watch: Watch) -> dict[str, Any]:
        """Deliver a match, and store and return the new values of its columns: a kill repeats this one alone."""
        values: dict[str, Any] = {"state": SENT, "error": ""}
        try:
            if watch.channel == MAIL:
                self._send_mail(match, watch)
            else:
                self._call_webhook(match, watch)
        except Exception as error:  # noqa: BLE001  (one match that fails must not stop the others)
            values = self._describe_failure(match, watch, error)
        else:
            values["ended"] = time.time()
        self._store.update_matches({match.number: values})
        return values

    def _describe_failure(self, match: WatchMatch, watch: Watch, error: Exception) -> dict[str, Any]:
        if isinstance(error, HvenError):
            text = str(error)
        else:
            text = f"{type(error).__name__}: {error}"
        parts = urlsplit(watch.webhook)
        for secret in (parts.path, parts.query):  # they may contain a key of the account
            if len(secret) > 1:
                text = text.replace(secret, "/..")
        reason = self._redactor.redact_text(" ".join(text.split()))[:300]
        log.warning("what the watch %s found could not be delivered: %s", watch.name, reason)
        now = time.time()
        is_old = match.at + MAX_FAILING_SECONDS < now  # the site may have been down for a week
        if is_permanent_delivery_error(error) or (is_old and match.attempts >= MIN_ATTEMPTS):
            return {"state": FAILED, "ended": now, "error": reason}
        pause_seconds = min(FIRST_RETRY_SECONDS * 2.0 ** (match.attempts - 1), MAX_RETRY_SECONDS)
        return {"due": now + pause_seconds, "error": reason}

    def _send_mail(self, match: WatchMatch, watch: Watch) -> None:
        choices = self._choice_store.find_choices(watch.account)
        if choices is None or not choices.confirmed or not choices.address:
            raise PermanentDeliveryError("the account has no confirmed e-mail address")
        sender = self._site.settings.alerts.mail_from or ""
        writer = MatchWriter(site=self._site, watch=watch, base_url=self._site.settings.site_url)
        send_mail(self._site.settings, writer.build_mail(match, sender, choices.address))

    def _call_webhook(self, match: WatchMatch, watch: Watch) -> None:
        """POST the document of a match, signed as `standard-webhooks` 1 describes it; redirects are not followed."""
        writer = MatchWriter(site=self._site, watch=watch, base_url=self._site.settings.site_url)
        body = json.dumps(writer.build_json(match), ensure_ascii=False).encode()
        timestamp = f"{time.time():.0f}"
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"Hven/{hven.__version__}",
            "webhook-id": match.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign_webhook(watch.build_webhook_secret(self._site.store), match.id, timestamp, body),
        }
        allow_private = self._settings.private_webhooks
        answer = send_post_within_time(watch.webhook, body, headers, allow_private=allow_private)
        if answer.status == 410:  # the receiver no longer exists, as standard-webhooks defines
            raise PermanentDeliveryError("the webhook returned status 410")
        if not 200 <= answer.status < 300:
            raise UserError(f"the webhook returned status {answer.status}")
