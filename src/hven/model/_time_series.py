"""Series: samples in time that the rows of a table are, or that the files of its rows have.

What HAPI and das2 call a data set.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model._links import Template
    from hven.model.errors import TextPlace


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ParameterBins:
    """What the elements of one dimension of a parameter stand for (HAPI 3.3, section 3.6.17).

    Attributes
    ----------
    name
        Name of the quantity: frequency, energy.
    unit
        Unit of the values.
    centers
        A value for each element; or the name of a column that has them for each sample, or of a file's variable that
        has them.
    of
        Of files: several variables that have the centers one behind the other.
    ranges
        Lowest and highest value of each element, or a column of these.
    label, description
        For people.
    scale_type
        ``linear`` or ``log``: the scale of their axis in plots; None: not stated.
    """

    name: str
    unit: str | None = None
    centers: tuple[float, ...] | str = ()
    ranges: tuple[tuple[float, float], ...] | str = ()
    label: str | None = None
    description: str | None = None
    of: tuple[str, ...] = ()
    scale_type: str | None = None

    def __repr__(self) -> str:
        # digests of the layout of files are made of this text and stored with what was derived from the files, so a
        # scale type that is not stated leaves the text as it was before there were scale types
        items = [item for item in fields(self) if item.name != "scale_type" or self.scale_type]
        return f"Bins({', '.join(f'{item.name}={getattr(self, item.name)!r}' for item in items)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeDecoding:
    """How values of a file become times; the file itself states what is missing here.

    Attributes
    ----------
    unit
        Unit of the numbers: ``ms``, ``s``, ``d``.
    since
        When they are 0: a date, ``JD``, ``MJD``; what the file's name has (``orf%Y%m%d``); or cards of its header
        (``DATE-OBS TIME-OBS``).
    scale
        Scale of the clock that they show: ``UTC``, ``TAI``, ``TT``, ``TDB``, ``GPS``; empty: the file's.
    plus
        Variable that is added, and its unit: the fraction of a Julian day, milliseconds of a day.
    """

    unit: str | None = None
    since: str = ""
    scale: str = ""
    plus: tuple[str, str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesParameterSpec:
    """Which variables of a file make a parameter; the file itself states what is missing here.

    Attributes
    ----------
    of
        The file's variables: the elements of several stand one behind the other.
    clocks
        Variables with the times of each of these, where they have times of their own.
    element
        Of the last dimension of each: which one it is.
    unit, description, label
        As of a column.
    fill
        A value that stands for none.
    """

    of: tuple[str, ...] = ()
    clocks: tuple[str, ...] = ()
    element: int | None = None
    unit: str | None = None
    description: str | None = None
    label: str | None = None
    fill: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReaderSpec:
    """What reads files that we cannot read ourselves.

    Attributes
    ----------
    name
        Name of a program that hven.toml names; or of a Python file beside the descriptor.
    function
        Of the Python file: what is called; empty: it is a program.
    path
        Path of the Python file.
    sha256
        SHA-256 of the Python file, by which changes of the file are noticed.
    """

    name: str
    function: str = ""
    path: Path | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeriesSpec:
    """One data set of a table.

    Attributes
    ----------
    id
        Under which HAPI has it; unique in the site.
    path
        Under which das2 has it.
    title, description
        Where it says more than the table.
    time
        The column, or the file's variable, that says when a sample was taken.
    parameters
        Columns, or variables, in order; empty: all that can be one.
    condition
        ADQL over the rows, which it calls ``target``: only rows that meet it belong to the data set.
    cadence
        Approximate time between two samples, in seconds; None: unknown.
    ahead
        Seconds after the last sample up to which requests are allowed, as more samples follow; None: no such time.
    stamp
        Which moment of a sample its time is: ``begin``, ``center``, ``end``, ``other``.
    bins
        Bins of parameters that are arrays: one for each dimension.
    colors
        Colors of parameters that are texts, by their names in small letters: regular expression -> color.
    vectors
        Of parameters that are vectors, by their names in small letters: the system, and what elements are; none: x, y,
        z.
    scale_types
        ``linear`` or ``log``, the scales of parameters in plots, by their names in small letters.
    file
        The path of the file of a row in which its samples stand; empty: the row is a sample.
    reader
        What reads the files; None: we do.
    part
        Name or number of the file's part; None: the first that has `time`.
    clock
        Clock of files: how their values become times.
    variables
        Variables of files: parameters that are not plainly a variable, by name.
    version
        Column of the rows that says which of two files holds where both have samples; None: by their names.
    places
        Key -> where it stands in the descriptor.
    """

    id: str
    path: str
    title: str | None = None
    description: str | None = None
    time: str = ""
    parameters: tuple[str, ...] = ()
    condition: str | None = None
    cadence: float | None = None
    ahead: float | None = None
    stamp: str = "center"
    bins: Mapping[str, tuple[ParameterBins, ...]] = field(default_factory=dict)
    colors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    vectors: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    scale_types: Mapping[str, str] = field(default_factory=dict)
    file: Template = ()
    reader: FileReaderSpec | None = None
    part: str | None = None
    clock: TimeDecoding = field(default_factory=TimeDecoding)
    variables: Mapping[str, SeriesParameterSpec] = field(default_factory=dict)
    version: str | None = None
    places: Mapping[str, TextPlace] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayAxisMetadata:
    """What the elements of one dimension of a variable stand for.

    Attributes
    ----------
    name, unit, label
        Name, unit and label of the quantity.
    centers
        A value for each element; or the name of the column that has them for each sample.
    scale_type
        ``linear`` or ``log``: the scale of the axis in plots (SCALETYP); None: not stated.
    """

    name: str
    unit: str | None = None
    label: str | None = None
    centers: tuple[float, ...] | str = ()
    scale_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeriesMetadata:
    """What a table of samples in time says of its columns.

    Attributes
    ----------
    time
        The column of times.
    data
        Columns that are data (VAR_TYPE) and to be shown (DISPLAY_TYPE).
    axes
        Axes by the name of a column that is an array: one for each dimension, the slowest first.
    valid
        Least and greatest value that is right (VALIDMIN, VALIDMAX) of columns of single numbers.
    systems
        Coordinate systems of columns that are vectors (COORDINATE_SYSTEM).
    scale_types
        ``linear`` or ``log``: the scales of columns in plots (SCALETYP).
    """

    time: str
    data: tuple[str, ...] = ()
    axes: Mapping[str, tuple[ArrayAxisMetadata, ...]] = field(default_factory=dict)
    valid: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)
    scale_types: Mapping[str, str] = field(default_factory=dict)
