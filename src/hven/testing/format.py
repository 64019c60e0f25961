"""Test the contract of formats: subclass `FormatContract`, name the format, and pytest runs the tests."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import formats
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.model.errors import TimeLimitError, TooLargeError
from hven.model.table import Column, ColumnGroup, ReferenceFrame
from hven.model.types import parse_type
from hven.testing.exactness import HARD_NUMBERS, list_unreported_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_SAMPLE_TIME = dt.datetime(2020, 1, 1, 1, 2, 3, 500_000)  # noqa: DTZ001  (storage has no zone)
_TYPE_SAMPLES: tuple[tuple[str, str, object, object], ...] = (
    ("flag", "bool", True, False),
    ("bit", "bit", True, False),
    ("bits", "bit[11]", [True] * 11, [False, True] * 5 + [True]),
    ("bitlist", "bit[*]", [True, False, True], [True] * 9),
    ("byte", "uint8", 1, 255),
    ("short", "int16", 1, -5),
    ("whole", "int32", 1, 3),
    ("long", "int64", 2**60, -1),
    ("single", "float32", 0.5, float("inf")),
    ("twice", "float64", 0.1, float("-inf")),
    ("complex", "complex64", [1.0, 2.0], [3.0, 4.0]),
    ("complexes", "complex128[*]", [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]),
    ("text", "string", 'a<b & "c", d', "x\ty"),
    ("word", "string[5]", "abc", "abcde"),
    ("written", "unicode", "é𝄞 Ωμέγα", "x"),
    ("letters", "unicode[5]", "é", "abc"),
    ("vector", "float64[3]", [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
    ("counts", "int32[*]", [1, None, 2], [7]),
    ("pairs", "int16[2x*]", [1, 2, 3, 4], [5, 6]),
    ("names", "string[4x*]", ["ab", "cd"], ["abcd"]),
    ("two", "string[4x2]", ["ab", "cd"], ["a", "b"]),
    ("greek", "unicode[4x*]", ["αβ", "cd"], ["abcd"]),
    ("flags", "bool[*]", [True, None], [False]),
    ("time", "timestamp", _SAMPLE_TIME.replace(microsecond=0), _SAMPLE_TIME),
    ("place", "point", [10.0, -20.0], [3.0, 4.0]),
    ("circle", "circle", [10.0, -20.0, 1.0], [3.0, 4.0, 5.0]),
    ("outline", "polygon", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]),
)


def make_all_types_batch() -> tuple[list[Column], pa.RecordBatch]:
    """Make a batch with a column of each type that a format must write.

    Returns
    -------
    columns
        A column for each of the types.
    batch
        Three rows: a value, null, and another value.
    """
    columns = [Column(name=name, type=parse_type(word)) for name, word, *_ in _TYPE_SAMPLES]
    arrays = []
    for column, (*_, first_value, last_value) in zip(columns, _TYPE_SAMPLES, strict=True):
        arrays.append(pa.array([first_value, None, last_value], column.type.arrow))
    names = [column.name for column in columns]
    return columns, pa.RecordBatch.from_arrays(arrays, names=names)


def write_document(
    format_name: str,
    columns: Sequence[Column],
    batches: Sequence[pa.RecordBatch],
    result_status: ResultStatus | None = None,
    options: Mapping[str, str] | None = None,
    **metadata_fields: Any,
) -> bytes:
    """Write a whole document in the format called `format_name`.

    Parameters
    ----------
    format_name
        Name of an installed format, such as ``csv``.
    columns
        Descriptions of the columns of the batches, in their order.
    batches
        The rows.
    result_status
        The status after the last row (overflow, an error, the number of rows); None: only the number of rows.
    options
        Options of the format that a request can choose, as `TableFormat.write` takes them.
    metadata_fields
        Further attributes of `hven.formats.TableMetadata`.

    Returns
    -------
    document
        The bytes of the document.
    """
    row_count = sum(batch.num_rows for batch in batches)
    final_status = result_status or ResultStatus(row_count=row_count)
    metadata = TableMetadata(columns=columns, **metadata_fields)
    tested_format = formats.load_format(format_name)
    chunks = tested_format.write(metadata, iter(batches), lambda: final_status, options or {})
    return b"".join(chunks)


class FormatContract:
    """Test what every `hven.formats.TableFormat` must do. A subclass sets `name` and, if it can, reads documents back.

    Attributes
    ----------
    name
        The format's short name.
    options
        Options for the writer; a format with several serialisations has a subclass for each.
    widest
        The largest number of columns that the format can hold.
    marks_errors
        Whether a late error becomes part of the document, as in VOTable's standard; otherwise it is raised (a mark may
        precede it).
    """

    name: str
    options: Mapping[str, str] = {}
    widest = 10_000
    marks_errors = False

    def read_rows(self, data: bytes) -> list[Mapping[str, object]] | None:
        """Read a document back with an independent reader, if there is one; a subclass overrides it.

        Parameters
        ----------
        data
            The whole document.

        Returns
        -------
        rows
            A mapping from column names to values for each row; None if there is no reader, and the document is not
            checked by it.
        """

    def check_row_count(self, data: bytes, expected_count: int) -> None:
        """Compare the number of rows of a document, if it can be read back.

        Parameters
        ----------
        data
            The whole document.
        expected_count
            The expected number of rows.
        """
        read_back = self.read_rows(data)
        assert read_back is None or len(read_back) == expected_count

    def write_document(
        self,
        columns: Sequence[Column],
        batches: Sequence[pa.RecordBatch],
        result_status: ResultStatus | None = None,
        **metadata_fields: Any,
    ) -> bytes:
        """Write a whole document in the tested format.

        Parameters
        ----------
        columns, batches
            As for `write_document`.
        result_status
            As for `write_document`.
        metadata_fields
            Further attributes of `hven.formats.TableMetadata`.

        Returns
        -------
        document
            The bytes of the document.
        """
        return write_document(self.name, columns, batches, result_status, self.options, **metadata_fields)

    def test_is_found_by_its_names(self) -> None:
        """Short names, aliases and media types select the format, in any case."""
        tested_format = formats.load_format(self.name)
        assert tested_format.name == self.name
        for requested_name in (tested_format.name, *tested_format.aliases, *tested_format.media_types):
            for spelling in (requested_name, requested_name.upper()):
                selected_format, options = formats.select_format(spelling)
                assert selected_format is tested_format
                assert options[formats.MEDIA_TYPE_OPTION]
        media_type = tested_format.media_types[0]
        _, options = formats.select_format(media_type)
        assert options[formats.MEDIA_TYPE_OPTION] == media_type

    def test_every_type_is_written(self) -> None:
        """Values, nulls and other values of every type can be written."""
        columns, batch = make_all_types_batch()
        document = self.write_document(columns, [batch, batch])
        self.check_row_count(document, 6)

    def test_numbers_come_back_exactly_or_reported(self) -> None:
        """Integers beyond 2^53, infinities, NaN and null are read as written, or the reader reports their changes."""
        tested_format = formats.load_format(self.name)
        if tested_format.read is None:
            return
        for kind in ("int64", "float64"):
            values = HARD_NUMBERS[kind]
            column = Column(name="v", type=parse_type(kind))
            array = pa.array(values, column.type.arrow)
            batch = pa.RecordBatch.from_arrays([array], names=["v"])
            document = self.write_document([column], [batch])
            table_stream = tested_format.read(io.BytesIO(document))
            cells: list[object] = []
            for read_batch in table_stream.batches:
                cells += read_batch.column(0).to_pylist()
            read_values = dict(enumerate(cells, 1))
            assert list_unreported_changes(values, read_values, table_stream.deviations, (), "v") == [], kind

    def test_batch_sizes_do_not_change_the_rows(self) -> None:
        """Empty batches, slices and single rows give the same rows as one batch."""
        columns, batch = make_all_types_batch()
        whole_rows = self.read_rows(self.write_document(columns, [batch]))
        pieces = [batch.slice(0, 0), batch.slice(0, 1), batch.slice(1, 2), batch.slice(3, 0)]
        piece_rows = self.read_rows(self.write_document(columns, pieces))
        if whole_rows is not None and piece_rows is not None:
            assert repr(piece_rows) == repr(whole_rows)

    def test_results_without_rows_are_written(self) -> None:
        """An empty batch, or no batch at all (MAXREC=0), is a valid answer."""
        columns, batch = make_all_types_batch()
        empty_document = self.write_document(columns, [batch.slice(0, 0)])
        self.check_row_count(empty_document, 0)
        self.check_row_count(self.write_document(columns, []), 0)
        overflow_document = self.write_document(columns, [], ResultStatus(overflow=True))
        self.check_row_count(overflow_document, 0)

    def test_other_arrow_types_are_converted(self) -> None:
        """An engine may yield large strings, dictionaries, narrower and wider numbers, and dates."""
        type_names = {"a": "string", "b": "string", "c": "int64", "d": "timestamp"}
        columns = [Column(name=name, type=parse_type(word)) for name, word in type_names.items()]
        arrays = [
            pa.array(["x", None], pa.large_string()),
            pa.array(["y", None]).dictionary_encode(),
            pa.array([1, None], pa.int16()),
            pa.array([dt.date(2020, 1, 1), None], pa.date32()),
        ]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(type_names))
        self.check_row_count(self.write_document(columns, [batch]), 2)

    def test_many_columns_are_written_or_refused(self) -> None:
        """A thousand columns are written, or refused with the reason before the first byte."""
        columns = []
        arrays = []
        for number in range(1000):
            if number % 2:
                columns.append(Column(name=f"c{number}", type=parse_type("int32")))
                arrays.append(pa.array([1, None], pa.int32()))
            else:
                columns.append(Column(name=f"c{number}", type=parse_type("string")))
                arrays.append(pa.array(["x", None]))
        batch = pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
        if self.widest >= len(columns):
            self.check_row_count(self.write_document(columns, [batch]), 2)
            return
        stream = self._iterate_document_chunks(columns, iter([batch]), ResultStatus)
        message = ""
        try:
            next(stream)
        except TooLargeError as error:
            message = str(error)
        assert str(self.widest) in message, "too many columns must be refused before the first byte"

    def _iterate_document_chunks(
        self, columns: Sequence[Column], batches: Iterator[pa.RecordBatch], get_final_status: Callable[[], ResultStatus]
    ) -> Iterator[bytes]:
        """Begin to write a document; its chunks are written as they are read."""
        tested_format = formats.load_format(self.name)
        return tested_format.write(TableMetadata(columns=columns), batches, get_final_status, self.options)

    def test_names_and_texts_in_any_script_are_written(self) -> None:
        """Odd names, equal names and metadata in any script do no harm."""
        names = ["select", "with space", 'quo"te', "a,b", "<tag>&", "größe", "日本語", "tab\tname", "$x", "1st"]
        columns = [
            Column(
                name=name,
                type=parse_type("string"),
                description=f"Über <{name}> & mehr",
                unit="m.s**-1",
                ucd="meta.id",
                link="https://x/{a}?b=1&c",
            )
            for name in names
        ]
        arrays = [pa.array([name, None, "\x01\x1b[31m", ""]) for name in names]
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        infos = [InfoElement(name="QUERY", value='SELECT "a" < 1 & 2', content="größer")]
        frames = [ReferenceFrame(id="icrs", kind="coosys", system="ICRS")]
        groups = [ColumnGroup(name="g", roles={"value": "select", "error": "größe"})]
        params = [(Column(name="p", type=parse_type("float64")), 1.5)]
        document = self.write_document(
            columns,
            [batch],
            name="tä<ble>",
            description="Ein <Versuch> & mehr\nzwei",
            infos=infos,
            frames=frames,
            groups=groups,
            params=params,
        )
        self.check_row_count(document, 4)

    def test_writing_starts_with_the_first_batch(self) -> None:
        """The writer writes something before it asks for the second batch."""
        columns, batch = make_all_types_batch()
        requested: list[int] = []

        def iterate_batches() -> Iterator[pa.RecordBatch]:
            for number in range(3):
                requested.append(number)
                yield batch

        stream = self._iterate_document_chunks(columns, iterate_batches(), lambda: ResultStatus(row_count=9))
        first_chunk = next(stream)
        assert first_chunk
        assert requested == [0]
        self.check_row_count(first_chunk + b"".join(stream), 9)

    def test_the_final_status_is_requested_once_and_last(self) -> None:
        """The writer calls `end` once, after the last batch."""
        columns, batch = make_all_types_batch()
        order: list[str] = []

        def iterate_batches() -> Iterator[pa.RecordBatch]:
            yield batch
            order.append("batches")

        def end() -> ResultStatus:
            order.append("end")
            return ResultStatus(row_count=3)

        for _ in self._iterate_document_chunks(columns, iterate_batches(), end):
            pass
        assert order == ["batches", "end"]

    def test_an_early_error_passes_through(self) -> None:
        """The writer writes nothing if the first batch fails, so that the server can still send an error document."""
        columns, _ = make_all_types_batch()
        written: list[bytes] = []
        try:
            for chunk in self._iterate_document_chunks(columns, _iterate_then_fail([]), ResultStatus):
                written.append(chunk)  # noqa: PERF402  (the chunks before the error count)
        except TimeLimitError:
            assert not written
            return
        message = "the error of the first batch must pass through"
        raise AssertionError(message)

    def test_a_late_error_is_written_or_raised(self) -> None:
        """A document that breaks off cannot be mistaken for a complete one."""
        columns, batch = make_all_types_batch()
        ended = ResultStatus(error_message="the time limit was exceeded", row_count=3)
        stream = self._iterate_document_chunks(columns, _iterate_then_fail([batch]), lambda: ended)
        try:
            data = b"".join(stream)
        except TimeLimitError:
            assert not self.marks_errors
            return
        assert self.marks_errors
        assert b"the time limit was exceeded" in data

    def test_an_error_document_says_why(self) -> None:
        """`write_error`, where a format has it, contains the message."""
        tested_format = formats.load_format(self.name)
        if tested_format.write_error is not None:
            document = tested_format.write_error("no column größe <x> & y")
            assert "column größe" in document.decode()


def _iterate_then_fail(batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches
    raise TimeLimitError("the time limit was exceeded")


__all__ = ["FormatContract", "make_all_types_batch", "write_document"]
