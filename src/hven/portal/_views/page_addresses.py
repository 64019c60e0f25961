"""Build the addresses of the pages of tables, for tables of any name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from hven.model.table import Table

# other resources below the address of a collection
RESERVED_NAMES = frozenset(
    {
        "as",
        "files",
        "cube",
        "descriptor",
        "headers",
        "hips",
        "preview",
        "changes.atom",
        "changes.rss",
        "cite",
        "columns",
        "downloads",
        "releases",
    }
)
_ESCAPE_PATTERN = re.compile(r"~([~-])")


def build_table_address(base: str, table: Table) -> str:
    """Build the address of a table's page; each name is one segment of the path.

    A name of another resource (``/collections/NAME/files``), or with a special meaning in paths, is put between tildes.

    Parameters
    ----------
    base
        Address of the site or the portal.
    table
        The table.

    Returns
    -------
    address
        The address, without parameters.
    """
    name = table.name
    if name in RESERVED_NAMES or name.endswith(".json") or set(name) & set("~/") or not name.strip("."):
        name = f"~{name.replace('~', '~~').replace('/', '~-')}~"
    return f"{base}/collections/{quote(table.schema, safe='')}/{quote(name, safe='')}"


def build_table_path(table: Table) -> str:
    """Return the path of a table below ``/collections/``.

    Parameters
    ----------
    table
        The table.
    """
    return build_table_address("", table).removeprefix("/collections/")


def parse_table_name_from_address(text: str) -> str:
    """Read the name of a table from the last segment of its address."""
    text = text.removesuffix(".json")
    if len(text) < 3 or text[0] != "~" or text[-1] != "~":
        return text
    return _ESCAPE_PATTERN.sub(lambda escape: escape[1].replace("-", "/"), text[1:-1])
