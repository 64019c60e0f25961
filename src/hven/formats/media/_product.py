"""Define products: open files and their parts, which are arrays (numbers on a grid with axes) and tables.

Nothing is read before it is requested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hven.formats.media._remote_files import Place
    from hven.model import ReadDeviation
    from hven.model.sky import footprints
    from hven.model.table import Column, TimeSeriesMetadata

    Window = Sequence[slice]

# microseconds since 1970, and the nanoseconds below them
Instants: TypeAlias = "tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]"
MISSING_INSTANT = -(2**63)  # stands for a missing time


class HeaderCard(NamedTuple):
    """A line of a header: a FITS card as it is, or an attribute of another medium under its own name.

    Attributes
    ----------
    keyword, value, comment
        Parts of the line as the file has them; the value is None if there is none.
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
        Name in the file: ``RA---TAN``, ``wavelength``.
    size
        Number of pixels.
    kind
        ``longitude``, ``latitude``, ``spectral``, ``time``, ``polarization``; empty: any other kind.
    unit
        Unit of the file's own values; None: unknown.
    read_values
        Read what the centres of pixels stand for, shape (size,): wavelengths in vacuum in m, times as MJD, polarization
        states (``I``, ``RR``), or else the file's own values in `unit`. None if they are unknown, and for directions on
        a sphere.
    read_file_values
        Read the same values as the file has them, in `unit`: velocities, frequencies, lengths. None: they are those of
        `read_values`.
    scale_type
        ``linear`` or ``log``: the scale of the axis in plots; None: the file states none.
    """

    name: str
    size: int
    kind: str = ""
    unit: str | None = None
    read_values: Callable[[], npt.NDArray[Any]] | None = None
    read_file_values: Callable[[], npt.NDArray[Any]] | None = None
    scale_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPart:
    """An image, a cube or a spectrum: numbers on a grid.

    Attributes
    ----------
    index
        Number of the part in its file, from 0; in FITS, of the HDU.
    name
        Name in the file.
    axes
        Axes, the slowest first; the last one is the first of FITS.
    dtype
        Type of what `read` returns.
    read
        Read a window, a slice for each axis, as physical values (scaled, blanks as NaN).
    read_raw, apply_scaling
        Read the same as the file stores it (as its `cards` say: BSCALE, BZERO, BLANK), and convert it to what `read`
        returns. None: `read` does both.
    is_local_uncompressed
        Whether the array lies uncompressed in a file of this machine, so that reading a window takes as long as its
        bytes.
    unit
        Unit of the values.
    cards
        The header.
    create_sky_mapping
        Create the mapping between pixels and directions (`hven.model.sky.footprints.build_image_wcs`); None if the
        array shows no sphere.
    role
        ``data``; for arrays on the same grid ``error``, ``flag``, ``coverage``; ``support`` for arrays that describe
        the data, such as positions and modes of the instrument.
    source_part_index
        Index of the part (such as a table with the values in its cells) of which this is another view; None: this is a
        part itself.
    scale_type
        ``linear`` or ``log``: the scale of the values in plots; None: the file states none.
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
    scale_type: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of pixels of each axis."""
        return tuple(axis.size for axis in self.axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHdu:
    """An HDU that a FITS file has already.

    Attributes
    ----------
    size
        Size in bytes, a multiple of 2880.
    read_chunks
        Yield the bytes.
    """

    size: int
    read_chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePart:
    """A table in a file.

    Attributes
    ----------
    index, name, cards
        As in `ArrayPart`.
    columns
        Columns, with units and UCDs if the file has them.
    row_count
        Number of rows.
    read_batches
        Read at most a given number of rows, from a given one on, as Arrow in the types of the columns.
    copy_fits_hdu
        Copy the table as the HDU that the file has; None if the file is not FITS.
    select_columns
        Create the same table with some columns only, of which nothing else is read; None: not possible.
    read_instants
        Read a column of times from one row to before another: microseconds since 1970 (UTC), `MISSING_INSTANT` for
        missing times, and the nanoseconds below them (None if the file cannot have such). None: the columns have the
        times in full.
    has_truncated_times
        Return whether times of a column had digits below a nanosecond, which `read_instants` leaves out.
    is_declared
        Whether the file itself declares this table; otherwise it consists of arrays of one length.
    support_columns
        Names of the columns that describe the data, such as positions and modes of the instrument. Pictures and pages
        show the other columns first.
    collect_time_series_metadata
        Collect the metadata of rows that are samples in time, or return None; None: there are no such metadata.
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
    collect_time_series_metadata: Callable[[], TimeSeriesMetadata | None] | None = None

    @property
    def role(self) -> str:
        """``data``, or ``support`` if all of its columns describe data that stand elsewhere."""
        if self.columns and {column.name for column in self.columns} <= self.support_columns:
            return "support"
        return "data"


