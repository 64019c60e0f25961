"""`files`: the files that a collection publishes as they are, as one more table of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hven.descriptor._expression_names import written
from hven.descriptor.tables import rights
from hven.model.resource import Setting, SourceSpec, TableSpec
from hven.model.table import FILES, Column, Table
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.tables import Inherited
    from hven.descriptor.value_schema import Faults, Fields

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


def files_table(entries: Sequence[Fields], around: Inherited, faults: Faults) -> TableSpec | None:
    """Build the table of a collection's files, which is ingested like any other; None if there are none, or faults."""
    sources = []
    for item in entries:
        patterns = item.get("files", ())
        for pattern in patterns:
            path = PurePosixPath(pattern)
            if path.is_absolute() or ".." in path.parts:
                faults.error(
                    f"files: {pattern} does not stand below the descriptor's directory",
                    pattern.place,
                    "put the files beside the descriptor",
                )
                return None
        options = {key: str(item[key]) for key in ("title", "description", "type") if key in item}
        listed = {key: [str(one) for one in item[key]] for key in ("files", "ignore") if key in item}
        if patterns:
            sources.append(SourceSpec(kind="files", options=options | listed, place=item.place))
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
            required=name in {"path", "url", "bytes", "sha256"},
        )
        for name, kind, unit, ucd, text, rank in _COLUMNS
    )
    access, policy = rights(around.access, "access", faults)
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
    )
    address = written("{site.url}/collections/" + around.schema + "/files/{quoted}", place)
    return TableSpec(
        table=table,
        sources=tuple(sources),
        settings=(Setting(column="url", how="text", value=address, place=place),),
        declared=columns,
        given={column.name: frozenset({"type", "unit", "ucd", "description"}) for column in columns},
        place=place,
    )
