"""Read VOTable, and write 1.4 and 1.5, as streams, in TABLEDATA, BINARY and BINARY2."""

from __future__ import annotations

from hven.formats import TableFormat
from hven.formats.votable.document import NAMESPACE_VERSIONS, assign_xml_ids
from hven.formats.votable.reader import list_votable_tables, read_votable
from hven.formats.votable.service_descriptors import DescriptorTemplate, format_placeholder, write_service_descriptor
from hven.formats.votable.writer import (
    DocumentForm,
    is_string_array,
    write_metadata_document,
    write_small_votable,
    write_votable,
    write_votable_error,
)

FORMAT = TableFormat(
    name="votable",
    title="VOTable",
    menu_rank=1,
    media_types=("application/x-votable+xml", "text/xml", "application/xml"),
    extension="vot",
    aliases=("votable/b2", "votable/b", "votable/td"),
    write=write_votable,
    write_small_table=write_small_votable,
    write_error=write_votable_error,
    read=read_votable,
    alias_options={
        "votable/b2": {"serialization": "BINARY2"},
        "votable/b": {"serialization": "BINARY"},
        "votable/td": {"serialization": "TABLEDATA"},
    },
    media_type_options={"text/xml": {"serialization": "TABLEDATA"}, "application/xml": {"serialization": "TABLEDATA"}},
    option_choices={
        "serialization": ("TABLEDATA", "BINARY", "BINARY2"),
        "version": NAMESPACE_VERSIONS,
        "namespace": NAMESPACE_VERSIONS,
        "names": ("source",),
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
    "DescriptorTemplate",
    "DocumentForm",
    "assign_xml_ids",
    "format_placeholder",
    "is_string_array",
    "list_votable_tables",
    "read_votable",
    "write_metadata_document",
    "write_service_descriptor",
    "write_small_votable",
    "write_votable",
    "write_votable_error",
]
