"""Read VOTable: an XML parser reads the metadata; the rows bypass it in big pieces.

The parser reads up to the tag that opens TABLEDATA or STREAM, and again from the tag that closes it. So no memory or
time goes into a tree of cells. No DTD is loaded, no entity is resolved, nothing is fetched.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import pyarrow as pa
import pybase64
from lxml import etree

from hven.formats import ErrorDocumentError, TableMetadata, TableStream
from hven.formats.votable import binary_reader, metadata_reader, tabledata_reader
from hven.formats.votable.bytestream import read_utf8_chunks
from hven.formats.votable.nonstandard_types import (
    find_nonstandard_integer_types,
    replace_nonstandard_types_with_carriers,
    restore_nonstandard_types,
)
from hven.model.deadlines import check_deadline
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model import ReadDeviation
    from hven.model.table import Column

BATCH_ROWS = 65_536
_ROWS_OPENING_TAG = re.compile(rb"<(?:[\w.-]+:)?(TABLEDATA|STREAM)(?=[\s/>])(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*>")
_ROWS_CLOSING_TAGS = {"TABLEDATA": re.compile(rb"</(?:[\w.-]+:)?TABLEDATA\s*>"), "STREAM": re.compile(rb"<")}
_PIECE_BYTES = 4 << 20  # bytes of rows that are converted to columns at once
_MAX_ROW_BYTES = 256 << 20  # bytes of a single row
_MAX_METADATA_BYTES = 16 << 20  # bytes beside rows, which become a tree in memory
_MAX_ELEMENTS = 250_000  # elements beside rows
_MAX_FIELDS = 20_000  # columns of a table
_MAX_TAG_BYTES = 4 << 20  # bytes of a single tag
_WHITESPACE_BYTES = bytes(range(33))
_ROW_SERIALIZATIONS = ("TABLEDATA", "BINARY", "BINARY2")


def read_votable(file: BinaryIO, table: int | str | None = None, batch: int = BATCH_ROWS) -> TableStream:
    """Read one table of a VOTable document (1.0 to 1.5, any serialization, also in gzip) as a stream.

    Parameters
    ----------
    file
        Binary file, which is only read forwards. It must stay open until the batches are exhausted.
    table
        Number of the table in the document from 0, its name or its ID. None: the first TABLE with rows outside
        RESOURCEs of type meta, or the first one in a RESOURCE of type results, even if it is empty; without one, the
        first TABLE.
    batch
        Maximum rows per batch.

    Returns
    -------
    The head and the batches. INFOs that stand after the rows are added to ``head.infos`` when the batches are
    exhausted.

    Raises
    ------
    SourceError
        The document is no XML or no VOTable, it lacks the table, it is an error document of a service (whose message
        the error holds), its rows are elsewhere (``href``), or it declares entities. While iterating also: a value is
        invalid, the rows break off, or a QUERY_STATUS of ERROR follows them.
    """
    document = _VotableDocumentReader(file)
    table_metadata = document.read_table_metadata(table)
    batches = document.read_batches(batch)
    return TableStream(metadata=table_metadata, batches=batches, deviations=document.deviations)


class VotableTableSummary(NamedTuple):
    """One TABLE of a document: name or ID, `nrows` if stated, whether it has rows and is in a RESOURCE of type meta."""

    name: str
    row_count: int | None
    has_data: bool
    is_meta: bool


def list_votable_tables(file: BinaryIO) -> list[VotableTableSummary]:
    """List the tables of a document in order, as ``read(file, table=number)`` counts them.

    Raises
    ------
    SourceError
        The document is no XML or no VOTable.
    """
    return _VotableDocumentReader(file).list_tables()


class _VotableDocumentReader:
    """A document that is being read: the position of the parser, and what it has seen."""

    def __init__(self, file: BinaryIO) -> None:
        self._chunks = read_utf8_chunks(file)
        self._unparsed_bytes = b""  # read, but not parsed yet
        self._parser = etree.XMLPullParser(
            events=("start", "end"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            remove_comments=True,
            remove_pis=True,
        )
        self._open_elements: list[Any] = []  # elements that are open, outermost first
        self._table_count = 0
        self._table_number = -1  # of the table that is open
        self._field_count = self._element_count = 0  # of that table, of the document
        self._metadata: TableMetadata | None = None
        self._info_list: list[Any] = []
        self._parsed_bytes = 0
        self._is_at_end = False
        self.deviations: list[ReadDeviation] = []
        self._is_table_requested = False  # whether the caller chose a table
        self._table_resource: Any = None  # RESOURCE of the table that is read
        self._error_messages: list[str] = []  # messages of QUERY_STATUS=ERROR
        self._cone_search_errors: list[str] = []  # error messages in the form of Simple Cone Search

    def __del__(self) -> None:
        """Cut the tree down, for parser and open elements keep each other if the document was not read to its end.

        The innermost element goes first: lxml gives each child that is cut off its namespace, in quadratic time if all
        of them hang on it.
        """
        for element in [*reversed(self._open_elements), *(element for _, element in self._parser.read_events())]:
            element.clear()

    # -- finding the table

    def read_table_metadata(self, requested_table: int | str | None) -> TableMetadata:
        """Read up to the rows of the requested table."""
        fallback_metadata: TableMetadata | None = None
        table_names: list[str] = []
        self._is_table_requested = requested_table is not None
        while True:
            event = self._read_next_event()
            if event is None:
                break
            kind, element = event
            name = metadata_reader.read_local_name(element)
            if kind == "rows":
                if self._is_current_table_requested(requested_table):
                    self._check_serialization(element)
                    if requested_table is not None or self._is_in_results_resource() or not self._has_no_rows(element):
                        self._table_resource = self._find_innermost_resource()
                        return self._set_metadata_unless_error(self._read_metadata())
                self._skip_rows(element)
            elif name == "TABLE" and kind == "end":
                table_name = element.get("name") or element.get("ID")
                table_names.append(table_name or str(self._table_number))
                if fallback_metadata is None and self._is_current_table_requested(requested_table, has_rows=False):
                    fallback_metadata = self._read_metadata(element)
                element.clear()
        if fallback_metadata is not None:
            return self._set_metadata_unless_error(fallback_metadata)
        raise self._create_not_found_error(requested_table, table_names)

    def _set_metadata_unless_error(self, metadata: TableMetadata) -> TableMetadata:
        """Accept a table, unless an ERROR stands before its rows or instead of them.

        Rows beside an error are not the answer to the request, however few they are.
        """
        for error_message in self._error_messages:
            raise _create_error_document_error(error_message)
        self._metadata = metadata
        return metadata

    def list_tables(self) -> list[VotableTableSummary]:
        """Read to the end, and skip all rows."""
        document_tables: list[VotableTableSummary] = []
        tables_with_rows: set[int] = set()
        while (event := self._read_next_event()) is not None:
            kind, element = event
            if kind == "rows":
                if self._is_in_results_resource() or not self._has_no_rows(element):
                    tables_with_rows.add(self._table_number)
                self._skip_rows(element)
            elif kind == "end" and metadata_reader.read_local_name(element) == "TABLE":
                rows = element.get("nrows") or ""
                row_count = None
                if rows.isdecimal():
                    row_count = int(rows)
                name = element.get("name") or element.get("ID") or ""
                has_data = self._table_number in tables_with_rows
                is_meta = "meta" in self._list_resource_types()
                document_tables.append(VotableTableSummary(name, row_count, has_data, is_meta))
                element.clear()
        return document_tables

    def _list_resource_types(self) -> list[str | None]:
        """List the types of the RESOURCEs around the table that is open, outermost first."""
        places = self._open_elements
        return [place.get("type") for place in places if metadata_reader.read_local_name(place) == "RESOURCE"]

    def _create_not_found_error(self, requested_table: int | str | None, table_names: list[str]) -> SourceError:
        for error_message in (*self._error_messages, *self._cone_search_errors):
            return _create_error_document_error(error_message)
        if requested_table is not None and table_names:
            return SourceError(
                f"the document has no table {requested_table!r}",
                remedy=f"choose one of its tables: {', '.join(table_names)}",
            )
        return SourceError("the document has no TABLE")

    def _is_current_table_requested(self, requested_table: int | str | None, *, has_rows: bool = True) -> bool:
        """Return whether the table that is open (or, without rows, has just ended) is the requested one."""
        if requested_table is None:
            return not has_rows or "meta" not in self._list_resource_types()
        if isinstance(requested_table, int):
            return requested_table == self._table_number
        return requested_table in {self._table_element.get("name"), self._table_element.get("ID")}

    def _find_innermost_resource(self) -> Any:
        for place in reversed(self._open_elements):
            if metadata_reader.read_local_name(place) == "RESOURCE":
                return place
        return None

    def _refuse_continuation_table(self, element: Any, metadata: TableMetadata) -> None:
        """Refuse rows that continue in a second TABLE with other FIELDs, unless the caller chose a table."""
        if (
            self._is_table_requested
            or self._table_resource is None
            or self._find_innermost_resource() is not self._table_resource
        ):
            return
        name = self._table_element.get("name") or self._table_element.get("ID")
        if self._has_no_rows(element) or (name is not None and metadata.name is not None and name != metadata.name):
            return  # a table of its own
        field_names = set()
        for field in metadata_reader.list_children(self._table_element, "FIELD"):
            field_name = field.get("name") or field.get("ID") or ""
            field_names.add(field_name.lower())
        column_names = {column.name.lower() for column in metadata.columns}
        if 2 * len(field_names & column_names) >= len(field_names | column_names):
            message = (
                f"line {self._table_element.sourceline}: a second TABLE with rows begins here, with mostly the same "
                "FIELDs as the first TABLE; Hven reads only one TABLE, so these rows would be missing"
            )
            remedy = (
                "to read one of the tables, write `table:` with its name, ID or number (the first is 0); if they are "
                "parts of one table, request a document with all rows in one TABLE"
            )
            raise SourceError(message, remedy=remedy)

    def _is_in_results_resource(self) -> bool:
        """Return whether the table that is open stands in a RESOURCE of type results.

        Such a table is the answer, even without rows.
        """
        return "results" in self._list_resource_types()

    def _has_no_rows(self, element: Any) -> bool:
        """Look ahead whether rows follow the opening tag that was just read."""
        if element.get("href"):
            return False
        while not (unparsed_bytes := self._unparsed_bytes.lstrip()):
            next_chunk = next(self._chunks, b"")
            if not next_chunk:
                return True
            self._unparsed_bytes += next_chunk
        return unparsed_bytes.startswith(b"</")

    def _read_metadata(self, table_element: Any = None) -> TableMetadata:
        places = self._open_elements
        ancestors = [place for place in places if metadata_reader.read_local_name(place) in {"VOTABLE", "RESOURCE"}]
        if table_element is None:
            table_element = self._table_element
        table_metadata = metadata_reader.read_table_metadata(table_element, ancestors, self.deviations)
        if isinstance(table_metadata.infos, list):
            self._info_list = table_metadata.infos
        else:
            self._info_list = []
        return table_metadata

    def _check_serialization(self, element: Any) -> None:
        """Refuse rows that cannot be read: in another file, in FITS or Parquet, without FIELDs."""
        place = self._find_serialization(element)
        if place not in _ROW_SERIALIZATIONS:
            message = f"line {element.sourceline}: Hven cannot read {place} rows in a VOTable"
            raise SourceError(message, remedy=f"read the {place} file itself")
        if element.get("href"):
            message = (
                f"line {element.sourceline}: the rows are in another file ({element.get('href')}), which Hven does "
                "not fetch"
            )
            raise SourceError(message, remedy="use a document that contains the rows")
        if element.get("encoding", "base64").lower() != "base64":
            message = (
                f"line {element.sourceline}: STREAM has encoding={element.get('encoding')!r}, but Hven reads only "
                "base64"
            )
            raise SourceError(message)

    def _find_serialization(self, element: Any) -> str:
        name = metadata_reader.read_local_name(element)
        if name == "TABLEDATA":
            return name
        return metadata_reader.read_local_name(element.getparent())

    # -- feeding the parser

    def _read_next_event(self) -> tuple[str, Any] | None:
        """Return the next event: start, end, or ``rows`` when the opening tag of rows has just been read.

        Return None at the end.
        """
        while True:
            for kind, element in self._parser.read_events():
                self._record_elements_and_errors(kind, element)
                name = metadata_reader.read_local_name(element)
                if (
                    kind == "start"
                    and name in {"TABLEDATA", "STREAM"}
                    and any(metadata_reader.read_local_name(place) == "TABLE" for place in self._open_elements)
                ):
                    return "rows", element
                return kind, element
            if not self._parse_to_next_rows():
                return None

    def _parse_to_next_rows(self) -> bool:
        """Parse up to the next tag that opens rows, or as far as there are bytes; return False at the end."""
        if self._is_at_end:
            return False
        if not self._unparsed_bytes:
            self._unparsed_bytes = next(self._chunks, b"")
        if not self._unparsed_bytes:
            self._is_at_end = True
            self._close_parser()
            return True
        opening = _ROWS_OPENING_TAG.search(self._unparsed_bytes)
        if opening is not None:
            piece = self._unparsed_bytes[: opening.end()]
            self._unparsed_bytes = self._unparsed_bytes[opening.end() :]
        else:
            cut = self._unparsed_bytes.rfind(b"<")
            if cut < 0 or self._unparsed_bytes.find(b">", cut) >= 0:
                cut = len(self._unparsed_bytes)
            # a tag that the end of the chunk cuts in two waits for its other half; what stands before it is not
            # searched again
            piece = self._unparsed_bytes[:cut]
            self._unparsed_bytes = self._unparsed_bytes[cut:]
            if not piece:
                if len(self._unparsed_bytes) > _MAX_TAG_BYTES:
                    message = f"the document has a tag or comment of more than {_MAX_TAG_BYTES >> 20} MiB"
                    raise SourceError(message)
                next_chunk = next(self._chunks, b"")
                if next_chunk:
                    self._unparsed_bytes += next_chunk
                    return True
                piece = self._unparsed_bytes
                self._unparsed_bytes = b""
        self._parse_piece(piece)
        return True

    def _parse_piece(self, piece: bytes) -> None:
        check_deadline()
        self._parsed_bytes += len(piece)
        if self._parsed_bytes > _MAX_METADATA_BYTES:
            message = f"the document has more than {_MAX_METADATA_BYTES >> 20} MiB of metadata besides its rows"
            raise SourceError(message)
        try:
            self._parser.feed(piece)
        except etree.XMLSyntaxError as error:
            raise _create_xml_error(error) from error

    def _close_parser(self) -> None:
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            raise _create_xml_error(error) from error

    def _record_elements_and_errors(self, event_kind: str, element: Any) -> None:
        """Update the list of open elements, and note errors wherever they stand."""
        name = metadata_reader.read_local_name(element)
        if event_kind == "start":
            if not self._open_elements:
                _check_root_element(element)
            self._open_elements.append(element)
            self._count_and_limit_elements(name)
            if name == "TABLE":
                self._table_number = self._table_count
                self._table_count += 1
                self._table_element = element
            return
        self._open_elements.pop()
        if name in {"INFO", "PARAM"} and element.get("name") == "Error":  # Simple Cone Search 1.03 section 2.3
            error_text = (element.get("value") or "").strip()
            self._cone_search_errors.append(error_text or "no message")
        if name != "INFO":
            return
        if (element.get("name") or "").upper() == "QUERY_STATUS" and (element.get("value") or "").upper() == "ERROR":
            error_text = "".join(element.itertext()).strip()
            self._error_messages.append(error_text or "no message")
        if self._metadata is not None:
            self._info_list.append(metadata_reader.read_info(element))

    def _count_and_limit_elements(self, name: str) -> None:
        """Count elements as they come, so that a list of columns without end is not read to its end."""
        self._element_count += 1
        if name == "TABLE":
            self._field_count = 0
        else:
            self._field_count = self._field_count + (name == "FIELD")
        for count, limit, counted_items in (
            (self._field_count, _MAX_FIELDS, "columns in a table"),
            (self._element_count, _MAX_ELEMENTS, "elements besides its rows"),
        ):
            if count > limit:
                message = f"the document has more than {limit:,} {counted_items}"
                raise SourceError(message)

    # -- rows

    def _read_row_bytes(self, element: Any) -> Iterator[bytes]:
        """Yield the bytes between the opening tag that was just read and its closing tag, which stays unread."""
        if self._is_self_closed(element):
            return
        closing = _ROWS_CLOSING_TAGS[metadata_reader.read_local_name(element)]
        kept_bytes = 32  # a closing tag is no longer, unless it has a long prefix
        while True:
            match = closing.search(self._unparsed_bytes)
            if match is not None:
                piece = self._unparsed_bytes[: match.start()]
                self._unparsed_bytes = self._unparsed_bytes[match.start() :]
                if piece:
                    yield piece
                return
            if len(self._unparsed_bytes) > kept_bytes:
                piece = self._unparsed_bytes[:-kept_bytes]
                self._unparsed_bytes = self._unparsed_bytes[-kept_bytes:]
                yield piece
            next_chunk = next(self._chunks, b"")
            if not next_chunk:
                raise SourceError("the document ends in the middle of its rows")
            self._unparsed_bytes += next_chunk

    def _is_self_closed(self, element: Any) -> bool:
        """Return whether the tag was ``<TABLEDATA/>``, whose end has been read already."""
        for kind, event_element in self._parser.read_events():
            self._record_elements_and_errors(kind, event_element)
            if event_element is element and kind == "end":
                return True
        return False

    def _skip_rows(self, element: Any) -> None:
        for _ in self._read_row_bytes(element):
            pass

    def read_batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows, then read the document to its end."""
        metadata = self._metadata
        if metadata is None:
            return
        element = None
        if self._open_elements:
            innermost = self._open_elements[-1]
            if metadata_reader.read_local_name(innermost) in {"TABLEDATA", "STREAM"}:
                element = innermost
        columns = list(metadata.columns)
        schema = pa.schema([column.arrow_field.with_nullable(True) for column in columns])
        if element is not None and not columns:
            self._refuse_rows_without_fields(element)
        elif element is not None:
            for arrays in self._read_columns(element, columns):
                record_batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                for start in range(0, record_batch.num_rows, max_rows):
                    yield record_batch.slice(start, max_rows)
        self._read_to_end(metadata)
        if self._error_messages:
            message = f"the service that wrote the document stopped with an error: {self._error_messages[-1]}"
            raise ErrorDocumentError(message)

    def _read_columns(self, element: Any, columns: list[Column]) -> Iterator[list[pa.Array]]:
        if metadata_reader.read_local_name(element) == "TABLEDATA":
            return self._read_tabledata(element, columns)
        return self._read_binary(element, columns)

    def _read_to_end(self, metadata: TableMetadata) -> None:
        """Read the document behind the rows to its end."""
        while (event := self._read_next_event()) is not None:
            kind, element = event
            if kind == "rows":
                self._refuse_continuation_table(element, metadata)
                self._skip_rows(element)
            elif kind == "end" and metadata_reader.read_local_name(element) in {"TABLE", "RESOURCE"}:
                element.clear()

    def _refuse_rows_without_fields(self, element: Any) -> None:
        """Skip the rows of a table without FIELDs, which must not have any."""
        for piece in self._read_row_bytes(element):
            if piece.strip():
                raise SourceError("the table has rows, but no FIELD describes them")

    def _read_tabledata(self, element: Any, columns: list[Column]) -> Iterator[list[pa.Array]]:
        if element.prefix:
            prefix = f"{element.prefix}:".encode()
        else:
            prefix = b""
        row_closing_tag = b"</" + prefix + b"TR>"
        waiting: list[bytes] = []
        size = rows_read = 0
        wanted_bytes = _PIECE_BYTES
        for piece in self._read_row_bytes(element):
            waiting.append(piece)
            size += len(piece)
            if size < wanted_bytes:
                continue
            text = b"".join(waiting)
            cut = text.rfind(row_closing_tag)
            if cut < 0:
                waiting = [text]
                wanted_bytes = _compute_next_piece_bytes(size, rows_read)
                continue
            cut += len(row_closing_tag)
            for arrays in self._convert_rows(text[:cut], columns, prefix, rows_read):
                rows_read += len(arrays[0])
                yield arrays
            waiting = [text[cut:]]
            size = len(text) - cut
            wanted_bytes = _PIECE_BYTES
        text = b"".join(waiting)
        if text.strip():
            for arrays in self._convert_rows(text, columns, prefix, rows_read):
                if len(arrays[0]):
                    yield arrays

    def _convert_rows(
        self, text: bytes, columns: list[Column], prefix: bytes, rows_before: int
    ) -> Iterator[list[pa.Array]]:
        """Convert whole rows to values, a few at once where a row takes much more memory than text.

        An empty cell may be a huge array.
        """
        try:
            texts = tabledata_reader.split_tabledata_rows(text, columns, prefix, rows_before)
            bytes_per_row = sum(_estimate_value_bytes(column.type.arrow) for column in columns)
            step = max(1, _PIECE_BYTES * 8 // bytes_per_row)
            for start in range(0, max(len(texts[0]), 1), step):
                cells = [cell.slice(start, step) for cell in texts]
                yield tabledata_reader.convert_tabledata_cells(cells, columns, rows_before + start, self.deviations)
        except pa.ArrowInvalid as error:
            message = f"TABLEDATA is not UTF-8 after row {rows_before}"
            raise SourceError(message) from error

    def _read_binary(self, element: Any, columns: list[Column]) -> Iterator[list[pa.Array]]:
        foreign = find_nonstandard_integer_types(metadata_reader.list_children(self._table_element, "FIELD"))
        unpacker = binary_reader.VotableBinaryDecoder(
            replace_nonstandard_types_with_carriers(columns, foreign), self._find_serialization(element)
        )
        bytes_left = b""
        waiting: list[bytes] = []
        size = rows_read = 0
        wanted_bytes = _PIECE_BYTES
        for data, final in _mark_last_piece(self._decode_base64_stream(element)):
            waiting.append(data)
            size += len(data)
            if size < wanted_bytes and not final:
                continue
            bytes_left = b"".join(waiting)
            arrays, count, used = unpacker.decode_rows(bytes_left, rows_read)
            bytes_left = bytes_left[used:]
            waiting = [bytes_left]
            size = len(bytes_left)
            rows_read += count
            if count:
                wanted_bytes = _PIECE_BYTES
            else:
                wanted_bytes = _compute_next_piece_bytes(size, rows_read)
            if count:
                yield restore_nonstandard_types(arrays, columns, foreign)
        if bytes_left:
            message = f"the rows end in the middle of row {rows_read + 1}"
            raise SourceError(message)

    def _decode_base64_stream(self, element: Any) -> Iterator[bytes]:
        """Decode base64, in whole groups of four characters."""
        undecoded_text = b""
        for piece in self._read_row_bytes(element):
            text = undecoded_text + piece.translate(None, _WHITESPACE_BYTES)
            decodable_length = len(text) // 4 * 4
            undecoded_text = text[decodable_length:]
            yield _decode_base64(text[:decodable_length])
        if undecoded_text:
            yield _decode_base64(undecoded_text + b"=" * (-len(undecoded_text) % 4))


def _create_error_document_error(service_message: str) -> ErrorDocumentError:
    message = f"the document is an error message from a service: {service_message}"
    return ErrorDocumentError(message)


def _compute_next_piece_bytes(size: int, rows_read: int) -> int:
    """Compute how many bytes there must be before the end of a long row is searched again.

    Twice as many, so that all searches together cost two.
    """
    if size > _MAX_ROW_BYTES:
        message = f"row {rows_read + 1} is larger than {_MAX_ROW_BYTES >> 20} MiB"
        raise SourceError(message)
    return 2 * size


def _estimate_value_bytes(arrow_type: pa.DataType) -> int:
    """Estimate the least number of bytes that a value takes."""
    if pa.types.is_fixed_size_list(arrow_type):
        return int(arrow_type.list_size) * _estimate_value_bytes(arrow_type.value_type)
    if pa.types.is_primitive(arrow_type):
        return int(arrow_type.bit_width) // 8 + 1
    return 4


def _decode_base64(text: bytes) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except binascii.Error as error:
        message = "STREAM is not base64: it has a character that base64 does not use, or padding before its end"
        raise SourceError(message) from error


def _mark_last_piece(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each piece and whether it is the last."""
    previous_piece: bytes | None = None
    for piece in pieces:
        if previous_piece is not None:
            yield previous_piece, False
        previous_piece = piece
    if previous_piece is not None:
        yield previous_piece, True


def _check_root_element(element: Any) -> None:
    dtd = element.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise SourceError(
            "the document declares entities, which Hven does not allow", remedy="replace each entity with its text"
        )
    name = metadata_reader.read_local_name(element)
    if name != "VOTABLE":
        message = f"the document is not a VOTable: its root element is {name}"
        raise SourceError(message)


def _create_xml_error(error: etree.XMLSyntaxError) -> SourceError:
    line, column = error.position
    message = f"line {line}, column {column}: the document is not well-formed XML: {error.msg[:200]}"
    return SourceError(message)
