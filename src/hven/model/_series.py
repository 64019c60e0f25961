"""Series: samples in time that the rows of a table are, or that the files of its rows have: what HAPI and das2 call a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model._links import Template
    from hven.model.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """What the elements of one dimension of a parameter stand for (HAPI 3.3, section 3.6.17).

    Attributes
    ----------
    name
        Of the quantity: frequency, energy.
    unit
        Of the values.
    centers
        A value for each element; or the name of a column that has them for each sample.
    ranges
        Lowest and highest value of each element, or a column of these.
    label, description
        For people.
    """

    name: str
    unit: str | None = None
    centers: tuple[float, ...] | str = ()
    ranges: tuple[tuple[float, float], ...] | str = ()
    label: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
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
        ADQL over the rows, which it calls ``target``: of the others it has none.
    cadence
        Seconds between two samples, about; None: not said.
    stamp
        What of a sample its time is: ``begin``, ``center``, ``end``, ``other``.
    bins
        Of parameters that are arrays: one for each dimension.
    file
        The path of the file of a row in which its samples stand; empty: the row is a sample.
    part
        Name or number of the file's part; None: the first that has `time`.
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
    stamp: str = "center"
    bins: Mapping[str, tuple[Bins, ...]] = field(default_factory=dict)
    file: Template = ()
    part: str | None = None
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)


__all__ = ["Bins", "Series"]
