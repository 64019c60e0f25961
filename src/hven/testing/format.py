"""What every format must honour: subclass `FormatContract`, name the format, and pytest runs it."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import formats
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.model.errors import TimeLimitError, TooLargeError
from hven.model.table import Column, ColumnGroup, FrameRef
from hven.model.types import parse_type
from hven.testing.exactness import HARD_NUMBERS, list_unexplained_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
        One for each of the types.
    batch
        Three rows: a value, null, another value.
    """
    columns = [Column(name=name, type=parse_type(word)) for name, word, *_ in _TYPE_SAMPLES]
    arrays = [
        pa.array([first_value, None, last_value], column.type.arrow)
        for column, (*_, first_value, last_value) in zip(columns, _TYPE_SAMPLES, strict=True)
    ]
    return columns, pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


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
        Name of an installed format, ``csv``.
    columns
        Describe the columns of the batches, in their order.
    batches
        The rows.
    result_status
        What is known when the rows are over (overflow, an error, their number); None: only how many there are.
    options
        What the format lets a request choose, as `Format.write` takes it.
    metadata_fields
        Further attributes of `hven.formats.TableMetadata`.

    Returns
    -------
    document
        Its bytes.
    """
    final_status = result_status or ResultStatus(row_count=sum(batch.num_rows for batch in batches))
    return b"".join(
        formats.load_format(format_name).write(
            TableMetadata(columns=columns, **metadata_fields), iter(batches), lambda: final_status, options or {}
        )
    )


class FormatContract:
    """The promises of `hven.formats.Format`. A subclass says `name` and, if it can, reads back.

    Attributes
    ----------
    name
        The format's short name.
    options
        For the writer: a subclass per serialisation, if there are several.
    widest
        The most columns that the format can hold.
    marks_errors
        True if a late error becomes part of the document, as VOTable's standard has it; False if it passes through (a
        mark may stand before it).
    """

    name: str
    options: Mapping[str, str] = {}
    widest = 10_000
    marks_errors = False

    def read_rows(self, data: bytes) -> list[Mapping[str, object]] | None:
        """Read a document back with somebody else's reader; a subclass writes it if there is one.

        Parameters
        ----------
        data
            The whole document.

        Returns
        -------
        rows
            A mapping from column names to values for each row; None if there is no reader, and the document is not
            judged by it.
        """

    def check_row_count(self, data: bytes, rows: int) -> None:
        """Compare the number of rows of a document, if it can be read back.

        Parameters
        ----------
        data
            The whole document.
        rows
            How many there must be.
        """
        read_back = self.read_rows(data)
        assert read_back is None or len(read_back) == rows

    def write_document(
        self,
        columns: Sequence[Column],
        batches: Sequence[pa.RecordBatch],
        result_status: ResultStatus | None = None,
        **metadata_fields: Any,
    ) -> bytes:
        """Write a whole document in the format that is tried.

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
            Its bytes.
        """
        return write_document(self.name, columns, batches, result_status, self.options, **metadata_fields)

    def test_is_found_by_its_names(self) -> None:
        """Short names, aliases and media types lead to the format, whatever their case."""
        tested_format = formats.load_format(self.name)
        assert tested_format.name == self.name
        for requested_name in (tested_format.name, *tested_format.aliases, *tested_format.media_types):
            for spelt in (requested_name, requested_name.upper()):
                selected_format, options = formats.select_format(spelt)
                assert selected_format is tested_format
                assert options[formats.MEDIA_TYPE_OPTION]
        assert (
            formats.select_format(tested_format.media_types[0])[1][formats.MEDIA_TYPE_OPTION]
            == tested_format.media_types[0]
        )

    def test_every_type_is_written(self) -> None:
        """Values, nulls and other values of every type."""
        columns, batch = make_all_types_batch()
        self.check_row_count(self.write_document(columns, [batch, batch]), 6)

    def test_numbers_come_back_exactly_or_reported(self) -> None:
        """Where there is a reader: whole numbers beyond 2^53, infinities, NaN and null are those that were written, or the reader says what became of them."""
        tested_format = formats.load_format(self.name)
        if tested_format.read is None:
            return
        for kind in ("int64", "float64"):
            values = HARD_NUMBERS[kind]
            column = Column(name="v", type=parse_type(kind))
            batch = pa.RecordBatch.from_arrays([pa.array(values, column.type.arrow)], names=["v"])
            read = tested_format.read(io.BytesIO(self.write_document([column], [batch])))
            cells = [cell for read_batch in read.batches for cell in read_batch.column(0).to_pylist()]
            served = dict(enumerate(cells, 1))
            assert list_unexplained_changes(values, served, read.deviations, (), "v") == [], kind

    def test_rows_may_come_in_any_pieces(self) -> None:
        """Empty batches, slices and single rows give the same rows as one batch."""
        columns, batch = make_all_types_batch()
        whole_rows = self.read_rows(self.write_document(columns, [batch]))
        piece_rows = self.read_rows(
            self.write_document(columns, [batch.slice(0, 0), batch.slice(0, 1), batch.slice(1, 2), batch.slice(3, 0)])
        )
        if whole_rows is not None and piece_rows is not None:
            assert repr(piece_rows) == repr(whole_rows)

    def test_no_rows(self) -> None:
        """An empty batch, or no batch at all (MAXREC=0), is a valid answer."""
        columns, batch = make_all_types_batch()
        self.check_row_count(self.write_document(columns, [batch.slice(0, 0)]), 0)
        self.check_row_count(self.write_document(columns, []), 0)
        self.check_row_count(self.write_document(columns, [], ResultStatus(overflow=True)), 0)

    def test_other_arrow_types_are_brought_home(self) -> None:
        """What an engine may yield: large strings, dictionaries, narrower and wider numbers, dates."""
        columns = [
            Column(name=name, type=parse_type(word))
            for name, word in (("a", "string"), ("b", "string"), ("c", "int64"), ("d", "timestamp"))
        ]
        arrays = [
            pa.array(["x", None], pa.large_string()),
            pa.array(["y", None]).dictionary_encode(),
            pa.array([1, None], pa.int16()),
            pa.array([dt.date(2020, 1, 1), None], pa.date32()),
        ]
        self.check_row_count(
            self.write_document(columns, [pa.RecordBatch.from_arrays(arrays, names=["a", "b", "c", "d"])]), 2
        )

    def test_many_columns(self) -> None:
        """A thousand columns are written, or refused with the reason before the first byte."""
        columns = [
            Column(name=f"c{number}", type=parse_type("int32" if number % 2 else "string")) for number in range(1000)
        ]
        arrays = [pa.array([1, None], pa.int32()) if number % 2 else pa.array(["x", None]) for number in range(1000)]
        batch = pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
        if self.widest >= len(columns):
            self.check_row_count(self.write_document(columns, [batch]), 2)
            return
        stream = formats.load_format(self.name).write(
            TableMetadata(columns=columns), iter([batch]), ResultStatus, self.options
        )
        try:
            next(stream)
        except TooLargeError as error:
            message = str(error)
        else:
            message = ""
        assert str(self.widest) in message, "too many columns must be refused before the first byte"

    def test_names_and_words_in_any_script(self) -> None:
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
        batch = pa.RecordBatch.from_arrays([pa.array([name, None, "\x01\x1b[31m", ""]) for name in names], names=names)
        infos = [InfoElement(name="QUERY", value='SELECT "a" < 1 & 2', content="größer")]
        frames = [FrameRef(id="icrs", kind="coosys", system="ICRS")]
        groups = [ColumnGroup(name="g", roles={"value": "select", "error": "größe"})]
        self.check_row_count(
            self.write_document(
                columns,
                [batch],
                name="tä<ble>",
                description="Ein <Versuch> & mehr\nzwei",
                infos=infos,
                frames=frames,
                groups=groups,
                params=[(Column(name="p", type=parse_type("float64")), 1.5)],
            ),
            4,
        )

    def test_the_head_leaves_with_the_first_batch(self) -> None:
        """Something is written before the second batch is asked for."""
        columns, batch = make_all_types_batch()
        asked: list[int] = []

        def iterate_batches() -> Iterator[pa.RecordBatch]:
            for number in range(3):
                asked.append(number)
                yield batch

        stream = formats.load_format(self.name).write(
            TableMetadata(columns=columns), iterate_batches(), lambda: ResultStatus(row_count=9), self.options
        )
        first = next(stream)
        assert first
        assert asked == [0]
        self.check_row_count(first + b"".join(stream), 9)

    def test_the_end_is_asked_for_once_and_last(self) -> None:
        """`end` knows only after the last batch."""
        columns, batch = make_all_types_batch()
        order: list[str] = []

        def iterate_batches() -> Iterator[pa.RecordBatch]:
            yield batch
            order.append("batches")

        def end() -> ResultStatus:
            order.append("end")
            return ResultStatus(row_count=3)

        for _ in formats.load_format(self.name).write(
            TableMetadata(columns=columns), iterate_batches(), end, self.options
        ):
            pass
        assert order == ["batches", "end"]

    def test_an_early_error_passes_through(self) -> None:
        """Nothing is written when the first batch fails: an error document can still be sent."""
        columns, _ = make_all_types_batch()
        written: list[bytes] = []
        try:
            for chunk in formats.load_format(self.name).write(
                TableMetadata(columns=columns), _iterate_then_fail([]), ResultStatus, self.options
            ):
                written.append(chunk)  # noqa: PERF402  (what came before the error counts)
        except TimeLimitError:
            assert not written
            return
        message = "the error of the first batch must pass through"
        raise AssertionError(message)

    def test_a_late_error_is_said_or_passes_through(self) -> None:
        """Rows that break off are never taken for all rows."""
        columns, batch = make_all_types_batch()
        ended = ResultStatus(error_message="the time limit is over", row_count=3)
        stream = formats.load_format(self.name).write(
            TableMetadata(columns=columns), _iterate_then_fail([batch]), lambda: ended, self.options
        )
        try:
            data = b"".join(stream)
        except TimeLimitError:
            assert not self.marks_errors
            return
        assert self.marks_errors
        assert b"the time limit is over" in data

    def test_an_error_document_says_why(self) -> None:
        """`write_error`, where there is one, carries the message."""
        tested_format = formats.load_format(self.name)
        if tested_format.write_error is not None:
            assert "column größe" in tested_format.write_error("no column größe <x> & y").decode()


def _iterate_then_fail(batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches
    raise TimeLimitError("the time limit is over")


__all__ = ["FormatContract", "make_all_types_batch", "write_document"]
