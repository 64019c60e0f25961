"""The section ``[cited_results]`` of hven.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationCheckSettings:
    """How much work cited queries may make."""

    processor_share: float = define_setting(
        0.25, "share of the time in which cited queries are repeated, of one processor", gt=0, le=1
    )


CITATIONS_SECTION = SettingsSection(
    name="cited_results",
    settings_class=CitationCheckSettings,
    doc="how much work cited queries may make",
    previous_setting="results",
    example_text="""\
[cited_results]
processor_share = 0.25
""",
)


def get_citation_check_settings(settings: Settings) -> CitationCheckSettings:
    """Return the section ``[cited_results]``."""
    section: CitationCheckSettings = settings.brought.get(CITATIONS_SECTION.key, CitationCheckSettings())
    return section
