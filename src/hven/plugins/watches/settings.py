"""The section ``[watches]`` of hven.toml. The channels are those of the section ``[notifications]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """How much accounts can watch."""

    per_account: int = define_setting(100, "maximum number of watches of one account", ge=0)
    targets: int = define_setting(10_000, "maximum number of targets, or of rows, of one watch", ge=1)


WATCHES_SECTION = SettingsSection(
    name="watches",
    settings_class=WatchSettings,
    doc="how much users can watch",
    previous_setting="notifications",
    example_text="""\
[watches]
per_account = 100
targets = 10_000
""",
)


def get_watch_settings(settings: Settings) -> WatchSettings:
    """Return the section ``[watches]``."""
    section: WatchSettings = settings.brought.get(WATCHES_SECTION.key, WatchSettings())
    return section
