"""The section ``[notifications]`` of hven.toml. The mail server is that of the section ``[alerts]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import Fault, SourceError, TextPlace
from hven.model.settings import SETTINGS_FILE, SettingsSection, define_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """How accounts are told what happened."""

    mail: bool = define_setting(
        False,
        "true: users can get mail. Hven sends it through the mail server in [alerts] (smtp_host, smtp_port, smtp_tls, "
        "smtp_user, smtp_password), from the address mail_from",
    )
    webhooks: bool = define_setting(False, "true: users can get messages through a webhook")
    private_webhooks: bool = define_setting(
        False,
        "true: webhooks may use http, and may have addresses in the local network. Default: webhooks need https and "
        "a public address",
    )
    per_hour: int = define_setting(500, "maximum number of messages to all accounts in an hour", ge=1)
    per_account: int = define_setting(30, "maximum number of messages to one account in an hour", ge=1)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that accounts can choose."""
        enabled = {"mail": self.mail, "webhook": self.webhooks}
        return tuple(name for name, is_enabled in enabled.items() if is_enabled)


NOTIFICATIONS_SECTION = SettingsSection(
    name="notifications",
    settings_class=NotificationSettings,
    doc="how users learn what happened",
    previous_setting="alerts",
    example_text="""\
[notifications]
mail = true
webhooks = true
private_webhooks = false
per_hour = 500
per_account = 30
""",
)


def get_notification_settings(settings: Settings) -> NotificationSettings:
    """Return the section ``[notifications]``."""
    section: NotificationSettings = settings.brought.get(NOTIFICATIONS_SECTION.key, NotificationSettings())
    return section


def find_settings_faults(settings: Settings) -> Iterator[Fault]:
    """Find what is missing for mail and webhooks.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    place = TextPlace(file=str(settings.directory / SETTINGS_FILE))
    section = get_notification_settings(settings)
    alerts = settings.alerts
    if section.channels and not settings.public_url:
        yield Fault(
            message="the links in notifications need the address of the site",
            place=place,
            remedy="set public_url",
            severity="warning",
        )
    if not section.mail:
        return
    missing_names = [name for name in ("smtp_host", "mail_from") if not getattr(alerts, name)]
    if missing_names:
        names = " and ".join(f"alerts.{name}" for name in missing_names)
        yield Fault(message=f"notifications.mail needs {names}", place=place, remedy=f"set {names}")
    if alerts.smtp_password is None:
        return
    if alerts.smtp_tls == "none":
        yield Fault(
            message="Hven never sends the password of the mail server without TLS, so it sends no mail",
            place=place,
            remedy='set alerts.smtp_tls to "starttls" or "tls"',
        )
    try:
        settings.resolve_secret_address(alerts.smtp_password)
    except SourceError as error:
        yield Fault(message=error.message, place=place, remedy=error.remedy)
