"""Pictures of files as the site keeps them.

The shelf, and the key by which a picture of some files, as it is to look, stands there.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.formats.pictures import Look, draw_files, has_contrast
from hven.model import Cache
from hven.model.errors import HvenError
from hven.services import collection_files
from hven.services._derived_files import DerivedFileStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media import Place
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

PICTURE_VERSION = (
    2  # changes with how pictures are drawn, so that none is taken from the shelf that was drawn otherwise
)
THUMBNAIL_PIXELS = 200  # pixels
MAX_CACHED_VERDICTS = 20_000  # of which it is remembered whether they show something
DEFAULT_LOOKS = (
    Look(size=THUMBNAIL_PIXELS, axes=False),
    Look(),
)  # a row's thumbnail, and what is shown where nothing is said


def get_picture_store(context: ServiceContext) -> DerivedFileStore:
    """Return where the site's pictures are.

    Parameters
    ----------
    context
        The site.
    """
    settings = context.site.settings
    picture_store: DerivedFileStore = context.site.get_or_create(
        DerivedFileStore, settings.var_directory / "previews", settings.files.pictures
    )
    return picture_store


def find_picture(picture_store: DerivedFileStore, key: str) -> bytes | None:
    """Return the picture of a key; None: it is to be drawn.

    Parameters
    ----------
    picture_store
        Where the site's pictures are.
    key
        As of `make_picture_key`.
    """
    place = picture_store.find_file(f"{key}.png")
    with suppress(OSError):  # it went meanwhile
        if place is None:
            return None
        return place.read_bytes()
    return None


def get_or_draw_picture(
    picture_store: DerivedFileStore, key: str, files: Sequence[tuple[Place, str]], look: Look
) -> bytes:
    """Return the picture of a key, drawn and kept if nobody did so meanwhile.

    Parameters
    ----------
    picture_store
        Where the site's pictures are.
    key
        As of `make_picture_key`.
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
    body = find_picture(picture_store, key)
    if body is None:
        body = picture = draw_files(files, look)
        with suppress(OSError):  # a full disk: it is drawn again
            picture_store.get_or_write(f"{key}.png", lambda part: part.write_bytes(picture))
    return body


def has_informative_thumbnail(context: ServiceContext, principal: Principal, collection: str, path: str) -> bool:
    """Return whether a file's thumbnail can be drawn for a reader, and shows something; it is drawn and kept.

    Parameters
    ----------
    context
        The site.
    principal
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
        files = collection_files.find_files(context, principal, collection, [path])
        file = collection_files.open_original(context, principal, files, path)
        look = add_credit(context, collection, DEFAULT_LOOKS[0])
        key = make_picture_key([file], look)
        verdict = context.site.get_or_create(_create_verdict_cache).find(key)
        if verdict is None:
            verdict = is_informative(
                context, key, get_or_draw_picture(get_picture_store(context), key, [(file.path, file.name)], look)
            )
    except HvenError:  # it is not there, not for this reader, or cannot be drawn
        return False
    return verdict


def is_informative(around: ServiceContext, key: str, picture: bytes) -> bool:
    """Return whether a picture is not of one colour; it is judged once.

    Parameters
    ----------
    around
        The site.
    key
        As of `make_picture_key`.
    picture
        PNG.
    """
    verdict_cache: Cache[bool] = around.site.get_or_create(_create_verdict_cache)
    verdict = verdict_cache.find(key)
    if verdict is None:
        verdict = has_contrast(picture)
        verdict_cache.store(key, verdict)
    return verdict


def _create_verdict_cache() -> Cache[bool]:
    return Cache(MAX_CACHED_VERDICTS)


def add_credit(context: ServiceContext, collection: str, look: Look) -> Look:
    """Return how a picture looks with licence and citation of what it shows.

    Parameters
    ----------
    context
        The site.
    collection
        Its name.
    look
        Without.
    """
    resource = context.site.get_published_state().resources.get(collection)
    credit_texts = () if resource is None else (resource.licence, resource.citation)
    note = " · ".join(credit_text for credit_text in credit_texts if credit_text)
    return replace(look, note=note)


def make_picture_key(files: Sequence[collection_files.OriginalFile], look: Look) -> str:
    """Return the key of a picture: what is in the files, and how it looks.

    Parameters
    ----------
    files
        In the order in which they are drawn.
    look
        With its note.
    """
    key_text = "\n".join([str(PICTURE_VERSION), repr(look), *(picture_file.etag for picture_file in files)])
    return hashlib.sha256(key_text.encode()).hexdigest()[:40]
