"""The pages for people: read, searched and taken away from without an account, without JavaScript and without any outside network.

Nothing that a reader may not see is shown: where a policy hides rows, the numbers are counted for this reader. A module has the
routes of one page; what a page asks of data is `hven.explore`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.protocols import Protocol, Surroundings, Way
from hven.protocols.portal import assets, collection, data, editor, everywhere, finding, guides, home, news, statistics, take, workspace
from hven.protocols.portal.answers import nowhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.holdings import Published

__all__ = ["PROTOCOL", "nowhere"]

PAGES = (home, finding, news, guides, statistics, collection, data, workspace, take, editor, everywhere, assets)


def routes(around: Surroundings) -> Sequence[Route]:
    """Give the addresses of all pages."""
    return [route for page in PAGES for route in page.routes(around)]


def ways(published: Published, base: str) -> Sequence[Way]:  # noqa: ARG001  (the contract's signature)
    """Give none: a page is its own way."""
    return []


PROTOCOL = Protocol(name="portal", title="Pages for people", applies=lambda table: True, routes=routes, ways=ways)  # noqa: ARG005
