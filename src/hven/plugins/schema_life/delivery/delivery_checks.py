"""List what CDS or AAS will miss in a delivery, and what its files do not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import Fault, TextPlace
from hven.plugins.schema_life.delivery.byte_descriptions import to_ascii

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.resource import CollectionSpec
    from hven.plugins.schema_life.delivery.delivered_tables import DeliveredTable

MIN_ABSTRACT_CHARACTERS = 100


def list_delivery_faults(
    resource: CollectionSpec, delivered_tables: Sequence[DeliveredTable], *, needs_readme: bool
) -> list[Fault]:
    """List what is missing or changed.

    Parameters
    ----------
    resource
        The collection.
    delivered_tables
        Its tables, after they were measured.
    needs_readme
        Whether the delivery has a ReadMe, with an abstract and keywords.

    Returns
    -------
    faults
        Warnings; each has a remedy.
    """
    place = TextPlace(file=str(resource.path))
    faults = [
        Fault(message=message, place=place, remedy=remedy, severity="warning")
        for message, remedy in _find_missing_keys(resource, needs_readme=needs_readme)
    ]
    for delivered_table in delivered_tables:
        table_name = delivered_table.table.qualified_name
        for message, remedy in _find_column_faults(delivered_table):
            faults.append(Fault(message=f"{table_name}: {message}", place=place, remedy=remedy, severity="warning"))
    return faults


def _find_missing_keys(resource: CollectionSpec, *, needs_readme: bool) -> Iterator[tuple[str, str]]:
    if not resource.creators:
        yield "there are no authors", "write `creators:`"
    if not needs_readme:
        return
    if len(resource.description or "") < MIN_ABSTRACT_CHARACTERS:
        yield "there is no abstract, or it is too short", "write `description:`"
    if not resource.bibcode and not resource.doi:
        yield "the paper is not named", "write `bibcode:` or `doi:`"
    if not resource.citation:
        yield "the reference of the paper is missing", "write `citation:`"
    if not resource.subjects:
        yield "there are no keywords", "write `subjects:`"
    if resource.contact is None:
        yield "there is no contact", "write `contact:`"


def _find_column_faults(delivered_table: DeliveredTable) -> Iterator[tuple[str, str]]:
    if not delivered_table.row_count:
        yield "the table has no rows", "ingest the collection"
    for delivered_column in delivered_table.columns:
        column = delivered_column.column
        name = column.name
        if not column.description:
            yield f"{name} has no description", f"write `description:` of {name}"
        elif to_ascii(column.description) != " ".join(str(column.description).split()):
            yield f"the description of {name} is changed to ASCII", "write it in ASCII"
        if delivered_column.unit is None:
            yield f"CDS has no unit {column.unit!r}; the explanation of {name} names the unit", "convert the values"
        if delivered_column.cells.infinite_count:
            count = delivered_column.cells.infinite_count
            yield f"{count:,} values of {name} are infinite, which CDS refuses", "replace them with missing values"
        if delivered_column.label != name and not (delivered_column.part_title or delivered_column.has_role_label):
            yield f"{name} is called {delivered_column.label} in the file", "choose a name of at most 16 characters"
        if delivered_column.cells.changed_count:
            count = delivered_column.cells.changed_count
            message = (
                f"{count:,} texts of {name} are changed: only ASCII is allowed, without blanks at the start or end"
            )
            yield message, "replace these characters yourself if another spelling is better"
