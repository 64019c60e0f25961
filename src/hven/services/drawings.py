"""Pictures of files as the site keeps them: the shelf, and the key by which a picture of some files, as it is to look, stands there."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.formats.pictures import Look, has_contrast, pictured
from hven.model import Cache
from hven.model.errors import HvenError
from hven.services import filed
from hven.services._shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media import Place
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

DRAWN = 2  # changes with how pictures are drawn, so that none is taken from the shelf that was drawn otherwise
THUMBNAIL = 200  # pixels
THUMBNAILS_JUDGED = 20_000  # of which it is remembered whether they show something
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


def find(kept: Shelf, key: str) -> bytes | None:
    """Return the picture of a key; None: it is to be drawn.

    Parameters
    ----------
    kept
        Where the site's pictures are.
    key
        As of `key_of`.
    """
    place = kept.found(f"{key}.png")
    with suppress(OSError):  # it went meanwhile
        return None if place is None else place.read_bytes()
    return None


def drawn(kept: Shelf, key: str, files: Sequence[tuple[Place, str]], look: Look) -> bytes:
    """Return the picture of a key, drawn and kept if nobody did so meanwhile.

    Parameters
    ----------
    kept
        Where the site's pictures are.
    key
        As of `key_of`.
    files
        Each with its name; several are drawn beside one another.
    look
        As it is to look.

    Returns
    -------
    picture
        PNG.

    Raises
    ------
    SourceError
        One cannot be drawn.
    """
    body = find(kept, key)
    if body is None:
        body = picture = pictured(files, look)
        with suppress(OSError):  # a full disk: it is drawn again
            kept.made(f"{key}.png", lambda part: part.write_bytes(picture))
    return body


def has_telling_thumbnail(around: Surroundings, who: Reader, collection: str, path: str) -> bool:
    """Return whether a file's thumbnail can be drawn for a reader, and shows something; it is drawn and kept.

    Parameters
    ----------
    around
        The site.
    who
        The reader.
    collection
        Its name.
    path
        Of the file.

    Returns
    -------
    verdict
        False also where the file is not there, or not for this reader.
    """
    try:
        file = filed.original(around, who, filed.asked(around, who, collection, [path]), path)
        look = credited(around, collection, USUAL[0])
        key = key_of([file], look)
        verdict = around.site.kept(_thumbnail_verdicts).find(key)
        if verdict is None:
            verdict = shows_something(around, key, drawn(shelf(around), key, [(file.path, file.name)], look))
    except HvenError:  # it is not there, not for this reader, or cannot be drawn
        return False
    return verdict


def shows_something(around: Surroundings, key: str, picture: bytes) -> bool:
    """Return whether a picture is not of one colour; it is judged once.

    Parameters
    ----------
    around
        The site.
    key
        As of `key_of`.
    picture
        PNG.
    """
    known: Cache[bool] = around.site.kept(_thumbnail_verdicts)
    verdict = known.find(key)
    if verdict is None:
        verdict = has_contrast(picture)
        known.keep(key, verdict)
    return verdict


def _thumbnail_verdicts() -> Cache[bool]:
    return Cache(THUMBNAILS_JUDGED)


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
