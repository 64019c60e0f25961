"""Archives (ZIP, TAR) of files that are not those of a collection: their members, and a cache of checksums."""

from __future__ import annotations

from hven.services._archive_layouts import ArchiveMember
from hven.services._checksums import CrcCache

__all__ = ["ArchiveMember", "CrcCache"]
