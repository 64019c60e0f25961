"""Draft collections from DaCHS's resource descriptors: ``hven new NAME --from q.rd``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, UsageError
from hven.plugins.drafts.document_drafts import ALL_COLLECTIONS, CollectionDraft
from hven.plugins.migration.collection_conversion import CollectionConverter
from hven.plugins.migration.document_parts import read_head
from hven.plugins.migration.draft_building import CODE_FILE, REPORT_FILE
from hven.plugins.migration.resource_xml import read_resource_xml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.plugins.drafts.document_drafts import DocumentDraftRequest

MAX_DESCRIPTORS = 500  # of one folder
MAX_SEARCHED_FILES = 100_000
MAX_LISTED_SCHEMAS = 12
_SIGNATURE_PATTERN = re.compile(rb"<resource\b[^>]*\bschema\s*=")
# copies that people keep beside a descriptor
_BACKUP_PATTERN = re.compile(r"(backup|save|old|orig|copy)", re.IGNORECASE)


def is_collection_document(path: Path) -> bool:
    """Return whether a file is a resource descriptor, or a folder contains some.

    Parameters
    ----------
    path
        Path of the file or folder.
    """
    if path.is_dir():
        return bool(_list_descriptors(path))
    head = read_head(path)
    if path.suffix == ".rd":
        return b"<resource" in head or b"<" not in head
    return _SIGNATURE_PATTERN.search(head) is not None and b"<" in head


def _list_descriptors(folder: Path) -> list[Path]:
    """List the descriptors in a folder, without the backups that people keep beside them."""
    paths: list[Path] = []
    for count, path in enumerate(folder.rglob("*")):
        if count > MAX_SEARCHED_FILES:
            break
        if path.suffix == ".rd" and path.is_file() and not _BACKUP_PATTERN.search(path.relative_to(folder).as_posix()):
            paths.append(path)
    return sorted(path for path in paths if is_collection_document(path))


def draft_collections(request: DocumentDraftRequest) -> list[CollectionDraft]:
    """Draft the collections that a resource descriptor or a folder of them describes.

    Parameters
    ----------
    request
        The documents, and the name of the collection.

    Returns
    -------
    drafts
        One for each collection; descriptors with the same schema become one collection.

    Raises
    ------
    SourceError
        A descriptor cannot be read.
    UsageError
        The folder describes several collections, and one name was given.
    ConflictError
        A file exists that would be written. Nothing is converted then.
    """
    path = request.path.absolute()
    if not path.is_dir():
        name = request.name
        if name == ALL_COLLECTIONS:
            name = _read_schema(path)
        return _draft_new_collections(request, {name: [path]}, find_inputs_folder(path))
    descriptors = _list_descriptors(path)
    if len(descriptors) > MAX_DESCRIPTORS:
        raise SourceError(
            f"{path.name} has {len(descriptors)} resource descriptors, more than {MAX_DESCRIPTORS}",
            remedy="name the folder of one collection",
        )
    paths_by_schema: dict[str, list[Path]] = {}
    for descriptor in descriptors:
        paths_by_schema.setdefault(_read_schema(descriptor), []).append(descriptor)
    if request.name == ALL_COLLECTIONS:
        return _draft_new_collections(request, paths_by_schema, path)
    chosen_paths = paths_by_schema.get(request.name)
    if chosen_paths is None and len(paths_by_schema) == 1:
        chosen_paths = next(iter(paths_by_schema.values()))
    if chosen_paths is None:
        schemas = list(paths_by_schema)
        listed = ", ".join(schemas[:MAX_LISTED_SCHEMAS]) + (" ..." if len(schemas) > MAX_LISTED_SCHEMAS else "")
        raise UsageError(
            f"{path.name} describes {len(schemas)} collections: {listed}",
            remedy=f"write '{ALL_COLLECTIONS}' as the name for all of them, or one of these names",
        )
    return _draft_new_collections(request, {request.name: chosen_paths}, path)


def _draft_new_collections(
    request: DocumentDraftRequest, paths_by_name: Mapping[str, list[Path]], root: Path
) -> list[CollectionDraft]:
    """Draft collections, after it is sure that no file of any of them exists."""
    for name in paths_by_name:
        request.check_new_collection(name, (REPORT_FILE, CODE_FILE))
    return [_draft_collection(request, name, paths, root) for name, paths in paths_by_name.items()]


def _draft_collection(request: DocumentDraftRequest, name: str, paths: list[Path], root: Path) -> CollectionDraft:
    converter = CollectionConverter(
        name=name, root=root, settings=request.settings, store_connection=request.store_connection
    )
    for path in paths:
        converter.convert_descriptor(path)
    return converter.build_draft()


def _read_schema(path: Path) -> str:
    resource = read_resource_xml(path, path.name)
    return resource.get_value("schema").lower() or path.parent.name.lower()


def find_inputs_folder(path: Path) -> Path:
    """Find the folder of all descriptors, to which ids such as ``mars/q`` are relative: that above the descriptor's.

    Parameters
    ----------
    path
        Path of a descriptor.
    """
    return path.parent.parent
