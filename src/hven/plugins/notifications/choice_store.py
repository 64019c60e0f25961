"""What accounts chose: addresses, and a channel for each kind of event. Links to change it are signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.plugins.notifications.store_tables import notification_choices, notification_events, notification_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.site.api.store_tables import StateDatabase
    from hven.site.store import StateStore

MAIL, WEBHOOK, NONE = "mail", "webhook", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChoices:
    """What an account chose.

    Attributes
    ----------
    account
        Name of the account.
    address
        Address of mail; empty: none.
    confirmed
        Whether the account reads the mail to this address.
    webhook
        Address of the webhook; empty: none.
    problem
        Why Hven no longer calls the webhook; empty: it does.
    nonce
        Part of what signed links and the secret of the webhook are made from.
    language
        Language of messages.
    channels
        Kind of events -> channel.
    digests
        Kind of events -> day of the last digest.
    """

    account: str
    address: str = ""
    confirmed: bool = False
    webhook: str = ""
    problem: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    language: str = "en"
    channels: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def find_reachable_channel(self, kind: str) -> str:
        """Return the channel by which events of a kind can reach the account now."""
        channel = self.channels.get(kind, NONE)
        is_reachable = {MAIL: bool(self.address) and self.confirmed, WEBHOOK: bool(self.webhook) and not self.problem}
        if is_reachable.get(channel):
            return channel
        return NONE

    def sign_words(self, store: StateStore, *words: str) -> str:
        """Sign words for this account, in letters for addresses."""
        return self._compute_digest(store, *words).hex()[:40]

    def is_signature_valid(self, store: StateStore, signature: str, *words: str) -> bool:
        """Return whether a signature belongs to some words; the comparison takes the same time either way."""
        return hmac.compare_digest(self.sign_words(store, *words).encode(), signature.encode("utf-8", "replace"))

    def build_webhook_secret(self, store: StateStore) -> str:
        """Build the secret with which Hven signs calls of the webhook."""
        return f"whsec_{base64.b64encode(self._compute_digest(store, 'webhook')).decode()}"

    def _compute_digest(self, store: StateStore, *words: str) -> bytes:
        text = json.dumps(["notifications", self.account, self.nonce, *words])
        return hmac.digest(store.get_site_secret(), text.encode(), hashlib.sha256)


class ChoiceStore:
    """The choices of all accounts of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_choices(self, account: str) -> AccountChoices | None:
        """Find what an account chose; None: nothing yet."""
        query = sa.select(notification_choices).where(notification_choices.c.account == account)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return _choices_from_row(row)

    def list_choices(self) -> list[AccountChoices]:
        """List the choices of all accounts."""
        query = sa.select(notification_choices).order_by(notification_choices.c.account)
        with self._database.begin_read() as connection:
            return [_choices_from_row(row) for row in connection.execute(query)]

    def change_choices(self, account: str, change: Callable[[AccountChoices], AccountChoices]) -> AccountChoices:
        """Change what an account chose, in one transaction, and return it.

        Parameters
        ----------
        account
            The account.
        change
            Returns the new choices; it gets those of now.
        """
        is_own = notification_choices.c.account == account
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(notification_choices).where(is_own)).first()
            if row is None:
                old_choices = AccountChoices(account=account)
            else:
                old_choices = _choices_from_row(row)
            choices = change(old_choices)
            if row is None:
                connection.execute(sa.insert(notification_choices).values(_choices_to_row(choices)))
            elif choices != old_choices:
                connection.execute(sa.update(notification_choices).where(is_own).values(_choices_to_row(choices)))
        return choices

    def store_channel_choice(self, account: str, kind: str, channel: str) -> None:
        """Choose the channel of a kind of events for an account."""
        self.change_choices(account, lambda old: replace(old, channels={**old.channels, kind: channel}))

    def remove_account(self, account: str) -> None:
        """Delete what an account chose, and its messages."""
        with self._database.begin_write() as connection:
            if not sa.inspect(connection).has_table(notification_choices.name):
                return
            connection.execute(sa.delete(notification_choices).where(notification_choices.c.account == account))
            connection.execute(sa.delete(notification_messages).where(notification_messages.c.account == account))
            quoted_account = json.dumps(account)
            names_account = notification_events.c.accounts == f"[{quoted_account}]"
            connection.execute(sa.delete(notification_events).where(names_account))


def _choices_to_row(choices: AccountChoices) -> dict[str, Any]:
    values = {item.name: getattr(choices, item.name) for item in fields(choices)}
    json_texts = {name: json.dumps(dict(values[name])) for name in ("channels", "digests")}
    return {**values, **json_texts, "confirmed": int(choices.confirmed)}


def _choices_from_row(row: Any) -> AccountChoices:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's name of the mapping of a row)
    json_values = {name: json.loads(values[name]) for name in ("channels", "digests")}
    return AccountChoices(**{**values, **json_values, "confirmed": bool(values["confirmed"])})
