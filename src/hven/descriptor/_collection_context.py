"""What the tables of a descriptor take from their collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.descriptor._file_contents import DescriptorFileReader
    from hven.descriptor.value_schema import LocatedKeyValues


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedCollectionKeys:
    """What a table takes from its collection.

    Attributes
    ----------
    schema
        The collection's name.
    access
        Access to tables without an `access` of their own.
    contact
        Whom to ask for what is locked.
    constants
        The collection's ``let``.
    site
        Values of ``{site.name}`` and similar placeholders.
    publishes_files
        Whether it publishes files.
    directory
        Directory of the descriptor.
    contents
        Reads the files that tables use.
    hashes
        Takes the SHA-256 of files that tables use.
    project
        Project to which it belongs.
    reader_names
        Programs of hven.toml that read files.
    is_standard
        True while a standard itself is read: tables need no source.
    """

    schema: str
    access: LocatedKeyValues | None
    contact: str | None
    constants: Mapping[str, Any]
    site: Mapping[str, str]
    publishes_files: bool
    directory: Path
    contents: DescriptorFileReader
    hashes: dict[str, str]
    is_standard: bool = False
    project: str | None = None
    reader_names: tuple[str, ...] = ()
