"""Create mails: no value becomes a header, and no address in a header is folded."""

from __future__ import annotations

from email.headerregistry import HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any

MAX_SUBJECT_CHARACTERS = 200


class _UnfoldedHeader(UnstructuredHeader):
    """A header with an address, which may not be folded: programs read it as it is."""

    def fold(self, *, policy: Any) -> str:
        header: Any = self
        return f"{header.name}: {header}{policy.linesep}"


def _create_mail_policy() -> Any:
    header_registry = HeaderRegistry()
    header_class: Any = _UnfoldedHeader
    header_registry.map_to_type("list-unsubscribe", header_class)
    return SMTP.clone(header_factory=header_registry)


MAIL_POLICY = _create_mail_policy()


def create_mail(sender: str, recipient: str, subject: str) -> EmailMessage:
    """Create a mail without content; a subject of several lines becomes one line.

    Parameters
    ----------
    sender, recipient
        Addresses.
    subject
        The subject.
    """
    mail = EmailMessage(policy=MAIL_POLICY)
    words = "".join(letter if letter.isprintable() else " " for letter in subject).split()
    mail["Subject"] = " ".join(words)[:MAX_SUBJECT_CHARACTERS]
    mail["From"] = sender
    mail["To"] = recipient
    mail["Date"] = formatdate()
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office programs do not answer it
    return mail
