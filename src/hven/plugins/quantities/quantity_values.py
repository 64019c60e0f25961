"""Describe the quantities of rows for pages: value, error, bounds, origin and confidence together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import quote_adql_name
from hven.plugins.quantities.quantity_columns import CONFIDENCE_WORDS
from hven.plugins.quantities.quantity_section_keys import ORIGINS_KEY
from hven.portal.api.table_rows import build_column_headings, format_cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import ColumnGroup, Table
    from hven.plugins.quantities.quantity_keys import QuantityOrigin
    from hven.portal.api.page_rows import RowPage
    from hven.portal.api.table_rows import TableView, TextCell

OTHER_CONFIDENCE_WORDS = {"no": "none"}  # of code lists that other programs write
ERROR_ROLES = ("error", "lower", "upper")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownQuantity:
    """A quantity of a row, as pages show it.

    Attributes
    ----------
    name, label, unit, description
        Name and heading of the value, its unit, and what it means.
    value, href
        The value as text, empty if there is none, and its link.
    error, lower, upper
        The error and the bounds as texts; empty: there are none.
    origin, reference, url
        Where the value comes from, and the reference with its address.
    confidence, level
        The confidence in words, and its level in `CONFIDENCE_WORDS`; empty: there is none, or it has other words.
    """

    name: str
    label: str
    unit: str = ""
    description: str = ""
    value: str = ""
    href: str = ""
    error: str = ""
    lower: str = ""
    upper: str = ""
    origin: str = ""
    reference: str = ""
    url: str = ""
    confidence: str = ""
    level: str = ""


def list_quantity_groups(table: Table) -> list[ColumnGroup]:
    """List the groups of a table that have a value and its error, bounds, origin or confidence.

    Parameters
    ----------
    table
        Table as the user sees it.
    """
    names = {column.name for column in table.columns if not column.hidden}
    return [
        group
        for group in table.groups
        if group.roles.get("value") in names and any(role != "value" for role in group.roles)
    ]


def describe_rows(table_view: TableView, page: RowPage) -> list[list[ShownQuantity]]:
    """Describe the values of rows: quantities in place of their columns, and the other columns as they are.

    Parameters
    ----------
    table_view
        The table, as the user sees it.
    page
        The rows, with all columns.

    Returns
    -------
    rows
        What each row shows, in the order of the columns.
    """
    table = table_view.table
    groups = list_quantity_groups(table)
    groups_by_value = {group.roles["value"]: group for group in groups}
    member_names = {name for group in groups for role, name in group.roles.items() if role != "value"}
    # error and bounds have the unit of the value, although their numbers may suggest smaller units
    same_units = [
        (group.roles[role], table.find_column(group.roles[role]).unit or "")
        for group in groups
        for role in ("value", *ERROR_ROLES)
        if role in group.roles and any(column.name == group.roles[role] for column in page.columns)
    ]
    headings = build_column_headings(page, table, same_units, labels=table_view.labels)
    origins: Mapping[str, QuantityOrigin] = table.extensions.get(ORIGINS_KEY, {})
    rows = []
    for cells in format_cells(page, table, same_units, is_full=True, labels=table_view.labels):
        cells_by_name = {heading.column.name: cell for heading, cell in zip(headings, cells, strict=True)}
        shown_values = []
        for heading in headings:
            column = heading.column
            if column.name in member_names and column.name not in groups_by_value:
                continue
            cell = cells_by_name[column.name]
            facts = {"name": column.name, "label": heading.label, "unit": heading.unit}
            facts |= {"description": column.description or ""}
            if cell is not None:
                facts |= {"value": cell.text, "href": cell.href}
                if column.name in groups_by_value:
                    facts |= _describe_members(groups_by_value[column.name], cells_by_name, origins)
            shown_values.append(ShownQuantity(**facts))
        rows.append(shown_values)
    return rows


def _describe_members(
    group: ColumnGroup, cells_by_name: Mapping[str, TextCell | None], origins: Mapping[str, QuantityOrigin]
) -> dict[str, str]:
    """Describe error, bounds, origin and confidence of a value."""
    cells = {role: cells_by_name.get(name) for role, name in group.roles.items()}
    facts = {role: cell.text for role in ERROR_ROLES if (cell := cells.get(role)) is not None}
    confidence = cells.get("confidence")
    if confidence is not None:
        word = confidence.text.lower()
        level = OTHER_CONFIDENCE_WORDS.get(word, word)
        facts |= {"confidence": confidence.text, "level": level if level in CONFIDENCE_WORDS else ""}
    origin = cells.get("origin")
    if origin is not None:
        source = origins.get(origin.title or origin.text)
        facts |= {"origin": origin.text if source is None else source.title}
        if source is not None:
            facts |= {"reference": source.reference, "url": source.url}
        elif origin.href:
            facts |= {"url": origin.href}
    return facts


def write_quantity_query(table_view: TableView, group: ColumnGroup) -> tuple[Sequence[str], str]:
    """Return the columns that select a quantity together with the key of the rows, and the query.

    Parameters
    ----------
    table_view
        The table.
    group
        The group of the quantity.
    """
    names = list(dict.fromkeys([*table_view.table.primary, *group.roles.values()]))
    columns = ", ".join(map(quote_adql_name, names))
    return names, f"SELECT TOP 100 {columns} FROM {table_view.quoted_name}"
