"""What a basket has for the reader who looks at it: whose basket it is, and of each table that they may know of the rows and searches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from hven.model.errors import HvenError, NotFound
from hven.portal._explore import baskets
from hven.portal._explore import rows as pages
from hven.portal._explore.baskets import Basket, Part
from hven.portal._pages import BASKET, SWITCHES, carried, shelf
from hven.portal._views.page_addresses import below
from hven.portal._views.table_page import looked, understood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.model.table import Table
    from hven.portal._explore import Search
    from hven.portal._explore.page_queries import Asking
    from hven.portal._views.page_formats import Asked
    from hven.portal._views.table_page import View

QUIET = {"cache-control": "private, no-store"}  # it is of one reader
TOKEN = "token"  # of the address  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The basket that a request is about.

    Attributes
    ----------
    here
        Address that what is asked of it begins with.
    token
        By which it is shared; empty: it is what a reader keeps, who is logged in.
    own
        It is the reader's own, and may be changed.
    known
        Their own is not empty because nothing was ever put into it.
    """

    basket: Basket
    here: str
    token: str = ""
    own: bool = True
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a basket has of a table that its reader may know of.

    Attributes
    ----------
    seen
        All of its rows.
    keyed
        Those that were ticked.
    searches
        Addresses and what they ask; one with faults finds nothing.
    """

    part: Part
    seen: View
    keyed: View
    searches: tuple[tuple[str, Search], ...]


def given(state: Asked) -> Given:
    """Return the basket that a request is about: of its address, else the reader's own.

    Raises
    ------
    NotFound
        Nothing has this address.
    """
    kept, here = shelf(state.around), f"{state.base}/basket"
    token = str(state.request.path_params.get(TOKEN, "")).removesuffix(".json")
    if token:
        return Given(basket=kept.opened(token), here=f"{here}/{token}", token=token, own=False)
    if state.who.name is not None:
        return Given(basket=Basket() if state.who.by else kept.own(state.who.name), here=here)
    token = carried(state.request.cookies.get(BASKET))[1]
    try:
        return Given(basket=kept.opened(token), here=f"{here}/{token}", token=token) if token else _nothing(here)
    except NotFound:
        return _nothing(here)


def _nothing(here: str) -> Given:
    return Given(basket=Basket(), here=here, known=False)


def held(state: Asked, basket: Basket, attended: Callable[[Asking], Asking] = lambda road: road) -> Iterator[Held]:
    """Yield what of a basket is of tables that this reader may know of."""
    known = tables(state)
    for part in basket.parts:
        if part.of in known:
            seen = looked(state, known[part.of])
            seen = replace(seen, asking=attended(seen.asking))
            yield _held(part, seen, state)


def tables(state: Asked) -> dict[str, Table]:
    """Return the tables that a reader may know of, as baskets name them."""
    return {below(one): one for one in state.catalogue.tables() if one.qualified in state.holdings.published}


def elsewhere(state: Asked, basket: Basket) -> set[str]:
    """Return the tables of a basket that other portals of the site show: here they are as little as there would be no such rows."""
    every = state.holdings.catalogue(state.who, state.around.policies).tables() if state.brand.collections else ()
    there = {below(one) for one in every} - set(tables(state))
    return {part.of for part in basket.parts if part.of in there}


def _held(part: Part, seen: View, state: Asked) -> Held:
    keyed = baskets.keyed(part, seen.table)
    searches = []
    for address in part.searches:
        pairs = [pair for pair in parse_qsl(address) if pair[0] not in SWITCHES]
        searches.append((address, understood(seen, state, pairs)))
    asked = [one for _, one in searches if not one.faults]
    union = baskets.whole(seen.table, [*([keyed] if part.lines else []), *asked])
    return Held(
        part=part,
        seen=replace(seen, search=union),
        keyed=replace(seen, search=keyed),
        searches=tuple(searches),
    )


def there(one: Held) -> Part:
    """Return of what was ticked in a table those rows that the reader sees: keys of no others are ever told to them."""
    keys: set[str] = set()
    primary = one.seen.table.primary
    if one.part.lines and primary:
        found = one.keyed.asking.table(one.keyed.search.query(columns=list(primary)))
        keys = set(pages.keys_of(found, primary))
    lines = (tuple(key for key in line if key in keys) for line in one.part.lines)
    return replace(one.part, lines=tuple(line for line in lines if line))


def counted(seen: View) -> int | None:
    """Count rows; None: nobody could say in time, or it cannot be asked."""
    try:
        return pages.count(seen.search, seen.asking, seconds=5.0).rows
    except HvenError:
        return None
