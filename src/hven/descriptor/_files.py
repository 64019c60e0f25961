"""`files`: the files that a collection publishes as they are, as one more table of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hven.descriptor._expression_names import written
from hven.descriptor._file_roots import options, query, root
from hven.descriptor.tables import rights
from hven.model.resource import Setting, SourceSpec, TableSpec
from hven.model.table import FILES, Column, Table
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.descriptor._inherited import Inherited
    from hven.descriptor.value_schema import Faults, Fields
    from hven.descriptor.written import Written
    from hven.model.table import Root

NAME = "files"
_COLUMNS = (
    ("path", "string", None, "meta.id;meta.file", "Path of the file within the collection", 1),
    ("title", "string", None, "meta.title", "What the file is", 2),
    ("description", "string", None, "meta.note", "What is in it", 3),
    ("url", "string", None, "meta.ref.url;meta.file", "Where the file is had", 1),
    ("media_type", "string", None, "meta.code.mime", "Media type", 4),
    ("bytes", "int64", "byte", "phys.size;meta.file", "Size", 4),
    ("sha256", "string", None, "meta.checksum;meta.file", "SHA-256 of the file", 20),
    ("modified", "timestamp", None, "time.processing;meta.file", "When the file was last changed", 10),
)


def files_table(
    entries: Sequence[Fields], around: Inherited, grounds: Sequence[Path], faults: Faults, *, guarded: bool
) -> TableSpec | None:
    """Build the table of a collection's files, which is ingested like any other; None if there are none, or faults.

    `guarded`: rows say who may have them.
    """
    if not entries:
        return None
    access, policy = rights(around.access, "access", faults)
    guarded = guarded or access != "public" or policy is not None
    sources: list[SourceSpec] = []
    roots: list[Root] = []
    told = True  # whether size and checksum of all are known
    for item in entries:
        if ("files" in item) == ("from" in item):
            faults.error(
                "files: one of files and from says which files are meant",
                item.place,
                "files: data/*.fits, or from: a table whose rows name them",
            )
            return None
        where = root(item, around, grounds, faults, guarded=guarded)
        if where is None or any(_leads_out(pattern, faults) for pattern in item.get("files", ())):
            return None
        if "writers" in item and ("from" in item or where.scheme is not None):
            faults.error(
                "files.writers: files are sent to directories of this machine, by patterns",
                item.places["writers"],
                "leave it out here",
            )
            return None
        text = query(item, around, faults) if "from" in item else None
        if "from" in item and text is None:
            return None
        if (fault := _beside(where, roots)) is not None:
            faults.error(f"files.at: {fault}", item.places.get("at", item.place), "at: raw, another word for each root")
            return None
        if where not in roots:
            roots.append(where)
        told = told and where.scheme is None and ("checksums" not in item or bool(item["checksums"]))
        sources.append(SourceSpec(kind="files", options=options(item, where, text), place=item.place))
    if not sources:
        return None
    place = sources[0].place
    columns = tuple(
        Column(
            name=name,
            type=parse_type(kind),
            unit=unit,
            ucd=ucd,
            description=text,
            rank=rank,
            required=name in ({"path", "url", "bytes", "sha256"} if told else {"path", "url"}),
        )
        for name, kind, unit, ucd, text, rank in _COLUMNS
    )
    table = Table(
        schema=around.schema,
        name=NAME,
        columns=columns,
        title="Files",
        description="The files of this collection, with their sizes and checksums.",
        utype=FILES,
        primary=("path",),
        access=access,
        project=around.project,
        policy=replace(policy, path="path") if policy is not None else None,
        roots=tuple(roots),
    )
    address = Setting(
        column="url",
        how="text",
        value=written("{site.url}/collections/" + around.schema + "/files/{quoted}", place),
        place=place,
    )
    if any(one.direct for one in roots):
        value = f"COALESCE(direct, site.url || '/collections/{around.schema}/files/' || quoted)"
        address = Setting(column="url", how="map", value=written(value, place), place=place)
    return TableSpec(
        table=table,
        sources=tuple(sources),
        settings=(address,),
        declared=columns,
        given={column.name: frozenset({"type", "unit", "ucd", "description"}) for column in columns},
        place=place,
    )


def named_by(entries: Sequence[Fields], schema: str, specs: Sequence[TableSpec], files: TableSpec) -> str | None:
    """Find a table that names files, and that not everybody sees who sees their list; None: there is none."""
    known = {f"{schema}.{spec.table.name}".lower(): spec.table for spec in specs}
    for item in entries:
        words = str(item.get("from", "")).lower().split(".")
        table = known.get(".".join(words if len(words) > 1 else [schema.lower(), *words]))
        if table is None or files.table.policy is not None:
            continue
        if table.policy is not None or table.access not in {"public", files.table.access}:
            return table.qualified
    return None


def _leads_out(pattern: Written, faults: Faults) -> bool:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts:
        faults.error(
            f"files: {pattern} does not stand below the descriptor's directory",
            pattern.place,
            "put the files beside the descriptor, or say root: where they are",
        )
        return True
    return False


def _beside(where: Root, others: Sequence[Root]) -> str | None:
    """Say which other root has the same paths; None: none."""
    for one in others:
        if one.at == where.at and one != where:
            return f"two roots have paths that begin with {where.at or 'nothing'}"
    return None
