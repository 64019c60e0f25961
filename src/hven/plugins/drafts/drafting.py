"""``hven new``: look at a source and write a first descriptor, with comments where it had to guess."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.column_names import REGULAR_IDENTIFIER_PATTERN
from hven.descriptor.api.file_replacement import replace_file
from hven.descriptor.api.table_descriptions import TableDescriptionRequest
from hven.model import plugins
from hven.model.errors import ConflictError, UsageError, UserError
from hven.plugins.drafts import paper_drafts, table_descriptions
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.drafts.database_tables import (
    PASSWORD_PATTERN,
    split_database_address,
)
from hven.plugins.drafts.source_discovery import (
    find_cds_readme,
    find_or_download_file,
    format_descriptor_path,
    is_web_address,
    recognize_catalogue,
    recognize_service_address,
)
from hven.plugins.drafts.standard_drafts import write_checked_draft
from hven.plugins.drafts.table_drafting import TableDrafter
from hven.sources import SourceContext, file_kinds, remote_stores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.descriptor.api.table_descriptions import TableSetDescription
    from hven.model.settings import Settings
    from hven.plugins.drafts.standard_drafts import StandardTableDraft

DATABASE_SOURCE_KIND = "sql"  # reads databases, if the curator gives no kind
# the option that says which table is meant, of kinds that read files
TABLE_OPTIONS = {
    "fits": "hdu",
    "product": "part",
    "votable": "table",
    "fixed": "table",
}


def create_descriptor(
    settings: Settings,
    name: str,
    source: str,
    *,
    kind: str | None = None,
    table: str | None = None,
    standard: str | None = None,
    resolve_secret: Callable[[str], str] | None = None,
) -> Path:
    """Write ``collections/<name>/<name>.yaml``, a first descriptor of a source.

    Parameters
    ----------
    settings
        Settings of the site.
    name
        Name of the collection.
    source
        A file or a folder, by its path from the current directory (of a folder, its files with the commonest ending
        are read); a pattern of files (``'images/*.fits'``); an address (``http(s)://...``: the file is downloaded
        into ``data/``, but the tables of a service, which ends in ``/tap``, are read there); or ``$NAME``, a secret
        that holds the URL of a database.
    kind
        Kind of the source; None: it is guessed.
    table
        Table of a file or a database that has several, as the source's `table` or `hdu` names it.
    standard
        ``epn-tap`` or ``obscore``: the table is mapped to its columns as far as they can be guessed.
    resolve_secret
        Resolves ``$NAME``.

    Returns
    -------
    path
        Path of the descriptor.

    Raises
    ------
    UserError
        The source cannot be read.
    ConflictError
        There is a descriptor already.
    UsageError
        The name cannot be the name of a collection, or options exclude each other.
    """
    check_collection_name(name)
    directory = settings.collections_directory / name
    path = directory / f"{name}.yaml"
    if path.exists():
        raise ConflictError(f"{path} already exists", remedy="edit the file, or remove it first")
    if kind is not None:
        plugins.load_plugin("sources", kind)  # an unknown kind is reported before all else
    creates_directory = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)  # paths that go up from it need it
    try:
        drafter = _DescriptorDrafter(
            settings=settings, name=name, source=source, table=table, standard=standard, resolve_secret=resolve_secret
        )
        draft = drafter.draft_descriptor(kind)
        if isinstance(draft, str):
            text = draft
        else:
            text = write_checked_draft(draft, path, settings)
        replace_file(path, text)
    except BaseException:
        if creates_directory and not any(directory.iterdir()):
            directory.rmdir()
        raise
    return path


def check_collection_name(name: str) -> None:
    """Check that a name can be the name of a collection.

    Raises
    ------
    UsageError
        It cannot.
    """
    if not REGULAR_IDENTIFIER_PATTERN.fullmatch(name) or to_adql_identifier(name) != name.lower():
        raise UsageError(
            f"{name!r} cannot be the name of a collection",
            remedy=(
                f"choose a name such as {to_adql_identifier(name, 'data')}; use only letters, digits and _, and no "
                "reserved word of ADQL"
            ),
        )


def create_descriptor_for_paper(
    settings: Settings,
    name: str,
    source: str,
    papers: Sequence[str],
    *,
    licence: str | None = None,
    **create_options: Any,
) -> Path:
    """Write ``collections/<name>/<name>.yaml`` for the data of a paper; its files are copied beside the descriptor.

    Parameters
    ----------
    settings, name
        As in `create_descriptor`.
    source
        The table, or the folder that has it. Its other files become the collection's files; a ReadMe of CDS or a
        BibTeX file gives title, authors and abstract.
    papers
        DOIs and bibcodes of the paper.
    licence
        Name of the licence that the authors chose.
    create_options
        Further options of `create_descriptor`.

    Returns
    -------
    path
        Path of the descriptor.

    Raises
    ------
    UserError
        As in `create_descriptor`; an identifier is invalid; the source has no table, or several.
    ConflictError
        There is a descriptor already.
    """
    directory = settings.collections_directory / name
    paper_drafts.parse_paper_identifiers(papers)
    if (directory / f"{name}.yaml").exists():
        raise ConflictError(f"{directory / name}.yaml already exists", remedy="edit the file, or remove it first")
    creates_directory = not directory.exists()
    try:
        table, files = paper_drafts.copy_paper_files(directory, source)
        path = create_descriptor(settings, name, str(table), **create_options)
        draft_text = path.read_text("utf-8")
        text = paper_drafts.add_paper_metadata(draft_text, papers, files, table, licence)
        replace_file(path, text)
    except BaseException:
        if creates_directory:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    return path


class _DescriptorDrafter:
    """Finds out what a source is, and drafts the descriptor of a collection from it."""

    def __init__(
        self,
        *,
        settings: Settings,
        name: str,
        source: str,
        table: str | None,
        standard: str | None,
        resolve_secret: Callable[[str], str] | None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._source = source
        self._table = table
        self._standard = standard
        self._resolve_secret = resolve_secret
        self._directory = settings.collections_directory / name

    def draft_descriptor(self, kind: str | None) -> str | StandardTableDraft:
        """Write the text of the descriptor, or collect what the table of a standard is written from.

        `kind` is the kind of the source, if the curator gives it.
        """
        if self._is_database_source():
            kind, options = self._parse_database_options(kind)
        else:
            description = None
            if kind is None and self._standard is None:
                description = self._read_service_description()
            if description is not None:
                return self._write_collection_descriptor(description)
            remote_source = self._find_remote_source(kind)
            if remote_source is not None:
                kind, options = remote_source
            else:
                source_file, options = self._find_or_download_source_file(kind)
                if kind is None:
                    description = self._read_file_description(source_file)
                if description is not None and self._standard is None:
                    return self._write_collection_descriptor(description)
                if description is not None:
                    kind, options = _select_described_source(description)
                    self._table = None
                kind, options = self._complete_file_options(kind, options, source_file)
        if self._table is not None:
            options = _with_table_option(kind, options, self._table)
        if self._standard is not None:
            _check_mappable_kind(kind)
        drafter = TableDrafter(
            name=self._name,
            kind=kind,
            options=options,
            directory=self._directory,
            origin=self._source,
            resolve_secret=self._resolve_secret,
            allow_private=self._settings.allow_private,
            settings=self._settings,
        )
        if self._standard is not None:
            return drafter.build_standard_draft(self._standard)
        return drafter.write_descriptor()

    def _is_database_source(self) -> bool:
        """Return whether the source is a secret, or the address of a database without a password."""
        if self._source.startswith("$"):
            return True
        address, _ = split_database_address(self._source)
        return bool(address) and not PASSWORD_PATTERN.search(self._source)

    def _parse_database_options(self, kind: str | None) -> tuple[str, dict[str, Any]]:
        address, table_in_address = split_database_address(self._source)
        self._table = self._table or table_in_address
        return kind or DATABASE_SOURCE_KIND, {"url": address or self._source}

    def _write_collection_descriptor(self, description: TableSetDescription) -> str:
        return table_descriptions.write_collection_descriptor(self._name, self._source, description)

    def _find_remote_source(self, kind: str | None) -> tuple[str, dict[str, Any]] | None:
        """Return kind and options of a service or of a catalogue of files; None: the source is neither."""
        service = recognize_service_address(self._source, kind)
        if service is not None:
            return service
        catalogue = recognize_catalogue(self._settings, self._source, self._directory, kind)
        if catalogue is not None:
            return catalogue
        if not is_web_address(self._source) and re.match(r"[a-z][a-z0-9+]*://", self._source):
            raise UsageError(
                "the address of a database must be a secret, because it often contains a password",
                remedy="put the address in an environment variable, and write --from '$NAME'",
            )
        return None

    def _find_or_download_source_file(self, kind: str | None) -> tuple[Path, dict[str, Any]]:
        if kind is None:
            self._source = _find_stac_collection_file(self._source)
        return find_or_download_file(self._settings, self._source, self._directory)

    def _complete_file_options(
        self, kind: str | None, options: dict[str, Any], source_file: Path
    ) -> tuple[str, dict[str, Any]]:
        """Guess the kind of a file, and add the options that only this kind has."""
        if kind is None:
            kind = _guess_file_kind(source_file)
        file_option = file_kinds.find_file_option_name(kind)
        if file_option != "files":
            return kind, {file_option: options["files"]}
        if kind == "csv":
            readme_options = find_cds_readme(source_file, self._directory, self._table)
            if readme_options:
                return "fixed", {**options, **readme_options}
        return kind, options

    def _read_service_description(self) -> TableSetDescription | None:
        """Ask a service for several tables at once."""
        if not self._source.startswith(("http://", "https://")):
            return None
        context = SourceContext(
            directory=self._directory,
            resolve_secret=self._resolve_secret,
            allow_private=self._settings.allow_private,
            is_inspection=True,
        )
        request = TableDescriptionRequest(name=self._name, address=self._source, table=self._table, context=context)
        return table_descriptions.read_service_table_descriptions(request)

    def _read_file_description(self, path: Path) -> TableSetDescription | None:
        """Read a file that describes tables instead of holding one."""
        context = SourceContext(
            directory=self._directory,
            resolve_secret=self._resolve_secret,
            allow_private=self._settings.allow_private,
            allowed_roots=self._settings.allowed_directories,
        )
        request = TableDescriptionRequest(
            name=self._name,
            path=path,
            table=self._table,
            format_path=partial(format_descriptor_path, self._settings, self._directory),
            context=context,
        )
        return table_descriptions.read_table_description_file(request)


def _check_mappable_kind(kind: str) -> None:
    """Check that tables of a kind of source can be mapped to a standard."""
    database = file_kinds.find_database_signature(kind)
    if database is not None and database.copying_kind:
        raise UsageError(
            "Hven cannot guess a mapping to a standard if the table is published in place",
            remedy="leave out --live or --standard",
        )


def _guess_file_kind(source_file: Path) -> str:
    """Guess the kind of source by the first bytes of a file, else by its name, else by its ending."""
    detected_kind = file_kinds.detect_kind_from_file_content(source_file)
    named_kind = file_kinds.find_file_kind_by_name(source_file.name)
    # all text begins like csv: a file of text that is called .xml or .fits is a damaged one, and its reader says where
    kind = named_kind or detected_kind if detected_kind == "csv" else detected_kind or named_kind
    package = file_kinds.find_disabled_package_of_file(source_file.name)
    if kind and (package is None or detected_kind != "csv"):
        return kind
    if source_file.name.lower().endswith(remote_stores.ARCHIVE_EXTENSIONS):
        return "product"
    if package is not None:
        raise UserError(
            f"Hven cannot read {source_file.name} without the plug-in package {package!r}",
            remedy=f"add {package!r} to `plugins` in hven.toml",
        )
    return "csv"


def _with_table_option(kind: str, options: dict[str, Any], table: str) -> dict[str, Any]:
    """Add the option by which a kind of source chooses a table."""
    service = file_kinds.find_service_signature(kind)
    is_database = file_kinds.find_database_signature(kind) is not None
    key = "table" if is_database else TABLE_OPTIONS.get(kind)
    if service:
        key = service.table_option
    if not key:
        raise UsageError(f"a {kind} source has no tables to choose from", remedy="leave out --table")
    if table.isdigit() and not is_database and not service:
        return {**options, key: int(table)}
    return {**options, key: table}


def _find_stac_collection_file(source: str) -> str:
    """Return the file of the STAC collection in a folder; it names the items, and is none of them.

    Another source is returned as it is.
    """
    collection = Path.cwd() / Path(source).expanduser() / "collection.json"
    if "://" in source or not collection.is_file():
        return source
    if table_descriptions.is_table_description_file(collection):
        return str(Path(source) / collection.name)
    return source


def _select_described_source(description: TableSetDescription) -> tuple[str, dict[str, Any]]:
    """Return kind and options of the only table that a description has."""
    sources = [dict(table.source) for table in description.tables if table.source]
    if len(sources) != 1:
        raise UsageError(
            (
                f"the {description.kind} describes {len(sources)} tables with rows, but Hven can map only one to a "
                "standard"
            ),
            remedy="choose a table with --table",
        )
    return str(sources[0].pop("kind")), sources[0]


def write_table_draft(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    directory: Path,
    *,
    origin: str | None = None,
    resolve_secret: Callable[[str], str] | None = None,
    allow_private: bool = False,
) -> str:
    """Write a first descriptor of one table `main`.

    Parameters
    ----------
    name
        Name of the collection.
    kind
        Kind of the source.
    options
        Options of the source as the descriptor has them; paths are relative to `directory`.
    directory
        Directory of the descriptor.
    origin
        Source as the curator gave it, for the first comment.
    resolve_secret
        Resolves ``$NAME``.
    allow_private
        Whether services that are not on the public internet may be asked.

    Returns
    -------
    str
        YAML that `descriptor.load_descriptor` accepts.

    Raises
    ------
    SourceError
        The source cannot be read with these options.
    UsageError
        The source has several tables, and none was chosen.
    """
    drafter = TableDrafter(
        name=name,
        kind=kind,
        options=options,
        directory=directory,
        origin=origin,
        resolve_secret=resolve_secret,
        allow_private=allow_private,
    )
    return drafter.write_descriptor()
