"""The section ``[result_cache]`` of hven.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultCacheSettings:
    """How much memory the result cache may use."""

    bytes: int = define_setting(
        0,
        "memory that each process may use for answers, for example 32 MiB. Default: Hven caches no answers",
        ge=0,
        size=True,
    )


CACHE_SECTION = SettingsSection(
    name="result_cache",
    settings_class=ResultCacheSettings,
    doc="memory in which Hven keeps answers, to repeat them until the published data change",
    previous_setting="limits",
    example_text="""\
[result_cache]
bytes = "64 MiB"
""",
)


def get_result_cache_settings(settings: Settings) -> ResultCacheSettings:
    """Return the section ``[result_cache]``."""
    cache_settings: ResultCacheSettings = settings.brought.get(CACHE_SECTION.key, ResultCacheSettings())
    return cache_settings
