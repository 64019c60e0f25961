"""What every format must honour: subclass `FormatContract`, name the format, and pytest runs it."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import formats
from hven.formats import End, Head, Info
from hven.model.errors import Timeout, TooLarge
from hven.model.table import Column, FrameRef, Group
from hven.model.types import parse_type
from hven.testing._hard_values import NUMBERS, unexplained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_WHEN = dt.datetime(2020, 1, 1, 1, 2, 3, 500_000)  # noqa: DTZ001  (storage has no zone)
_SAMPLES: tuple[tuple[str, str, object, object], ...] = (
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
    ("time", "timestamp", _WHEN.replace(microsecond=0), _WHEN),
    ("place", "point", [10.0, -20.0], [3.0, 4.0]),
    ("circle", "circle", [10.0, -20.0, 1.0], [3.0, 4.0, 5.0]),
    ("outline", "polygon", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]),
)


def every_type() -> tuple[list[Column], pa.RecordBatch]:
    """Make a batch with a column of each type that a format must write.

    Returns
    -------
    columns
        One for each of the types.
    batch
        Three rows: a value, null, another value.
    """
    columns = [Column(name=name, type=parse_type(word)) for name, word, *_ in _SAMPLES]
    arrays = [
        pa.array([first, None, last], column.type.arrow)
        for column, (*_, first, last) in zip(columns, _SAMPLES, strict=True)
    ]
    return columns, pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def document(
    kind: str,
    columns: Sequence[Column],
    batches: Sequence[pa.RecordBatch],
    end: End | None = None,
    options: Mapping[str, str] | None = None,
    **about: Any,
) -> bytes:
    """Write a whole document in the format called `kind`.

    Parameters
    ----------
    kind
        Name of an installed format, ``csv``.
    columns
        Describe the columns of the batches, in their order.
    batches
        The rows.
    end
        What is known when the rows are over (overflow, an error, their number); None: only how many there are.
    options
        What the format lets a request choose, as `Format.write` takes it.
    about
        Further attributes of `hven.formats.Head`.

    Returns
    -------
    document
        Its bytes.
    """
    ended = end or End(rows=sum(batch.num_rows for batch in batches))
    return b"".join(
        formats.load(kind).write(Head(columns=columns, **about), iter(batches), lambda: ended, options or {})
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
        True if a late error becomes part of the document, as VOTable's standard has it; False if it passes through (a mark may stand before it).
    """

    name: str
    options: Mapping[str, str] = {}
    widest = 10_000
    marks_errors = False

    def rows(self, data: bytes) -> list[Mapping[str, object]] | None:
        """Read a document back with somebody else's reader; a subclass writes it if there is one.

        Parameters
        ----------
        data
            The whole document.

        Returns
        -------
        rows
            A mapping from column names to values for each row; None if there is no reader, and the document is not judged by it.
        """

    def check(self, data: bytes, rows: int) -> None:
        """Compare the number of rows of a document, if it can be read back.

        Parameters
        ----------
        data
            The whole document.
        rows
            How many there must be.
        """
        found = self.rows(data)
        assert found is None or len(found) == rows

    def write(
        self, columns: Sequence[Column], batches: Sequence[pa.RecordBatch], end: End | None = None, **about: Any
    ) -> bytes:
        """Write a whole document in the format that is tried.

        Parameters
        ----------
        columns, batches
            As for `document`.
        end
            As for `document`.
        about
            Further attributes of `hven.formats.Head`.

        Returns
        -------
        document
            Its bytes.
        """
        return document(self.name, columns, batches, end, self.options, **about)

    def test_is_found_by_its_names(self) -> None:
        """Short names, aliases and media types lead to the format, whatever their case."""
        one = formats.load(self.name)
        assert one.name == self.name
        for asked in (one.name, *one.aliases, *one.media_types):
            for spelt in (asked, asked.upper()):
                found, options = formats.select(spelt)
                assert found is one
                assert options[formats.MEDIA_TYPE]
        assert formats.select(one.media_types[0])[1][formats.MEDIA_TYPE] == one.media_types[0]

    def test_every_type_is_written(self) -> None:
        """Values, nulls and other values of every type."""
        columns, batch = every_type()
        self.check(self.write(columns, [batch, batch]), 6)

    def test_numbers_come_back_exactly_or_reported(self) -> None:
        """Where there is a reader: whole numbers beyond 2^53, infinities, NaN and null are those that were written, or the reader says what became of them."""
        one = formats.load(self.name)
        if one.read is None:
            return
        for kind in ("int64", "float64"):
            values = NUMBERS[kind]
            column = Column(name="v", type=parse_type(kind))
            batch = pa.RecordBatch.from_arrays([pa.array(values, column.type.arrow)], names=["v"])
            read = one.read(io.BytesIO(self.write([column], [batch])))
            cells = [cell for found in read.batches for cell in found.column(0).to_pylist()]
            served = dict(enumerate(cells, 1))
            assert unexplained(values, served, read.deviations, (), "v") == [], kind

    def test_rows_may_come_in_any_pieces(self) -> None:
        """Empty batches, slices and single rows give the same rows as one batch."""
        columns, batch = every_type()
        whole = self.rows(self.write(columns, [batch]))
        pieces = self.rows(
            self.write(columns, [batch.slice(0, 0), batch.slice(0, 1), batch.slice(1, 2), batch.slice(3, 0)])
        )
        if whole is not None and pieces is not None:
            assert repr(pieces) == repr(whole)

    def test_no_rows(self) -> None:
        """An empty batch, or no batch at all (MAXREC=0), is a valid answer."""
        columns, batch = every_type()
        self.check(self.write(columns, [batch.slice(0, 0)]), 0)
        self.check(self.write(columns, []), 0)
        self.check(self.write(columns, [], End(overflow=True)), 0)

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
        self.check(self.write(columns, [pa.RecordBatch.from_arrays(arrays, names=["a", "b", "c", "d"])]), 2)

    def test_many_columns(self) -> None:
        """A thousand columns are written, or refused with the reason before the first byte."""
        columns = [
            Column(name=f"c{number}", type=parse_type("int32" if number % 2 else "string")) for number in range(1000)
        ]
        arrays = [pa.array([1, None], pa.int32()) if number % 2 else pa.array(["x", None]) for number in range(1000)]
        batch = pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
        if self.widest >= len(columns):
            self.check(self.write(columns, [batch]), 2)
            return
        stream = formats.load(self.name).write(Head(columns=columns), iter([batch]), End, self.options)
        try:
            next(stream)
        except TooLarge as error:
            said = str(error)
        else:
            said = ""
        assert str(self.widest) in said, "too many columns must be refused before the first byte"

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
        self.check(
            self.write(
                columns,
                [batch],
                name="tä<ble>",
                description="Ein <Versuch> & mehr\nzwei",
                infos=[Info(name="QUERY", value='SELECT "a" < 1 & 2', content="größer")],
                frames=[FrameRef(id="icrs", kind="coosys", system="ICRS")],
                groups=[Group(name="g", roles={"value": "select", "error": "größe"})],
                params=[(Column(name="p", type=parse_type("float64")), 1.5)],
            ),
            4,
        )

    def test_the_head_leaves_with_the_first_batch(self) -> None:
        """Something is written before the second batch is asked for."""
        columns, batch = every_type()
        asked: list[int] = []

        def batches() -> Iterator[pa.RecordBatch]:
            for number in range(3):
                asked.append(number)
                yield batch

        stream = formats.load(self.name).write(Head(columns=columns), batches(), lambda: End(rows=9), self.options)
        first = next(stream)
        assert first
        assert asked == [0]
        self.check(first + b"".join(stream), 9)

    def test_the_end_is_asked_for_once_and_last(self) -> None:
        """`end` knows only after the last batch."""
        columns, batch = every_type()
        order: list[str] = []

        def batches() -> Iterator[pa.RecordBatch]:
            yield batch
            order.append("batches")

        def end() -> End:
            order.append("end")
            return End(rows=3)

        for _ in formats.load(self.name).write(Head(columns=columns), batches(), end, self.options):
            pass
        assert order == ["batches", "end"]

    def test_an_early_error_passes_through(self) -> None:
        """Nothing is written when the first batch fails: an error document can still be sent."""
        columns, _ = every_type()
        written: list[bytes] = []
        try:
            for chunk in formats.load(self.name).write(Head(columns=columns), _failing([]), End, self.options):
                written.append(chunk)  # noqa: PERF402  (what came before the error counts)
        except Timeout:
            assert not written
            return
        message = "the error of the first batch must pass through"
        raise AssertionError(message)

    def test_a_late_error_is_said_or_passes_through(self) -> None:
        """Rows that break off are never taken for all rows."""
        columns, batch = every_type()
        ended = End(error="the time limit is over", rows=3)
        stream = formats.load(self.name).write(Head(columns=columns), _failing([batch]), lambda: ended, self.options)
        try:
            data = b"".join(stream)
        except Timeout:
            assert not self.marks_errors
            return
        assert self.marks_errors
        assert b"the time limit is over" in data

    def test_an_error_document_says_why(self) -> None:
        """`write_error`, where there is one, carries the message."""
        one = formats.load(self.name)
        if one.write_error is not None:
            assert "column größe" in one.write_error("no column größe <x> & y").decode()


def _failing(batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches
    raise Timeout("the time limit is over")


__all__ = ["FormatContract", "document", "every_type"]
