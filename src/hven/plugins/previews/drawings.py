"""Draw pictures of files and store them by a key that is made of the files' states and the look of the picture."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model import LruCache
from hven.model.errors import HvenError
from hven.plugins.previews.pictures import PictureStyle, draw_files, has_contrast, has_drawable_extension
from hven.plugins.previews.settings import get_picture_cache_settings
from hven.services import collection_files
from hven.services.api.files import DerivedFileStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.formats.media import Place
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

PICTURE_VERSION = 2  # part of each key: a change of how pictures are drawn needs a new number
THUMBNAIL_PIXELS = 200
MAX_CACHED_VERDICTS = 20_000  # pictures of which it is cached whether they are informative
THUMBNAIL_LOOK = PictureStyle(size=THUMBNAIL_PIXELS, axes=False)
DEFAULT_LOOKS = (
    THUMBNAIL_LOOK,
    PictureStyle(),
)  # the thumbnail of a row, and the picture for a request without options


def get_picture_store(context: ServiceContext) -> DerivedFileStore:
    """Return the store of the site's pictures.

    Parameters
    ----------
    context
        Service context of the site.
    """
    settings = context.site.settings
    directory = settings.var_directory / "previews"
    max_bytes = get_picture_cache_settings(settings).pictures
    picture_store: DerivedFileStore = context.site.get_or_create(DerivedFileStore, directory, max_bytes)
    return picture_store


def find_picture(picture_store: DerivedFileStore, picture_key: str) -> bytes | None:
    """Return the stored picture of a key; None if it was not drawn yet.

    Parameters
    ----------
    picture_store
        Store of the site's pictures.
    picture_key
        Key from `make_picture_key`.
    """
    path = picture_store.find_file(f"{picture_key}.png")
    if path is None:
        return None
    with suppress(OSError):  # another process may have removed the picture
        return path.read_bytes()
    return None


def get_or_draw_picture(
    picture_store: DerivedFileStore, picture_key: str, files: Sequence[tuple[Place, str]], look: PictureStyle
) -> bytes:
    """Return the picture of a key; draw and store it if it is not stored yet.

    Parameters
    ----------
    picture_store
        Store of the site's pictures.
    picture_key
        Key from `make_picture_key`.
    files
        Files with their names; several are drawn side by side.
    look
        Size, axes and note of the picture.

    Returns
    -------
    picture
        PNG.

    Raises
    ------
    SourceError
        A file cannot be drawn.
    """
    stored_picture = find_picture(picture_store, picture_key)
    if stored_picture is not None:
        return stored_picture
    picture = draw_files(files, look)
    with suppress(OSError):  # with a full disk, the picture is drawn again next time
        picture_store.get_or_write(f"{picture_key}.png", lambda path: path.write_bytes(picture))
    return picture


def find_stored_thumbnail(context: ServiceContext, picture_key: str) -> bytes | None:
    """Return the stored thumbnail of a file that is of no collection; None if there is none.

    Parameters
    ----------
    context
        Service context of the site.
    picture_key
        Key of the thumbnail.
    """
    return find_picture(get_picture_store(context), picture_key)


def draw_thumbnail(context: ServiceContext, picture_key: str, path: Path) -> bytes:
    """Draw the thumbnail of a file that is of no collection, and store it.

    Parameters
    ----------
    context
        Service context of the site.
    picture_key
        Key of the thumbnail.
    path
        The file.

    Returns
    -------
    picture
        PNG.

    Raises
    ------
    SourceError
        The file cannot be drawn.
    """
    return get_or_draw_picture(get_picture_store(context), picture_key, [(path, path.name)], THUMBNAIL_LOOK)


def prepare_informative_thumbnail(context: ServiceContext, principal: Principal, collection: str, path: str) -> bool:
    """Check whether a file's thumbnail can be drawn for a reader and shows more than one colour; store it.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        Reader of the file.
    collection
        Name of the collection.
    path
        Path of the file in the collection.

    Returns
    -------
    verdict
        False also if the file does not exist or the reader has no access to it; True for files that are not drawn.
    """
    if not has_drawable_extension(path):
        return True
    try:
        files = collection_files.find_files(context, principal, collection, [path])
        file = collection_files.locate_original_file(context, principal, files, path)
        look = with_credit_note(context, collection, THUMBNAIL_LOOK)
        key = make_picture_key([file], look)
        verdict = context.site.get_or_create(_create_contrast_verdict_cache).find(key)
        if verdict is None:
            picture = get_or_draw_picture(get_picture_store(context), key, [(file.path, file.name)], look)
            verdict = is_informative(context, key, picture)
    except HvenError:  # the file does not exist, needs more rights or cannot be drawn
        return False
    return verdict


def is_informative(context: ServiceContext, picture_key: str, picture: bytes) -> bool:
    """Return whether a picture has more than one colour; the verdict is cached by the key.

    Parameters
    ----------
    context
        Service context of the site.
    picture_key
        Key from `make_picture_key`.
    picture
        PNG.
    """
    verdict_cache: LruCache[bool] = context.site.get_or_create(_create_contrast_verdict_cache)
    verdict = verdict_cache.find(picture_key)
    if verdict is None:
        verdict = has_contrast(picture)
        verdict_cache.store(picture_key, verdict)
    return verdict


def _create_contrast_verdict_cache() -> LruCache[bool]:
    return LruCache(MAX_CACHED_VERDICTS)


def with_credit_note(context: ServiceContext, collection: str, look: PictureStyle) -> PictureStyle:
    """Return the look of a picture with the licence and the citation of a collection as its note.

    Parameters
    ----------
    context
        Service context of the site.
    collection
        Name of the collection.
    look
        Look without a note.
    """
    resource = context.site.get_published_state().resources.get(collection)
    credit_texts = []
    if resource is not None:
        credit_texts = [text for text in (resource.licence, resource.citation) if text]
    return replace(look, note=" · ".join(credit_texts))


def make_picture_key(files: Sequence[collection_files.OriginalFile], look: PictureStyle) -> str:
    """Return the key of a picture, which is made of the states of its files and its look.

    Parameters
    ----------
    files
        Files in the order in which they are drawn.
    look
        Look with its note.
    """
    key_text = "\n".join([str(PICTURE_VERSION), repr(look), *(picture_file.etag for picture_file in files)])
    return hashlib.sha256(key_text.encode()).hexdigest()[:40]