Part = ArrayPart | TablePart


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductVariable:
    """A variable of a file, whichever parts its values stand in.

    Attributes
    ----------
    name
        Name in the file.
    type
        Type of its values in the words of the format or of numpy.
    sizes
        Sizes of its dimensions, the slowest first, including records.
    cards
        Attributes of the variable.
    """

    name: str
    type: str
    sizes: tuple[int, ...]
    cards: tuple[HeaderCard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetMetadata:
    """What a file says of the data set of which it is a part, for drafts of descriptors.

    Attributes
    ----------
    name
        Name under which archives know the data set; None: unknown.
    title, description
        None: the file states none.
    credits
        Texts by keys of descriptors: ``creators``, ``acknowledgement``.
    """

    name: str | None = None
    title: str | None = None
    description: str | None = None
    credits: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class OpenProductFile:
    """An open file.

    Attributes
    ----------
    medium
        Name of the medium.
    parts
        Parts, in the order of the file.
    cards
        Header of the file as a whole.
    close
        Close the file.
    companion_files
        Other files that are read with it: what its label points to, or the label of the file that was opened. A user
        with access to one need not have access to the others.
    list_variables
        List the variables of the file; None: the medium has none.
    describe_data_set
        Describe the data set of which the file is a part.
    deviations
        What is not read, narrowed or reinterpreted, as far as it is known when the file is opened.
    """

    medium: str
    parts: tuple[Part, ...]
    cards: tuple[HeaderCard, ...] = ()
    close: Callable[[], None] = lambda: None
    companion_files: tuple[Place, ...] = ()
    list_variables: Callable[[], Iterator[ProductVariable]] | None = None
    describe_data_set: Callable[[], DataSetMetadata] = DataSetMetadata
    deviations: Sequence[ReadDeviation] = ()

    def __enter__(self) -> Self:
        """Return the product."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def arrays(self) -> tuple[ArrayPart, ...]:
        """The parts that are arrays."""
        return tuple(part for part in self.parts if isinstance(part, ArrayPart))

    def find_part(self, part_name: str | None = None) -> Part:
        """Find a part by its index or name.

        Parameters
        ----------
        part_name
            Index or name; None: the first array with data, else the first table with data, else the first part.

        Returns
        -------
        Part
            The first part that fits.

        Raises
        ------
        SourceError
            There is no such part.
        """
        if part_name is None:
            tables = [part for part in self.parts if isinstance(part, TablePart)]
            candidates: list[ArrayPart | TablePart] = [*self.arrays, *tables]
            for part in candidates:
                if part.role == "data":
                    return part
            if not self.parts:
                raise SourceError(format_message("the file contains neither an image nor a table"))
            return self.parts[0]
        for part in self.parts:
            if part_name == str(part.index) or part_name.casefold() == part.name.casefold():
                return part
        part_list = ", ".join(f"{part.index} {part.name}".strip() for part in self.parts[:20])
        raise SourceError(
            format_message("the file has no part {name!r}", part_name),
            remedy=format_message("choose one of its parts: {parts}", part_list),
        )
