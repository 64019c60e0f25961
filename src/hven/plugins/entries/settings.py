"""The settings of this package in hven.toml: ``[citations]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import URL_PATTERN, SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationSettings:
    """From where Hven knows the titles of the works that comments and entries cite."""

    token: str | None = define_setting(
        None,
        (
            "$NAME, where the secret NAME contains a token of the ADS interface. Without a token, Hven sends nothing "
            "to ADS, and shows bibcodes without titles"
        ),
        pattern="^\\$[A-Za-z_][A-Za-z0-9_]*$",
        example="'$NAME' of a secret",
    )
    url: str = define_setting(
        "https://api.adsabs.harvard.edu/v1/search/query",
        "address of the search of ADS, or of a mirror of it",
        pattern=URL_PATTERN,
        example="an address such as 'https://api.adsabs.harvard.edu/v1/search/query'",
    )
    seconds: float = define_setting(10.0, "time limit in seconds of a request to ADS", gt=0, le=60)


CITATIONS_SECTION = SettingsSection(
    name="citations",
    settings_class=CitationSettings,
    doc="where Hven asks for the titles of cited works",
    previous_setting="resolver",
    example_text="""\
[citations]
token = "$ADS_TOKEN"
url = "https://ads.example.org/v1/search/query"
seconds = 5
""",
)


def get_citation_settings(settings: Settings) -> CitationSettings:
    """Return ``[citations]``.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    citation_settings: CitationSettings = settings.brought.get(CITATIONS_SECTION.key, CitationSettings())
    return citation_settings
