"""The settings of this package in ``[files]`` of hven.toml: the size of the store of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCacheSettings:
    """Pictures of files."""

    pictures: int = define_setting(
        512 * 1024**2,
        (
            "maximum total size of the pictures in var/previews, in bytes. Hven deletes the least recently used "
            "pictures first"
        ),
        ge=1024**2,
        size=True,
    )


PICTURE_CACHE_SETTINGS = SettingsSection(
    name="files",
    part="previews",
    settings_class=PictureCacheSettings,
    example_text="""\
[files]
pictures = "5 GiB"
""",
)


def get_picture_cache_settings(settings: Settings) -> PictureCacheSettings:
    """Return the settings of this package in ``[files]``."""
    cache_settings: PictureCacheSettings = settings.brought.get(PICTURE_CACHE_SETTINGS.key, PictureCacheSettings())
    return cache_settings
