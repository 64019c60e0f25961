"""Describe the schemas of collections that a site publishes, without the modules that read documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import NotFoundError
from hven.plugins.schema_life.described_columns import describe_own_model, describe_tables
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL

if TYPE_CHECKING:
    from hven.plugins.schema_life.described_columns import ComparedSchema
    from hven.site import Site


def describe_published_model(name: str, site: Site) -> ComparedSchema:
    """Describe a collection or tables of a site as its owner sees them; see `describe_own_model`.

    Parameters
    ----------
    name
        Name of a collection or a table. After ``@``, a state whose snapshots are kept: see `find_collection_state`.
    site
        The site.

    Raises
    ------
    NotFoundError
        There is no such table or state.
    """
    table_name, _, state_name = name.partition("@")
    if state_name:
        sync = plugins.import_hven_module("hven.ingest.sync", "reading states of collections")
        records = sync.find_collection_state(site, table_name.partition(".")[0], state_name)
        model = describe_tables(name, [record.table for record in records.values()])
        model = model.select_tables(table_name if "." in table_name else "")
        if not model.columns:
            raise NotFoundError(f"{name} describes no columns", remedy="check the name of the table")
        return model
    return describe_own_model(name, site.get_published_state().get_catalogue(OWNER_PRINCIPAL, DEFAULT_POLICIES))
