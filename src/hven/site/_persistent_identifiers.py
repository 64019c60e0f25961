"""The DOIs of collections and releases, which a plug-in package registers and keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import DoiRecord
    from hven.site.store import StateStore


class PersistentIdentifiers(Protocol):
    """The DOIs of collections and releases."""

    def find_doi_record(self, collection: str, label: str = "") -> DoiRecord | None:
        """Return what is known of a collection or a release, or None.

        Parameters
        ----------
        collection, label
            Name of the collection, and label of the release; an empty label means the collection as a whole.
        """

    def map_dois(self) -> Mapping[tuple[str, str], str]:
        """Return the DOIs that resolve, by collection and label."""


class _NoIdentifiers:
    """The DOIs of a site without a package that gives any."""

    def find_doi_record(self, _collection: str, _label: str = "") -> DoiRecord | None:
        """Return None."""
        return None

    def map_dois(self) -> Mapping[tuple[str, str], str]:
        """Return nothing."""
        return {}


def open_persistent_identifiers(store: StateStore) -> PersistentIdentifiers:
    """Open the DOIs of a site: those of the first plug-in package that gives any."""
    for _, factory in plugins.iterate_package_objects("identifiers"):
        identifiers: PersistentIdentifiers = store.get_or_create(factory)
        return identifiers
    return _NoIdentifiers()
