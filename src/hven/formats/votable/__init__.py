"""VOTable 1.4 and 1.5: TABLEDATA, BINARY and BINARY2, written and read as streams."""

from __future__ import annotations

from hven.formats import Format
from hven.formats.votable.head import NEWER, ODD, VERSION, field_ids
from hven.formats.votable.reader import read, tables
from hven.formats.votable.service import Frame, gap, resource
from hven.formats.votable.writer import at_once, is_string_array, metadata, write, write_error
from hven.formats.votable.xml import legal

FORMAT = Format(
    name="votable",
    title="VOTable",
    menu_rank=1,
    media_types=("application/x-votable+xml", "text/xml", "application/xml"),
    extension="vot",
    aliases=("votable/b2", "votable/b", "votable/td"),
    write=write,
    at_once=at_once,
    write_error=write_error,
    read=read,
    by_alias={
        "votable/b2": {"serialization": "BINARY2"},
        "votable/b": {"serialization": "BINARY"},
        "votable/td": {"serialization": "TABLEDATA"},
    },
    by_media_type={"text/xml": {"serialization": "TABLEDATA"}, "application/xml": {"serialization": "TABLEDATA"}},
    choices={
        "serialization": ("TABLEDATA", "BINARY", "BINARY2"),
        "version": (VERSION, NEWER),
        "namespace": ODD,
        "strings": ("array", "json"),
    },
    ivoids={
        "application/x-votable+xml;serialization=BINARY2": "ivo://ivoa.net/std/TAPRegExt#output-votable-binary2",
        "application/x-votable+xml;serialization=BINARY": "ivo://ivoa.net/std/TAPRegExt#output-votable-binary",
        "application/x-votable+xml;serialization=TABLEDATA": "ivo://ivoa.net/std/TAPRegExt#output-votable-td",
    },
)

__all__ = [
    "FORMAT",
    "Frame",
    "at_once",
    "field_ids",
    "gap",
    "is_string_array",
    "legal",
    "metadata",
    "read",
    "resource",
    "tables",
    "write",
    "write_error",
]
