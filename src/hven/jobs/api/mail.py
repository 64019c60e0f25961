"""Send mail by the mail server of the section ``[alerts]``."""

from __future__ import annotations

from hven.jobs._alert_delivery import send_mail
from hven.jobs._redaction import SecretRedactor

__all__ = ["SecretRedactor", "send_mail"]
