"""Product: an open file. Its parts: Array, numbers on a grid with axes; Rows, a table.

Nothing is read before it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hven.formats.media._remote_files import Place
    from hven.model import Deviation
    from hven.model.sky import footprints
    from hven.model.table import Column, SampleMetadata

    Window = Sequence[slice]
    Instants = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]  # microseconds since 1970, nanoseconds behind

MISSING_INSTANT = -(2**63)  # a time that is none


class HeaderCard(NamedTuple):
    """A line of a header: FITS cards as they stand, attributes of other media under the names that they have there.

    Attributes
    ----------
    keyword, value, comment
        As the file has them; None: no value.
    """

    keyword: str
    value: str | float | bool | None
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of an array.

    Attributes
    ----------
    name
        As the file has it: ``RA---TAN``, ``wavelength``.
    size
        Pixels.
    kind
        ``longitude``, ``latitude``, ``spectral``, ``time``, ``polarization``; empty: another one.
    unit
        Of the file's own values; None: not said.
    read_values
        What the centres of its pixels stand for, shape (size,): wavelengths in vacuum in m, times as MJD, words of
        polarization (``I``, ``RR``), else the file's own in `unit`; None where nobody says it, and for directions on a
        sphere.
    read_file_values
        The same as the file has them, in `unit`: velocities, frequencies, lengths; None: they are `read_values`.
    """

    name: str
    size: int
    kind: str = ""
    unit: str | None = None
    read_values: Callable[[], npt.NDArray[Any]] | None = None
    read_file_values: Callable[[], npt.NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPart:
    """An image, a cube, a spectrum: numbers on a grid.

    Attributes
    ----------
    index
        Of the part in its file, from 0: of FITS the HDU.
    name
        As the file has it.
    axes
        In the order of C: the last one is FITS's first.
    dtype
        Of what `read` returns.
    read
        Reads a window, a slice for each axis: values as they are meant (scaled, blanks as NaN).
    read_raw, apply_scaling
        The same as the file has them (as its `cards` say: BSCALE, BZERO, BLANK), and what makes of these what `read`
        returns; None: as `read`.
    is_local_uncompressed
        It lies in a file of this machine as it is: a window takes as long as its bytes.
    unit
        Of the values.
    cards
        The header.
    create_sky_mapping
        Makes what turns pixels into directions and back (`hven.model.sky.footprints.build_image_wcs`); None: the array
        shows no sphere.
    role
        ``data``; what belongs to the data of the same grid: ``error``, ``flag``, ``coverage``; ``support``: what
        describes the data, such as positions and modes of the instrument.
    source_part_index
        Of another view of a part of the file, a table in whose cells its values are: the index of that; None: it is a
        part itself.
    """

    index: int
    name: str = ""
    axes: tuple[Axis, ...]
    dtype: np.dtype[Any]
    read: Callable[[Window], npt.NDArray[Any]]
    read_raw: Callable[[Window], npt.NDArray[Any]] | None = None
    apply_scaling: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None
    is_local_uncompressed: bool = False
    unit: str | None = None
    cards: tuple[HeaderCard, ...] = ()
    create_sky_mapping: Callable[[], footprints.ImageWcs | None] | None = None
    role: str = "data"
    source_part_index: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels of each axis."""
        return tuple(axis.size for axis in self.axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHdu:
    """An HDU of FITS that is there already.

    Attributes
    ----------
    size
        Bytes, a multiple of 2880.
    read_chunks
        Yields them.
    """

    size: int
    read_chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePart:
    """A table in a file.

    Attributes
    ----------
    index, name, cards
        As of `ArrayPart`.
    columns
        With units and UCDs where the file has them.
    row_count
        Rows.
    read_batches
        Reads rows from the given one on, at most so many: Arrow, in the columns' types.
    copy_fits_hdu
        Makes it as FITS as it stands in the file; None: the file is no FITS.
    select_columns
        Makes the same of some columns alone, of which nothing else is read; None: it cannot.
    read_instants
        Reads a column of times from one row to before another: microseconds since 1970 (UTC), `MISSING_INSTANT` where
        there is none, and the nanoseconds behind them, None where the file cannot have such; None: it has no times that
        are more exact than its columns.
    has_truncated_times
        Tells whether times of a column that were read had digits below a nanosecond, which `read_instants` leaves out.
    is_declared
        The file itself has this table, beside arrays of one length that are put together.
    support_columns
        Names of the columns that describe the data, such as positions and modes of the instrument. Pictures and pages
        show the other columns first.
    collect_sample_metadata
        Collects what is said of rows that are samples in time, or returns None; None: nobody says anything.
    """

    index: int
    name: str = ""
    columns: tuple[Column, ...]
    row_count: int
    read_batches: Callable[[int, int], Iterator[pa.RecordBatch]]
    cards: tuple[HeaderCard, ...] = ()
    copy_fits_hdu: Callable[[], StoredHdu] | None = None
    select_columns: Callable[[Collection[str]], TablePart] | None = None
    read_instants: Callable[[str, int, int], Instants] | None = None
    has_truncated_times: Callable[[str], bool] = lambda _: False
    is_declared: bool = False
    support_columns: frozenset[str] = frozenset()
    collect_sample_metadata: Callable[[], SampleMetadata | None] | None = None

    @property
    def role(self) -> str:
        """``data``, or ``support`` if all of its columns describe data that stand elsewhere."""
        if self.columns and {column.name for column in self.columns} <= self.support_columns:
            return "support"
        return "data"


Part = ArrayPart | TablePart


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductVariable:
    """What a file calls a variable, whichever parts its values stand in.

    Attributes
    ----------
    name
        As the file has it.
    type
        Of its values, as the file's format calls it, or numpy.
    sizes
        Of its dimensions, the slowest first, records included.
    cards
        Its attributes.
    """

    name: str
    type: str
    sizes: tuple[int, ...]
    cards: tuple[HeaderCard, ...]


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class Product:
    """An open file.

    Attributes
    ----------
    medium
        Its name.
    parts
        In the order of the file.
    cards
        What is said of the file as a whole.
    close
        Closes the file.
    companion_files
        Other files that are read with it: what its label points to, or the label of what was opened. Whoever may take
        the one need not be one who may take the others.
    list_variables
        Lists its variables; None: its medium has none.
    deviations
        What of the file is not read, narrowed or reinterpreted, as far as it is known when it is opened.
    """

    medium: str
    parts: tuple[Part, ...]
    cards: tuple[HeaderCard, ...] = ()
    close: Callable[[], None] = lambda: None
    companion_files: tuple[Place, ...] = ()
    list_variables: Callable[[], Iterator[ProductVariable]] | None = None
    deviations: Sequence[Deviation] = ()

    def __enter__(self) -> Self:
        """Hold it open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @property
    def arrays(self) -> tuple[ArrayPart, ...]:
        """Its arrays."""
        return tuple(part for part in self.parts if isinstance(part, ArrayPart))

    def find_part(self, name: str | None = None) -> Part:
        """Return a part by its index or name.

        Parameters
        ----------
        name
            As a reader writes it; None: the first array with data, else the first table with data, else the first part.

        Raises
        ------
        SourceError
            There is none such.
        """
        if name is None:
            candidates: tuple[Part, ...] = (*self.arrays, *(part for part in self.parts if isinstance(part, TablePart)))
            default_part = next((part for part in candidates if part.role == "data"), next(iter(self.parts), None))
            if default_part is None:
                raise SourceError(format_message("the file has neither an image nor a table"))
            return default_part
        for part in self.parts:
            if name == str(part.index) or name.casefold() == part.name.casefold():
                return part
        part_list = ", ".join(f"{part.index} {part.name}".strip() for part in self.parts[:20])
        raise SourceError(
            format_message("the file has no part {name!r}", name),
            remedy=format_message("its parts are {parts}", part_list),
        )


class SampleTimes(NamedTuple):
    """When the samples of a file were taken, in order.

    Attributes
    ----------
    scale
        Of the counts: 1, they are microseconds since 1970, or 1000, nanoseconds.
    counts
        Shape (n,), increasing.
    record_numbers
        Which record of a clock each sample is (-1: none), by clock; None: they stand so in the file.
    omitted_count
        Samples that were left out, as of `FileSamples`.
    has_truncated_times
        As of `FileSamples`.
    """

    scale: int
    counts: npt.NDArray[np.int64]
    record_numbers: dict[str, npt.NDArray[np.int64] | None]
    omitted_count: int
    has_truncated_times: bool

    @property
    def memory_bytes(self) -> int:
        """What they take in memory."""
        return self.counts.nbytes + sum(
            numbers.nbytes for numbers in self.record_numbers.values() if numbers is not None
        )


__all__ = [
    "MISSING_INSTANT",
    "ArrayPart",
    "Axis",
    "HeaderCard",
    "Part",
    "Product",
    "ProductVariable",
    "SampleTimes",
    "StoredHdu",
    "TablePart",
]
