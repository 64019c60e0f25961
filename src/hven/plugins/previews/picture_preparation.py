"""Draw pictures of files before clients request them, for ``prepare: [previews]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.table import list_drawable_extensions
from hven.plugins.previews import drawings
from hven.plugins.previews.pictures import FILM_MEDIA_TYPES, can_read_films
from hven.plugins.previews.settings import get_picture_cache_settings
from hven.services import collection_files
from hven.services.file_preparation import FilePreparation, FilePreparationReport, FileToPrepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.services.face import ServiceContext


def _create_input_describer(context: ServiceContext, collection: str) -> Callable[[str, str], str | None]:
    drawable_extensions = list_drawable_extensions()
    if can_read_films():
        drawable_extensions = (*drawable_extensions, *(f".{extension}" for extension in FILM_MEDIA_TYPES))
    note = drawings.with_credit_note(context, collection, drawings.THUMBNAIL_LOOK).note  # the pictures contain it

    def describe_input(path: str, state: str) -> str | None:
        if path.lower().endswith(drawable_extensions):
            return f"{state} {note}"
        return None

    return describe_input


def _draw_pictures(file_to_prepare: FileToPrepare, report: FilePreparationReport) -> bool:
    """Draw the pictures of a file, unless the run has made as many bytes as the settings allow."""
    context = file_to_prepare.context
    if report.bytes >= get_picture_cache_settings(context.site.settings).pictures:
        report.left += 1
        return False
    found_files = file_to_prepare.found_files
    file = collection_files.locate_original_file(context, file_to_prepare.principal, found_files, file_to_prepare.path)
    picture_store = drawings.get_picture_store(context)
    for default_look in drawings.DEFAULT_LOOKS:
        look = drawings.with_credit_note(context, file.collection, default_look)
        key = drawings.make_picture_key([file], look)
        if drawings.find_picture(picture_store, key) is None:
            picture = drawings.get_or_draw_picture(picture_store, key, [(file.path, file.name)], look)
            report.bytes += len(picture)
            report.pictures += 1
    return True


PREVIEWS = FilePreparation(
    create_input_describer=_create_input_describer, prepare_file=_draw_pictures, version=drawings.PICTURE_VERSION
)
