"""Drafts from documents of other publishing programs that describe whole collections.

Packages add kinds of documents to the extension point ``drafts.documents``. Each is a module with the functions
``is_collection_document(path: Path) -> bool`` and ``draft_collections(request: DocumentDraftRequest) ->
list[CollectionDraft]``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import ConflictError, UsageError
from hven.plugins.drafts.database_tables import name_database_secret
from hven.plugins.drafts.drafting import check_collection_name

if TYPE_CHECKING:
    from hven.model.settings import Settings

EXTENSION_POINT = "drafts.documents"
ALL_COLLECTIONS = "*"  # as the name: one collection for each that the documents describe


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDraftRequest:
    """What collections are drafted from.

    Attributes
    ----------
    settings
        Settings of the site.
    name
        Name of the collection; `ALL_COLLECTIONS`: as the documents name them.
    path
        The document, or a folder of documents.
    store_connection
        Keeps the connection line of a file as a secret for a collection, and returns ``$NAME`` and notes.
    store_address
        Keeps the address of a database, which may have a password, as a secret for a collection, and returns
        ``$NAME``. Default: only names the secret.
    """

    settings: Settings
    name: str
    path: Path
    store_connection: Callable[[str, Path], tuple[str, list[str]]]
    store_address: Callable[[str, str], str] = lambda collection, _: f"${name_database_secret(collection)}"

    def check_new_collection(self, name: str, file_names: Sequence[str] = ()) -> None:
        """Check, before a collection is drafted, that its files do not exist.

        Parameters
        ----------
        name
            Name of the collection.
        file_names
            Names of further files beside the descriptor.

        Raises
        ------
        ConflictError
            One of the files exists.
        UsageError
            The name cannot be the name of a collection.
        """
        check_collection_name(name)
        directory = self.settings.collections_directory / name
        for file_name in (f"{name}.yaml", *file_names):
            if os.path.lexists(directory / file_name):
                raise _build_conflict_error(directory / file_name)


def _build_conflict_error(path: Path) -> ConflictError:
    return ConflictError(f"{path} already exists", remedy="edit the file, or remove it first")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDraft:
    """The draft of a collection.

    Attributes
    ----------
    name
        Name of the collection.
    text
        The descriptor.
    files
        Texts of further files beside it, by their names.
    notes
        Lines that are printed.
    """

    name: str
    text: str
    files: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def find_document_module(path: Path) -> Any:
    """Find the module that reads a document or a folder of documents; None: no package knows it."""
    if not path.exists():
        return None
    modules = plugins.load_extensions(EXTENSION_POINT)
    return next((module for module in modules if module.is_collection_document(path)), None)


def write_collection_drafts(request: DocumentDraftRequest, module: Any) -> list[tuple[Path, CollectionDraft]]:
    """Draft collections, and write their descriptors and the files beside them.

    Returns
    -------
    drafts
        The paths of the descriptors, with the drafts.

    Raises
    ------
    ConflictError
        A file exists already. Nothing is written then.
    UsageError
        The name cannot be the name of a collection.
    SourceError
        A document cannot be read.
    """
    if request.name != ALL_COLLECTIONS:
        request.check_new_collection(request.name)
    drafts: list[CollectionDraft] = module.draft_collections(request)
    files: dict[Path, str] = {}
    for draft in drafts:
        request.check_new_collection(draft.name, tuple(draft.files))
        directory = request.settings.collections_directory / draft.name
        files[directory / f"{draft.name}.yaml"] = draft.text
        files |= {directory / name: text for name, text in draft.files.items()}
    _write_new_files(files)
    descriptors = request.settings.collections_directory
    return [(descriptors / draft.name / f"{draft.name}.yaml", draft) for draft in drafts]


def _write_new_files(files: Mapping[Path, str]) -> None:
    """Write all files, or none: if one cannot be written, those before it are removed."""
    new_directories: list[Path] = []
    new_files: list[Path] = []
    try:
        for path, text in files.items():
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
                new_directories.append(path.parent)
            try:
                file = path.open("x", encoding="utf-8")
            except FileExistsError:  # another process has written it meanwhile
                raise _build_conflict_error(path) from None
            new_files.append(path)
            with file:
                file.write(text)
    except BaseException:
        for path in new_files:
            path.unlink(missing_ok=True)
        for directory in new_directories:
            with suppress(OSError):  # it is not empty
                directory.rmdir()
        raise


def refuse_table_options(**options: object) -> None:
    """Refuse options of ``hven new`` that choose a table or a kind, which documents of collections have no use for.

    Raises
    ------
    UsageError
        One of the options is given.
    """
    given_names = [name for name, value in options.items() if value]
    if given_names:
        raise UsageError(
            f"--{given_names[0]} does not apply to a document that describes whole collections",
            remedy=f"leave out --{given_names[0]}",
        )
