"""Find and read the tile files that the site derives from tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hven.model.errors import StorageError, format_message
from hven.plugins.hats.settings import get_partition_settings
from hven.services.api.files import DerivedFileStore
from hven.services.collection_files import READ_BYTES, read_from_page_cache

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from hven.services.collection_files import FilePiece
    from hven.services.face import ServiceContext

_READ_GRACE_SECONDS = 600.0  # a file that was requested within this time is not removed, because it may be read


def get_tile_store(context: ServiceContext) -> DerivedFileStore:
    """Return the store of the site's tile files."""
    settings = context.site.settings
    directory = settings.var_directory / "tiles"
    tile_store: DerivedFileStore = context.site.get_or_create(
        DerivedFileStore, directory, get_partition_settings(settings).partitions, _READ_GRACE_SECONDS
    )
    return tile_store


def read_tile_pieces_with_wait_marks(path: Path, begin: int, end: int) -> Generator[FilePiece]:
    """Read the bytes from `begin` to before `end`, with a None before each piece that must come from the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        while begin < end:
            byte_count = min(READ_BYTES, end - begin)
            piece: FilePiece = read_from_page_cache(file, byte_count, begin)
            if not piece:
                yield None
                piece = os.pread(file, byte_count, begin)
                if not piece:
                    raise StorageError(
                        format_message("{path} became shorter while it was being read", path.name), remedy="try again"
                    )
            begin += len(piece)
            yield piece
    finally:
        os.close(file)
