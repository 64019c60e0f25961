"""Pictures of files as the site keeps them: the shelf, and the key by which a picture of some files, as it is to look, stands there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.formats.pictures import Look, Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services import filed
    from hven.services.face import Surroundings

DRAWN = 2  # changes with how pictures are drawn, so that none is taken from the shelf that was drawn otherwise
THUMBNAIL = 200  # pixels
USUAL = (Look(size=THUMBNAIL, axes=False), Look())  # a row's thumbnail, and what is shown where nothing is said


def shelf(around: Surroundings) -> Shelf:
    """Return where the site's pictures are.

    Parameters
    ----------
    around
        The site.
    """
    settings = around.site.settings
    found: Shelf = around.site.kept(Shelf, settings.var / "previews", settings.files.pictures)
    return found


def credited(around: Surroundings, collection: str, look: Look) -> Look:
    """Return how a picture looks with licence and citation of what it shows.

    Parameters
    ----------
    around
        The site.
    collection
        Its name.
    look
        Without.
    """
    resource = around.site.current().resources.get(collection)
    said = () if resource is None else (resource.licence, resource.citation)
    return replace(look, note=" · ".join(one for one in said if one))


def key_of(files: Sequence[filed.Original], look: Look) -> str:
    """Return the key of a picture: what is in the files, and how it looks.

    Parameters
    ----------
    files
        In the order in which they are drawn.
    look
        With its note.
    """
    said = "\n".join([str(DRAWN), repr(look), *(one.etag for one in files)])
    return hashlib.sha256(said.encode()).hexdigest()[:40]
