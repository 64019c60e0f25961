"""The settings of this package in ``[limits]`` of hven.toml: the size of archives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """Limits of one archive."""

    archive_files: int = define_setting(20_000, "maximum number of files in an archive", ge=1)
    archive_bytes: int = define_setting(
        100 * 1024**3, "maximum total size of the files in an archive, in bytes", ge=1, size=True
    )


ARCHIVE_LIMITS = SettingsSection(
    name="limits",
    part="archives",
    settings_class=ArchiveLimits,
    example_text="""\
[limits]
archive_files = 5000
archive_bytes = "20 GiB"
""",
)


def get_archive_limits(settings: Settings) -> ArchiveLimits:
    """Return the settings of this package in ``[limits]``."""
    limits: ArchiveLimits = settings.brought.get(ARCHIVE_LIMITS.key, ArchiveLimits())
    return limits
