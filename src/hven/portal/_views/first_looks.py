"""Looks at collections for cards and strips of pictures: only pictures that can be drawn for the reader, and show something."""

from __future__ import annotations

import re
import threading
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from hven.formats.pictures import drawable
from hven.portal._explore.collection_looks import Look, Looks, origin_shown
from hven.portal._views.table_page import asking
from hven.services import drawings
from hven.services.address import bases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table
    from hven.portal._views.page_formats import Asked

PATIENCE_SECONDS = 1.0  # that a page waits; then it goes without, and the looks are there the next time
OWN_PICTURE = re.compile(r"/collections/(?P<collection>[^/]+)/(?:preview|files)/(?P<path>.+)")
_one_drawing = threading.Lock()  # queries and the pictures that readers ask for go first


async def look_at_collections(state: Asked, shelves: Sequence[Sequence[Table]]) -> list[Look] | None:
    """Look at the tables of collections; None: that takes longer than a page waits."""
    looks: Looks = state.around.site.kept(Looks)
    own = "{0.scheme}://{0.netloc}".format(urlsplit(state.base))
    shown = origin_shown(state.around.site.settings.origins, own)
    look = partial(looks.of, shelves, asking(state), state.reach, shown, picture_check(state))
    if await anyio.to_thread.run_sync(are_ready, state, shelves):
        return look()
    with anyio.move_on_after(PATIENCE_SECONDS):
        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
    return None


def are_ready(state: Asked, shelves: Sequence[Sequence[Table]]) -> bool:
    """Return whether collections were looked at already, as this reader sees them."""
    looks: Looks = state.around.site.kept(Looks)
    return looks.ready(shelves, asking(state), state.reach)


def picture_check(state: Asked) -> Callable[[str], bool]:
    """Return what says whether a picture shows something: one of this site's files is drawn for that; of others nobody knows it."""
    homes = bases(state.request, state.around.site.settings)

    def shows_something(address: str) -> bool:
        home = next((one for one in homes if address.startswith(f"{one}/")), None)
        found = None if home is None else OWN_PICTURE.fullmatch(urlsplit(address[len(home) :]).path)
        if found is None:
            return True
        collection, path = unquote(found["collection"]), unquote(found["path"])
        if not drawable(path):
            return True
        with _one_drawing:
            return drawings.has_telling_thumbnail(state.around, state.who, collection, path)

    return shows_something
