"""List what a delivery of published tables lacks, for ``hven check --for cds``.

This module extends the core at the point ``check.deliveries``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import Fault, NotFoundError, SourceError, TooLargeError, UsageError
from hven.plugins.schema_life.delivery.delivered_tables import (
    TableExporter,
    UndeliverableTableError,
    select_delivered_tables,
)
from hven.plugins.schema_life.delivery.delivery_checks import list_delivery_faults
from hven.plugins.schema_life.delivery.export_verb import DEFAULT_MAX_WIDTH_BYTES, ExportDestination
from hven.plugins.schema_life.delivery.private_rows import find_private_row_faults
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL

if TYPE_CHECKING:
    from hven.site import Site


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
