"""Build the table of the files that a collection publishes as they are (`files`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hven.descriptor._file_roots import build_file_source_options, read_file_root, write_file_listing_query
from hven.descriptor._name_resolution import with_place
from hven.descriptor._table_access import read_access_policy
from hven.model import plugins
from hven.model.resource import ColumnMapping, SourceSpec, TableSpec
from hven.model.table import FILES_UTYPE, Column, Table, build_localized_text
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.descriptor._collection_context import InheritedCollectionKeys
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.table import FileRoot

FILES_TABLE_NAME = "files"
_FILES_TABLE_COLUMNS = (
    ("path", "string", None, "meta.id;meta.file", "Path of the file within the collection", 1),
    ("title", "string", None, "meta.title", "What the file is", 2),
    ("description", "string", None, "meta.note", "What is in it", 3),
    ("url", "string", None, "meta.ref.url;meta.file", "Where to get the file", 1),
    ("media_type", "string", None, "meta.code.mime", "Media type", 4),
    ("bytes", "int64", "byte", "phys.size;meta.file", "Size", 4),
    ("sha256", "string", None, "meta.checksum;meta.file", "SHA-256 of the file", 20),
    ("modified", "timestamp", None, "time.processing;meta.file", "When the file was last changed", 10),
)


def build_files_table(
    file_entries: Sequence[LocatedKeyValues],
    collection_context: InheritedCollectionKeys,
    allowed_directories: Sequence[Path],
    faults: FaultCollector,
    *,
    is_restricted: bool,
) -> TableSpec | None:
    """Build the table of a collection's files, which is ingested like any other; None if there are none, or faults.

    `is_restricted` says that rows of other tables decide who may have a file.
    """
    if not file_entries:
        return None
    access, policy = read_access_policy(collection_context.access, "access", faults)
    is_restricted = is_restricted or access != "public" or policy is not None
    sources: list[SourceSpec] = []
    roots: list[FileRoot] = []
    has_known_checksums = True  # whether size and checksum of all files are known
    for file_fields in file_entries:
        file_root = _read_valid_file_root(
            file_fields, collection_context, allowed_directories, faults, is_restricted=is_restricted
        )
        if file_root is None:
            return None
        query = None
        if "from" in file_fields:
            query = write_file_listing_query(file_fields, collection_context, faults)
            if query is None:
                return None
        conflict = _find_file_root_conflict(file_root, roots)
        if conflict is not None:
            place = file_fields.places.get("at", file_fields.place)
            faults.add_error(f"files.at: {conflict}", place, "write a different `at` for each root, such as `at: raw`")
            return None
        if file_root not in roots:
            roots.append(file_root)
        if file_root.scheme is not None or not file_fields.get("checksums", True):
            has_known_checksums = False
        options = build_file_source_options(file_fields, file_root, query)
        sources.append(SourceSpec(kind="files", options=options, place=file_fields.place))
    columns = _build_files_table_columns(has_known_checksums=has_known_checksums)
    table = Table(
        schema=collection_context.schema,
        name=FILES_TABLE_NAME,
        columns=columns,
        title=build_localized_text({"en": "Files", "fr": "Fichiers"}),
        description=build_localized_text(
            {
                "en": "The files of this collection, with their sizes and checksums.",
                "fr": "Les fichiers de cette collection, avec leurs tailles et leurs sommes de contrôle.",
            }
        ),
        utype=FILES_UTYPE,
        primary=("path",),
        access=access,
        project=collection_context.project,
        policy=replace(policy, path="path") if policy is not None else None,
        roots=tuple(roots),
    )
    place = sources[0].place
    address_start = f"/collections/{collection_context.schema}/files/"
    how, value = "text", f"{{site.url}}{address_start}{{quoted}}"
    if any(file_root.redirects_clients for file_root in roots):
        how, value = "map", f"COALESCE(direct, site.url || '{address_start}' || quoted)"
    url_mapping = ColumnMapping(column="url", how=how, value=with_place(value, place), place=place)
    return TableSpec(
        table=table,
        sources=tuple(sources),
        settings=(url_mapping,),
        declared_columns=columns,
        explicit_attributes={column.name: frozenset({"type", "unit", "ucd", "description"}) for column in columns},
        place=place,
    )


def _read_valid_file_root(
    file_fields: LocatedKeyValues,
    collection_context: InheritedCollectionKeys,
    allowed_directories: Sequence[Path],
    faults: FaultCollector,
    *,
    is_restricted: bool,
) -> FileRoot | None:
    """Read the root of an entry of ``files``; None after a fault in its root, patterns or writers."""
    if ("files" in file_fields) == ("from" in file_fields):
        faults.add_error(
            "files: an entry needs either 'files' or 'from'",
            file_fields.place,
            "write `files: data/*.fits`, or `from:` with a table whose rows name the files",
        )
        return None
    file_root = read_file_root(
        file_fields, collection_context, allowed_directories, faults, is_restricted=is_restricted
    )
    if file_root is None or any(_report_escaping_path(pattern, faults) for pattern in file_fields.get("files", ())):
        return None
    if "writers" in file_fields and ("from" in file_fields or file_root.scheme is not None):
        faults.add_error(
            "files.writers: only an entry whose 'files' are in a directory on this machine can receive files",
            file_fields.places["writers"],
            "remove 'writers'",
        )
        return None
    unused_key = None
    if "writers" in file_fields:
        unused_key = plugins.explain_ineffective_key("files.writers")
    if unused_key is not None:
        faults.add_warning(unused_key.message, file_fields.places["writers"], unused_key.remedy)
    return file_root


def _build_files_table_columns(*, has_known_checksums: bool) -> tuple[Column, ...]:
    required_names = {"path", "url"}
    if has_known_checksums:
        required_names |= {"bytes", "sha256"}
    columns = []
    for name, type_name, unit, ucd, description, rank in _FILES_TABLE_COLUMNS:
        column = Column(
            name=name,
            type=parse_type(type_name),
            unit=unit,
            ucd=ucd,
            description=description,
            rank=rank,
            required=name in required_names,
        )
        columns.append(column)
    return tuple(columns)


def find_restricting_table(
    file_entries: Sequence[LocatedKeyValues], schema: str, table_specs: Sequence[TableSpec], files_spec: TableSpec
) -> str | None:
    """Find a table that names files, and whose rows fewer users see than the list of files; None: there is none."""
    tables_by_name = {f"{schema}.{spec.table.name}".lower(): spec.table for spec in table_specs}
    for file_fields in file_entries:
        name = str(file_fields.get("from", "")).lower()
        if "." not in name:
            name = f"{schema.lower()}.{name}"
        table = tables_by_name.get(name)
        if table is None or files_spec.table.policy is not None:
            continue
        if table.policy is not None or table.access not in {"public", files_spec.table.access}:
            return table.qualified_name
    return None


def _report_escaping_path(pattern: LocatedYamlScalar, faults: FaultCollector) -> bool:
    """Report a pattern that leaves the descriptor's directory; return whether it does."""
    path = PurePosixPath(pattern)
    if not path.is_absolute() and ".." not in path.parts:
        return False
    faults.add_error(
        f"files: {pattern} is not in the descriptor's directory",
        pattern.place,
        "put the files beside the descriptor, or set `root:` to the directory that contains them",
    )
    return True


def _find_file_root_conflict(file_root: FileRoot, other_roots: Sequence[FileRoot]) -> str | None:
    """Return the message for another root that has the same paths; None: there is none."""
    for other_root in other_roots:
        if other_root.path_prefix == file_root.path_prefix and other_root != file_root:
            if not file_root.path_prefix:
                return "two roots have no `at`"
            return f"two roots have the same `at`: {file_root.path_prefix}"
    return None
