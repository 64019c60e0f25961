"""The section ``[compare]`` of hven.toml: schemas of other servers that the site reads on a schedule."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import Fault, TextPlace
from hven.model.settings import SETTINGS_FILE, URL_PATTERN, SettingsSection, define_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.settings import Settings


COPIES_FOLDER = "schema-copies"  # in the data directory of the site


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings:
    """Which schemas of other servers everybody can compare."""

    addresses: tuple[str, ...] = define_setting(
        (),
        "addresses of services and files whose schemas the page /compare shows to everybody, beside the collections",
        example="a list of addresses such as ['https://archive.example/tap#public.*']",
    )
    refresh_hours: float = define_setting(
        24.0, "number of hours after which Hven reads these schemas again", ge=0.25, le=8760
    )


COMPARE_SECTION = SettingsSection(
    name="compare",
    settings_class=CompareSettings,
    doc="schemas of other servers that Hven reads on a schedule",
    previous_setting="data",
    example_text="""\
[compare]
addresses = ["https://archive.example/tap#public.*", "https://vo.example/getstar.vot"]
refresh_hours = 24
""",
)


def get_compare_settings(settings: Settings) -> CompareSettings:
    """Return the section ``[compare]``.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    section: CompareSettings = settings.brought.get(COMPARE_SECTION.key, CompareSettings())
    return section


def find_address_faults(settings: Settings) -> Iterator[Fault]:
    """Find texts in ``[compare]`` that are no addresses.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    for address in get_compare_settings(settings).addresses:
        if not re.match(URL_PATTERN, address):
            place = TextPlace(file=str(settings.directory / SETTINGS_FILE))
            message = f"compare.addresses: {address!r:.200} is not a web address"
            yield Fault(message=message, place=place, remedy="write an address such as https://archive.example/tap")
