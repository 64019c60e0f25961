"""The provider ``observed``: names of targets in tables of observations, if no other provider knows the name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model.errors import format_message
from hven.plugins.resolvers.name_columns import list_distinct_named_objects
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.query.resolver import NameProvider, NameRequest, ResolvedName

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CONFIDENCE = 0.7


def find_unique_observed_target(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name; the target of observations at several places has none."""
    places = list_distinct_named_objects(request, in_observations=True)
    if len(places) != 1:
        return ()
    return [replace(places[0], confidence=min(places[0].confidence, MAX_CONFIDENCE))]


PROVIDER = NameProvider(
    name="observed",
    order=95,
    offered=lambda settings: get_resolver_settings(settings).columns,
    place=lambda _: format_message("the targets of this site's observations"),
    remedy="",
    find=find_unique_observed_target,
    is_general=False,
)
