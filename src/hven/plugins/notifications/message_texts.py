"""Write messages to accounts in their language: mail as plain text, and documents for webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.jobs.api.mail import SecretRedactor
from hven.model.errors import format_message
from hven.plugins.notifications.event_kinds import load_event_kinds
from hven.plugins.notifications.mails import create_mail
from hven.plugins.notifications.outbox import CONFIRMATION_KIND
from hven.portal.api.pages import get_message_translator, load_page_translations

if TYPE_CHECKING:
    from email.message import EmailMessage

    from hven.plugins.notifications.choice_store import AccountChoices
    from hven.plugins.notifications.outbox import OutboxMessage
    from hven.site import Site

PAGE_PATH = "/notifications"
MAX_LINES, MAX_LINE_CHARACTERS = 200, 500


class MessageWriter:
    """Write the messages of a site. Secrets of the site are replaced in all of them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = site.settings
        self._redactor = SecretRedactor(site.settings.directory)

    def build_signed_url(self, choices: AccountChoices, action: str, word: str) -> str:
        """Build the address of a page that acts for an account without a log-in.

        Parameters
        ----------
        choices
            What the account chose.
        action
            ``unsubscribe`` or ``confirm``.
        word
            The kind of event, or the address.
        """
        signature = choices.sign_words(self._site.store, action, word)
        query = urlencode({"account": choices.account, "word": word, "signature": signature})
        return f"{self._settings.site_url}{PAGE_PATH}/{action}?{query}"

    def build_mail(self, message: OutboxMessage, choices: AccountChoices) -> EmailMessage:
        """Build a mail.

        Parameters
        ----------
        message
            The message.
        choices
            What the account chose.
        """
        kind = message.event.kind
        text = self._translate_message_text(message, choices)
        site_name = self._settings.title or self._settings.name
        mail = create_mail(self._settings.alerts.mail_from or "", choices.address, f"[{site_name}] {text}")
        mail["Message-ID"] = f"<{message.message_id}@{(self._settings.alerts.mail_from or '').rpartition('@')[2]}>"
        lines = [text, "", *self._list_message_lines(message)]
        if kind == CONFIRMATION_KIND:
            lines += [self.build_signed_url(choices, "confirm", choices.address)]
        elif message.event.path:
            lines += [f"{self._settings.site_url}{message.event.path}"]
        if kind != CONFIRMATION_KIND:
            unsubscribe_url = self.build_signed_url(choices, "unsubscribe", kind)
            mail["List-Unsubscribe"] = f"<{unsubscribe_url}>"
            if unsubscribe_url.startswith("https:"):  # RFC 8058, section 3.1
                mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
            lines += ["", "-- ", *self._list_footer_lines(choices, kind, unsubscribe_url)]
        mail.set_content("\n".join(lines) + "\n", charset="utf-8")
        return mail

    def _list_footer_lines(self, choices: AccountChoices, kind: str, unsubscribe_url: str) -> list[str]:
        translate = get_message_translator(choices.language)
        titles = load_page_translations(choices.language)
        title = kind
        if kind in load_event_kinds():
            title = load_event_kinds()[kind].title
        site_url = f"{self._settings.site_url}{PAGE_PATH}"
        return [
            translate(format_message("You get this mail because you chose: {title}", titles.get(title, title))),
            translate(format_message("To stop these mails: {url}", unsubscribe_url)),
            translate(format_message("All your choices: {url}", site_url)),
        ]

    def build_webhook_document(self, message: OutboxMessage, choices: AccountChoices) -> dict[str, Any]:
        """Build the JSON document for a webhook.

        Parameters
        ----------
        message
            The message.
        choices
            What the account chose.
        """
        event = message.event
        return {
            "type": event.kind,
            "timestamp": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "data": {
                "account": choices.account,
                "message": self._translate_message_text(message, choices),
                "lines": self._list_message_lines(message),
                "url": f"{self._settings.site_url}{event.path}" if event.path else "",
            },
        }

    def _translate_message_text(self, message: OutboxMessage, choices: AccountChoices) -> str:
        text = get_message_translator(choices.language)(message.event.message)
        return " ".join(self._redactor.redact_text(text).split())

    def _list_message_lines(self, message: OutboxMessage) -> list[str]:
        lines = [" ".join(line.split())[:MAX_LINE_CHARACTERS] for line in message.event.lines[:MAX_LINES]]
        return [self._redactor.redact_text(line) for line in lines]
