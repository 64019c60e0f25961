"""Write answers as VOTables with the metadata of their source, and in versions before 1.4.

This module extends the core's writer of VOTables at the point ``votable.forms``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lxml import etree

from hven.model.errors import ParamError
from hven.model.types import ColumnType
from hven.plugins.source_votables.input_documents import (
    InputDocument,
    SourceField,
    find_source_fields,
    find_table,
    parse_without_namespaces,
)
from hven.plugins.source_votables.schema_rules import (
    fit_document,
    make_unique_id,
    remove_dangling_references,
    replace_references,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats import TableMetadata
    from hven.model.table import Column

DEFAULT_VERSION = "1.4"
OLD_VERSIONS = ("1.1", "1.2", "1.3")  # the core writes later ones
VERSIONS_WITHOUT_BINARY2 = ("1.1", "1.2")
NAMESPACE_PREFIX = "http://www.ivoa.net/xml/VOTable/v"
START_CLOSING = "</TABLE></RESOURCE></VOTABLE>"  # completes the start of a document
ROWS_MARK = "rows"  # content of the comment that stands for DATA while the document is made
TEXT_DATATYPES = {"char", "unicodeChar"}
_TEXT_ARRAYSIZE = re.compile(r"\d*\*?")
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_QUERY_STATUS_INFO = "QUERY_STATUS"  # an INFO of the source about its own rows


def choose_document_form(metadata: TableMetadata, options: Mapping[str, str]) -> VotableForm | None:
    """Choose the form of a document.

    Parameters
    ----------
    metadata
        The answer.
    options
        Options of the format.

    Returns
    -------
    form
        None: the usual form of the core.

    Raises
    ------
    ParamError
        The version does not have the serialization.
    """
    has_source_names = options.get("names", "").lower() == "source"
    namespace = options.get("namespace")
    version = options.get("version")
    if version is None:
        version = namespace if namespace in VERSIONS_WITHOUT_BINARY2 else DEFAULT_VERSION
    if not has_source_names and version not in OLD_VERSIONS:
        return None
    lacks_binary2 = version in VERSIONS_WITHOUT_BINARY2
    serialization = options.get("serialization", "TABLEDATA" if lacks_binary2 else "BINARY2").upper()
    if lacks_binary2 and serialization == "BINARY2":
        raise ParamError(
            f"VOTable {version} has no serialization BINARY2",
            name="RESPONSEFORMAT",
            remedy="use serialization=TABLEDATA or serialization=BINARY, or version=1.3",
        )
    return VotableForm(
        metadata,
        version=version,
        namespace=namespace,
        serialization=serialization,
        has_source_names=has_source_names,
    )


class VotableForm:
    """A form of a VOTable, as the core's writer uses it (`hven.formats.votable.DocumentForm`).

    Parameters
    ----------
    metadata
        The answer.
    version
        Version of the document.
    namespace
        Version of its namespace; None: that of the version.
    serialization
        TABLEDATA, BINARY or BINARY2.
    has_source_names
        Whether columns appear as in the documents that their tables were published from.
    """

    def __init__(
        self,
        metadata: TableMetadata,
        *,
        version: str,
        namespace: str | None,
        serialization: str,
        has_source_names: bool,
    ) -> None:
        self.serialization = serialization
        self.columns: Sequence[Column] = metadata.columns
        self._metadata = metadata
        self._version = version
        self._namespace = NAMESPACE_PREFIX + (namespace or min(version, "1.3"))
        self._documents: list[InputDocument] = []
        self._source_fields: list[SourceField | None] = []
        self._closing = ""
        self._new_ids: dict[str, str] = {}  # of FIELDs: that which the core gives -> that of the document
        if has_source_names:
            self._documents, self._source_fields = find_source_fields(metadata)
            self.columns = [
                self._restore_text_arraysize(column, source_field)
                for column, source_field in zip(metadata.columns, self._source_fields, strict=True)
            ]

    def _restore_text_arraysize(self, column: Column, source_field: SourceField | None) -> Column:
        """Give a column of texts the length that its FIELD declares; all other types are those of the values."""
        if source_field is None or column.type.datatype not in TEXT_DATATYPES or not column.type.is_string:
            return column
        element = self._documents[source_field.document].fields[source_field.position]
        arraysize = _read_arraysize(element)
        if element.get("datatype") not in TEXT_DATATYPES or not _TEXT_ARRAYSIZE.fullmatch(arraysize or ""):
            return column
        text_type = ColumnType(column.type.datatype, arraysize, column.type.xtype)
        return column.copy_with(type=text_type)

    def write_start(self, start_text: str) -> str:
        """Write the document up to DATA.

        Parameters
        ----------
        start_text
            What the core writes there.
        """
        if not self.columns:
            self._closing = "</RESOURCE></VOTABLE>"
            return start_text
        own_root = parse_without_namespaces(start_text + START_CLOSING)
        own_ids = [field.get("ID", "") for field in find_table(own_root).iterfind("FIELD")]
        if self._documents:
            root = _SourceDocumentBuilder(self._documents, self._source_fields, own_root).build_document()
        else:
            root = own_root
        new_ids = fit_document(root, self._version)
        fields = find_table(root).findall("FIELD")
        self._new_ids = new_ids | {
            own_id: field.get("ID", "") for own_id, field in zip(own_ids, fields, strict=True) if own_id
        }
        root.set("version", self._version)
        return self._split_document_at_rows(root)

    def _split_document_at_rows(self, root: etree._Element) -> str:
        for element in root.iter():
            if element.tag not in {"DESCRIPTION", "INFO", "OPTION", "VALUES"}:
                element.tail = "\n"
        for place in root.iter("VOTABLE", "RESOURCE", "TABLE", "GROUP"):
            place.text = "\n"
        find_table(root).append(etree.Comment(ROWS_MARK))
        text = etree.tostring(root, encoding="unicode")
        start, _, self._closing = text.partition(f"<!--{ROWS_MARK}-->")
        root_start = f'<VOTABLE xmlns="{self._namespace}"'
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + start.replace("<VOTABLE", root_start, 1)

    def write_end(self, trailing_status_xml: str) -> str:
        """Write the document after DATA.

        Parameters
        ----------
        trailing_status_xml
            An INFO if the rows are not complete, or an empty text.
        """
        status = trailing_status_xml
        if status and self._version == "1.1":  # has no INFO after a TABLE
            status = f'<RESOURCE type="meta" name="status">{status}</RESOURCE>\n'
        table_end, _, rest = self._closing.partition("</TABLE>")
        resources_end, _, _ = rest.partition("</VOTABLE>")
        if not self.columns:
            return f"{status}{self._closing}\n"
        descriptors = "".join(self._write_descriptor(text) for text in self._metadata.descriptors_xml)
        return f"{table_end}</TABLE>\n{status}{resources_end.lstrip()}{descriptors}</VOTABLE>\n"

    def _write_descriptor(self, text: str) -> str:
        """Write the descriptor of a service with the document's IDs; 1.1 has no GROUP for its inputs."""
        if self._version == "1.1":
            return ""
        resource = parse_without_namespaces(text)
        for element in resource.iter():
            reference = element.get("ref")
            if reference is not None and not self._new_ids.get(reference, reference):
                return ""
        replace_references(resource, self._new_ids)
        references = {element: element.get("ref") for element in resource.iter() if element.get("ref")}
        fit_document(resource, self._version)
        for element, reference in references.items():  # to FIELDs, which are outside of the resource
            element.set("ref", reference or "")
        return etree.tostring(resource, encoding="unicode") + "\n"


