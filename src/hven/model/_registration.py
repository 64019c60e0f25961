"""How collections stand in the registries of the Virtual Observatory: what descriptors say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.errors import TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRegistration:
    """What a descriptor says of the record of one service in registries.

    Attributes
    ----------
    id
        Its IVOID; None: it is made from the names.
    mirrors
        Further addresses at which it answers.
    test
        Parameters of a test query that finds rows; None: Hven chooses a position that has some.
    """

    id: str | None = None
    mirrors: tuple[str, ...] = ()
    test: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedResource:
    """Another resource of the Virtual Observatory.

    Attributes
    ----------
    kind
        Kind of the relation: ``IsDerivedFrom`` (VOResource's vocabulary).
    title
        Title of the other resource.
    id
        Its IVOID; None: it has none.
    """

    kind: str
    title: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRegistration:
    """How a collection stands in the registries of the Virtual Observatory.

    Attributes
    ----------
    publish
        False: they are not told of it.
    id
        IVOID of the collection; None: it is made from its name.
    services
        ``TABLE.FACE``, or ``TABLE`` -> what the descriptor states about that record.
    also
        Further identifiers: those it had elsewhere.
    related
        Other resources.
    place
        Place in the descriptor.
    """

    publish: bool = True
    id: str | None = None
    services: Mapping[str, ServiceRegistration] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    related: tuple[RelatedResource, ...] = ()
    place: TextPlace
