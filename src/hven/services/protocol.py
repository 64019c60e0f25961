"""One face each: HTTP in, bytes out. The Protocol record says what a face is; a face does not know the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.params import Param
    from hven.model.table import Table
    from hven.services.face import Face
    from hven.site import Published, Site
    from hven.site.auth import Policy, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to ask for a table, shown on its page: a title, the address, and a line to copy."""

    title: str
    url: str
    example: str
    language: str = "shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A face.

    Attributes
    ----------
    name
        As in a descriptor's ``services:``.
    standard_ids
        IVOIDs of the standards it keeps.
    params
        What it understands; forms, VOSI interfaces and MAXREC=0 answers are made from them.
    applies
        Whether it can serve a table.
    face
        What it does with a request, if it is one service with parameters over a table.
    routes
        Its addresses besides.
    ways
        How to ask it for one table, for people; gets the site's address.
    """

    name: str
    title: str
    standard_ids: Sequence[str] = ()
    params: Sequence[Param] = ()
    applies: Callable[[Table], bool]
    face: Face | None = None
    routes: Callable[[Surroundings], Sequence[BaseRoute]] = lambda _: ()
    ways: Callable[[Published, str], Sequence[Way]]

    def addresses(self, around: Surroundings) -> Sequence[BaseRoute]:
        """Give all its addresses."""
        own = [] if self.face is None else [self.face.route(around.site, around.reader, around.policies)]
        return [*own, *self.routes(around)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a face is given by the server.

    Attributes
    ----------
    reader
        Who asks: made from the request by the site's identity providers.
    policies
        What readers may see.
    """

    site: Site
    reader: Callable[[Request], Reader]
    policies: Sequence[Policy]
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    started: datetime


def known() -> dict[str, Protocol]:
    """Every face, by name: built-in and plugged in."""
    return {name: plugins.load("protocols", name).PROTOCOL for name in plugins.names("protocols")}


__all__ = ["Protocol", "Surroundings", "Way", "known"]
