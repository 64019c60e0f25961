"""Find the traits of a kind of source: how an ingest and `hven check` treat tables with a source of the kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import UserError
from hven.sources import SourceKindTraits

if TYPE_CHECKING:
    from hven.model.resource import CollectionSpec, SourceSpec

DEFAULT_TRAITS = SourceKindTraits()


def find_source_kind_traits(kind: str) -> SourceKindTraits:
    """Find the traits of a kind of source.

    Parameters
    ----------
    kind
        Name of the kind.

    Returns
    -------
    traits
        The defaults if the kind states none, or cannot be loaded.
    """
    try:
        module = plugins.load_plugin("sources", kind)
    except UserError:
        return DEFAULT_TRAITS
    traits: SourceKindTraits = vars(module).get("TRAITS", DEFAULT_TRAITS)
    return traits


def list_source_queries(source: SourceSpec) -> list[str]:
    """List the queries over tables of this site that a source runs.

    Parameters
    ----------
    source
        A source of a descriptor, whose options may have faults.

    Returns
    -------
    queries
        ADQL, which may have faults.
    """
    list_queries = find_source_kind_traits(source.kind).list_queries
    if list_queries is None:
        return []
    return list(list_queries(source.options))


def is_made_by_queries(source: SourceSpec) -> bool:
    """Return whether the rows of a source depend only on queries over tables of this site.

    Parameters
    ----------
    source
        A source of a descriptor.
    """
    return find_source_kind_traits(source.kind).is_made_by_queries


def list_mirrored_site_addresses(resource: CollectionSpec) -> tuple[str, ...]:
    """List the sites that a collection reproduces.

    Parameters
    ----------
    resource
        The collection.

    Returns
    -------
    urls
        Addresses of the sites whose tables its tables reproduce.
    """
    urls = set()
    for spec in resource.tables:
        for source in spec.sources:
            find_mirrored_site = find_source_kind_traits(source.kind).find_mirrored_site
            if find_mirrored_site is not None:
                urls.add(find_mirrored_site(source, spec.table.qualified_name))
    return tuple(sorted(urls - {""}))
