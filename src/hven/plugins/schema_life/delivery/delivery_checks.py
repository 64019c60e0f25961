"""List what CDS or AAS will miss in a delivery, what its files do not say, and rows that are not public.

``hven export`` does so, and ``hven check --for cds``: this module extends the core at the point ``check.deliveries``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import quote_table_name
from hven.model.errors import Fault, NotFoundError, SourceError, TextPlace, TooLargeError, UsageError
from hven.plugins.schema_life.delivery.byte_descriptions import to_ascii
from hven.plugins.schema_life.delivery.delivered_tables import (
    DEFAULT_MAX_WIDTH_BYTES,
    ExportDestination,
    TableExporter,
    UndeliverableTableError,
    select_delivered_tables,
)
from hven.query import run_query
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.schema_life.delivery.delivered_tables import DeliveredTable
    from hven.site import PublishedState, Site

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
            subject = f"1 value of {name} is" if count == 1 else f"{count:,} values of {name} are"
            yield f"{subject} infinite, which CDS refuses", "replace them with missing values"
        if delivered_column.label != name and not (delivered_column.part_title or delivered_column.has_role_label):
            yield f"{name} is called {delivered_column.label} in the file", "choose a name of at most 16 characters"
        if delivered_column.cells.changed_count:
            count = delivered_column.cells.changed_count
            subject = f"1 text of {name} is" if count == 1 else f"{count:,} texts of {name} are"
            message = f"{subject} changed: only ASCII is allowed, without blanks at the start or end"
            yield message, "replace these characters yourself if another spelling is better"


def find_private_row_faults(
    site: Site, published_state: PublishedState, delivered_tables: Sequence[DeliveredTable]
) -> list[Fault]:
    """Find the tables with rows or columns that anonymous users do not see.

    Parameters
    ----------
    site
        The site.
    published_state
        The state that is delivered.
    delivered_tables
        The tables, measured with all rows that the owner sees.

    Returns
    -------
    faults
        A warning for each such table.
    """
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES)
    public_tables = {table.qualified_name: table for table in catalogue.iterate_tables()}
    faults = []
    for delivered_table in delivered_tables:
        name = delivered_table.table.qualified_name
        public_table = public_tables.get(name)
        if public_table is None:
            hidden_count = delivered_table.row_count
        elif delivered_table.table.policy is not None:
            hidden_count = delivered_table.row_count - _count_public_rows(site, published_state, public_table)
        else:
            continue
        if hidden_count:
            message = f"{name}: anonymous users do not see {hidden_count:,} of the {delivered_table.row_count:,} rows"
            remedy = "export with --public to leave these rows out, unless you want to hand them over"
            faults.append(Fault(message=message, remedy=remedy, severity="warning"))
    return faults


def _count_public_rows(site: Site, published_state: PublishedState, table: Table) -> int:
    query = f"SELECT COUNT(*) AS n FROM {quote_table_name(table)}"
    with run_query(query, ANONYMOUS_PRINCIPAL, site=site, published_state=published_state) as result:
        return int(result.read_table()["n"][0].as_py())


def find_delivery_faults(site: Site, collection: str, destination: str) -> list[Fault]:
    """List what is missing from a delivery of a collection, and the columns that it cannot contain.

    Parameters
    ----------
    site
        The site.
    collection
        Name of the collection.
    destination
        Who gets the files: a value of `ExportDestination`.

    Returns
    -------
    faults
        Warnings, and an error for each table that cannot be written.

    Raises
    ------
    UsageError
        There is no such destination.
    """
    destinations = list(ExportDestination)
    if destination not in destinations:
        message = f"Hven does not know deliveries for {destination!r:.80}"
        raise UsageError(message, remedy=f"use --for with {' or '.join(destinations)}")
    state = site.get_published_state()
    catalogue = state.get_catalogue(OWNER_PRINCIPAL, DEFAULT_POLICIES)
    resource = state.resources.get(collection)
    try:
        tables = select_delivered_tables(collection, list(catalogue.iterate_tables()))
    except UsageError:
        tables = []
    needs_readme = destination == ExportDestination.CDS
    if resource is None or not tables:
        message = f"{collection} is not published, so the tables of its delivery cannot be checked"
        faults = [Fault(message=message, remedy=f"run `hven ingest {collection}`", severity="warning")]
        descriptor_state = site.read_descriptor(collection)
        if descriptor_state is not None and descriptor_state.resource is not None:
            faults += list_delivery_faults(descriptor_state.resource, [], needs_readme=needs_readme)
        return faults
    exporter = TableExporter(site, state, OWNER_PRINCIPAL)
    faults = []
    delivered_tables = []
    for table in tables:
        try:
            delivered_tables.append(exporter.measure_table(table, (), DEFAULT_MAX_WIDTH_BYTES))
        except UndeliverableTableError as error:
            faults += error.faults
        except (NotFoundError, SourceError, TooLargeError) as error:
            faults.append(Fault(message=error.message, remedy=error.remedy))
    faults += find_private_row_faults(site, state, delivered_tables)
    return faults + list_delivery_faults(resource, delivered_tables, needs_readme=needs_readme)
