"""The settings of this package in hven.toml: ``[doi]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import URL_PATTERN, SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DoiSettings:
    """Where this site has its DOIs registered: DataCite's REST interface. ``[doi]``."""

    prefix: str | None = define_setting(
        None,
        ("the prefix that DataCite assigned to the repository, for example 10.5072"),
        pattern=r"^10\.[0-9]{4,9}$",
        example="10.xxxx",
    )
    repository: str | None = define_setting(
        None,
        "identifier of the repository at DataCite, for example IDOC.PSUP",
        pattern=r"^[A-Za-z0-9]+\.[A-Za-z0-9]+$",
        example="PROVIDER.NAME",
    )
    password: str | None = define_setting(
        None,
        (
            "$NAME, where the secret NAME contains the repository's password. Hven sends the password only over TLS, "
            "or to its own machine"
        ),
        pattern="^\\$[A-Za-z_][A-Za-z0-9_]*$",
        example="'$NAME' of a secret",
    )
    endpoint: str = define_setting(
        "https://api.datacite.org",
        "address of the DataCite API. For tests, use https://api.test.datacite.org",
        pattern=URL_PATTERN,
        example="an address such as 'https://api.test.datacite.org'",
    )
    seconds: float = define_setting(30.0, "time limit in seconds of a request to DataCite", gt=0, le=600)
    suffix: str = define_setting(
        "",
        (
            "beginning of the suffix of each DOI, for example psup/. The rest of the suffix consists of the "
            "collection's name and the release"
        ),
        pattern=r"^[A-Za-z0-9._/-]*$",
        example="letters, digits and . _ - /",
    )


DOI_SECTION = SettingsSection(
    name="doi",
    settings_class=DoiSettings,
    doc="where DOIs are registered (`hven doi`)",
    previous_setting="registry",
    example_text="""\
[doi]
prefix = "10.5072"
repository = "IDOC.PSUP"
password = "$DATACITE_PASSWORD"
endpoint = "https://api.test.datacite.org"
seconds = 60
suffix = "psup/"
""",
)


def get_doi_settings(settings: Settings) -> DoiSettings:
    """Return ``[doi]``."""
    doi_settings: DoiSettings = settings.brought.get("doi", DoiSettings())
    return doi_settings
