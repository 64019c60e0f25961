"""Find the traits of a kind of source: how an ingest and `hven check` treat tables with a source of the kind."""

from __future__ import annotations

from hven.model import plugins
from hven.model.errors import UserError
from hven.sources import SourceKindTraits

DEFAULT_TRAITS = SourceKindTraits()


def find_kind_traits(kind: str) -> SourceKindTraits:
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
