"""Addresses of tables' pages, for tables of any name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from hven.model.table import Table

# what stands below a collection beside its tables
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
    """Return the address of a table's page: its names are one part of the path each, whatever their letters are.

    A name that stands for something else there (``/collections/NAME/files``), or that has a meaning in a path, goes
    between tildes.
    """
    name = table.name
    if name in RESERVED_NAMES or name.endswith(".json") or set(name) & set("~/") or not name.strip("."):
        name = f"~{name.replace('~', '~~').replace('/', '~-')}~"
    return f"{base}/collections/{quote(table.schema, safe='')}/{quote(name, safe='')}"


def build_table_path(table: Table) -> str:
    """Return how addresses name a table below ``/collections/``."""
    return build_table_address("", table).removeprefix("/collections/")


def parse_table_name(text: str) -> str:
    """Read the last part of such an address: the name of a table."""
    text = text.removesuffix(".json")
    if len(text) < 3 or text[0] != "~" or text[-1] != "~":
        return text
    return _ESCAPE_PATTERN.sub(lambda found: "~" if found[1] == "~" else "/", text[1:-1])
