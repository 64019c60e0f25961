"""The settings of this package in hven.toml: ``[resolver]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import URL_PATTERN, SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NameResolverSettings:
    """Where names of objects are looked up."""

    table: str | None = define_setting(
        None,
        (
            "a table on this site that contains object names and their positions, as schema.table. Everybody can look "
            "up its public rows by name"
        ),
        pattern="^[^.\\s]+\\.[^.\\s]+$",
        example="a table such as 'sky.objects'",
    )
    columns: bool = define_setting(
        True,
        "whether Hven also finds names and aliases in public tables. Names are in columns with the UCD `meta.id;src`",
    )
    remote: bool = define_setting(
        False,
        (
            "true: Hven sends names that this site does not know to Sesame (CDS). By default, Hven sends nothing to "
            "other machines"
        ),
    )
    url: str = define_setting(
        "https://cds.unistra.fr/cgi-bin/nph-sesame",
        "address of Sesame, or of a mirror of it",
        pattern=URL_PATTERN,
        example="an address such as 'https://cds.unistra.fr/cgi-bin/nph-sesame'",
    )
    seconds: float = define_setting(10.0, "time limit in seconds of a request to Sesame", gt=0, le=60)
    keep_days: float = define_setting(
        30.0,
        (
            "number of days after which Hven asks Sesame again. Until then, it answers from a copy on its own disk. It "
            "remembers for up to a day that a name is unknown"
        ),
        ge=0,
        le=36500,
    )


RESOLVER_SECTION = SettingsSection(
    name="resolver",
    settings_class=NameResolverSettings,
    doc="where Hven looks up object names",
    previous_setting="jobs",
    example_text="""\
[resolver]
table = "names.objects"
columns = false
remote = true
url = "https://sesame.example.org/cgi-bin/nph-sesame"
seconds = 5
keep_days = 90
""",
)


def get_resolver_settings(settings: Settings) -> NameResolverSettings:
    """Return ``[resolver]``."""
    resolver_settings: NameResolverSettings = settings.brought.get("resolver", NameResolverSettings())
    return resolver_settings
