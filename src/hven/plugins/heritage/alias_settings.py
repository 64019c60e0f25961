"""The setting ``[[alias]]``: old addresses that the site answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from hven.model.settings import SettingsSection, build_setting_metadata, define_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import Field

    from hven.model.settings import Settings

QUERY_PATH = "/tap/sync"  # the only address that an alias with a query can have


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAlias:
    """An old address answered by one of our faces: ``[[alias]]`` with `path`, `to` and renamed or fixed parameters.

    `query` is ADQL for ``/tap/sync``; `where` has the condition that each old parameter becomes in it, with ``?`` for
    its value.
    """

    path: str = field(
        metadata=build_setting_metadata(
            (
                "the old path, for example /cs/scs.xml. If it ends in `/*`, it matches all paths below it, for "
                "example `/old/data/*` or `ftp://ftp.example.org/pub/*`"
            ),
            pattern=r"^(/|ftp://[^\s?#*]+/\*$)",
            example="a path that begins with '/', or ftp://host/path/*",
        )
    )
    to: str = field(
        metadata=build_setting_metadata(
            (
                "the path to which the old path leads, for example `/cone/stars.main`, `/collections/stars/files/*` or "
                "`/push/oidb.links?granule=*`"
            ),
            pattern="^/",
            example="a path that begins with '/'",
        )
    )
    rename: Mapping[str, str] = define_setting(dict, "the new name of each old parameter")
    set: Mapping[str, str] = define_setting(dict, "parameters that Hven adds to a request that does not have them")
    query: str | None = define_setting(
        None,
        (
            "ADQL query that /tap/sync runs for a request to the old path. Hven replaces {where} with the conditions "
            "of the request's parameters"
        ),
    )
    where: Mapping[str, Annotated[str, Field(pattern="\\?")]] = define_setting(
        dict,
        ("the condition for each old parameter, in which ? is the parameter's value, for example date_updated >= ?"),
    )


def _find_misplaced_query_keys(alias: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find queries for services other than TAP, and conditions without a query."""
    query = alias.get("query")
    if query is not None and alias.get("to") != QUERY_PATH:
        yield "query", f"needs `to = '{QUERY_PATH}'`"
    elif query is None and alias.get("where"):
        yield "where", "needs a `query`, which is missing"


ALIAS_SECTION = SettingsSection(
    name="alias",
    settings_class=AddressAlias,
    doc="old addresses that this site answers",
    is_repeated=True,
    previous_setting="surveys",
    template_text="""\
# [[alias]]               # an old address that scripts still use
# path = "/old/scs.xml"
# to = "/cone/stars.main"
""",
    example_text="""\
[[alias]]
path = "/stars/q/cone/scs.xml"
to = "/cone/stars.main"
rename = {max = "MAXREC"}
set = {VERB = "2"}

[[alias]]
path = "/search.votable"
to = "/tap/sync"
query = "SELECT * FROM stars.main WHERE {where}"
where = {updated_from = "date_updated >= ?"}
""",
    find_faults=_find_misplaced_query_keys,
)


def list_address_aliases(settings: Settings) -> tuple[AddressAlias, ...]:
    """Return the aliases of the site."""
    aliases: tuple[AddressAlias, ...] = settings.brought.get(ALIAS_SECTION.key, ())
    return aliases