def _read_arraysize(element: etree._Element) -> str | None:
    """Read an arraysize; 1 and none mean the same."""
    arraysize = re.sub(r"\s+", "", element.get("arraysize", ""))
    if arraysize in {"", "1"}:
        return None
    return arraysize


def _has_same_type(element: etree._Element, own_field: etree._Element) -> bool:
    datatypes = [item.get("datatype", "").strip().lower() for item in (element, own_field)]
    return datatypes[0] == datatypes[1] and _read_arraysize(element) == _read_arraysize(own_field)


class _SourceDocumentBuilder:
    """Builds the document of a source around the columns of an answer.

    The first document gives everything around the columns. Columns of other documents keep only their FIELDs.
    """

    def __init__(
        self,
        documents: Sequence[InputDocument],
        source_fields: Sequence[SourceField | None],
        own_root: etree._Element,
    ) -> None:
        self._documents = documents
        self._source_fields = source_fields
        self._own_root = own_root
        self._root = documents[0].copy_root()
        self._table = find_table(self._root)
        self._used_ids = {element.get("ID", "") for element in self._root.iter()}
        self._needed_frames: dict[str, str] = {}  # of the answer: ID -> ID in the document

    def build_document(self) -> etree._Element:
        """Build the document, up to its rows."""
        all_fields = self._table.findall("FIELD")
        source_keys = [_list_field_keys(field) for field in all_fields]
        own_fields = find_table(self._own_root).findall("FIELD")
        fields = []
        kept_keys: set[str] = set()
        for source_field, own_field in zip(self._source_fields, own_fields, strict=True):
            if source_field is None:
                field = self._adopt_own_field(own_field)
            elif source_field.document:
                field = self._adopt_foreign_field(source_field)
            else:
                field = all_fields[source_field.position]
                kept_keys |= source_keys[source_field.position]
            if source_field is not None:
                _set_written_type_with_null(field, own_field)
            fields.append(field)
        self._replace_fields(all_fields, fields)
        lost_keys = set().union(*source_keys) - kept_keys
        self._remove_incomplete_groups()
        self._remove_links_to(lost_keys)
        remove_dangling_references(self._root)
        self._remove_obsolete_infos()
        self._add_own_infos_and_frames()
        return self._root

    def _adopt_own_field(self, own_field: etree._Element) -> etree._Element:
        own_field.set("ID", make_unique_id(own_field.get("ID", ""), self._used_ids))
        frame = own_field.get("ref")
        if frame is not None:
            if frame not in self._needed_frames:
                self._needed_frames[frame] = make_unique_id(frame, self._used_ids)
            own_field.set("ref", self._needed_frames[frame])
        return own_field

    def _adopt_foreign_field(self, source_field: SourceField) -> etree._Element:
        document = InputDocument(self._documents[source_field.document].copy_root())
        field = document.fields[source_field.position]
        name = field.get("ID") or field.get("name") or ""
        field.set("ID", make_unique_id(name, self._used_ids))
        if "ref" in field.attrib:
            del field.attrib["ref"]
        return field

    def _replace_fields(self, old_fields: Sequence[etree._Element], fields: Sequence[etree._Element]) -> None:
        """Put the FIELDs of the answer where those of the source were; others keep their places between these."""
        if list(old_fields) == list(fields):
            return
        children = list(self._table)
        position = children.index(old_fields[0])
        for field in old_fields:
            self._table.remove(field)
        for number, field in enumerate(fields):
            self._table.insert(position + number, field)

    def _remove_incomplete_groups(self) -> None:
        """Remove the GROUPs that name columns of the source which the answer does not have, with all in them."""
        answer_ids = {field.get("ID") for field in self._table.iterfind("FIELD")}
        source_ids = {field.get("ID") for field in self._documents[0].fields}
        for group in list(self._root.iter("GROUP")):
            references = {reference.get("ref") for reference in group.iterfind("FIELDref")}
            if (references & source_ids) - answer_ids:
                parent = group.getparent()
                if parent is not None:
                    parent.remove(group)

    def _remove_links_to(self, lost_keys: set[str]) -> None:
        """Remove links whose templates need columns that the answer does not have."""
        if not lost_keys:
            return
        for link in list(self._table.iter("LINK")):
            if lost_keys.intersection(_PLACEHOLDER.findall(link.get("href", ""))):
                parent = link.getparent()
                if parent is not None:
                    parent.remove(link)

    def _remove_obsolete_infos(self) -> None:
        """Remove the INFOs of the source that say how its own query ended."""
        for info in list(self._root.iter("INFO")):
            parent = info.getparent()
            if parent is not None and info.get("name", "").upper() == _QUERY_STATUS_INFO:
                parent.remove(info)

    def _add_own_infos_and_frames(self) -> None:
        """Add the INFOs of the answer, and the frames of its own columns, to the innermost RESOURCE."""
        resource = self._table.getparent()
        own_resource = self._own_root.find("RESOURCE")
        if resource is None or own_resource is None:
            return
        own_infos = own_resource.findall("INFO")
        if own_infos:
            resource.set("type", "results")
        for info in own_infos:
            resource.append(info)
        for frame in [*own_resource.findall("COOSYS"), *own_resource.findall("TIMESYS")]:
            if frame.get("ID") in self._needed_frames:
                frame.set("ID", self._needed_frames[frame.get("ID", "")])
                resource.append(frame)


def _list_field_keys(field: etree._Element) -> set[str]:
    """List the words that links use for a column: its ID and its name."""
    return {key for key in (field.get("ID"), field.get("name")) if key}


def _set_written_type_with_null(field: etree._Element, own_field: etree._Element) -> None:
    """Declare the type that the values are written in, and the number that stands for null in them."""
    if not field.get("name"):
        field.set("name", own_field.get("name", ""))
    if not _has_same_type(field, own_field):
        for name in ("datatype", "arraysize", "xtype"):
            value = own_field.get(name)
            if value is not None:
                field.set(name, value)
            elif name in field.attrib:
                del field.attrib[name]
    own_values = own_field.find("VALUES")
    null_value = None
    if own_values is not None:
        null_value = own_values.get("null")
    if null_value is None:
        return
    values = field.find("VALUES")
    if values is None:
        values = etree.SubElement(field, "VALUES")
    values.set("null", null_value)
