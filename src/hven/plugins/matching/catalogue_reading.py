"""Read the stars of a catalogue from a table of this site: their ids, positions, motions and epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from hven.adql import quote_adql_name
from hven.model.errors import SourceError
from hven.model.units import compute_unit_factor
from hven.plugins.matching.match_options import quote_dotted_table_name
from hven.plugins.matching.pair_expressions import find_column, to_floats
from hven.plugins.matching.star_positions import StarPositions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.plugins.matching.match_options import CatalogueOptions
    from hven.sources import SiteQueryRunner

    Floats = npt.NDArray[np.float64]

NAME_UCD = "meta.id;src"
ID_UCD, LONGITUDE_UCD, LATITUDE_UCD = "meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
MOTION_UCDS = ("pos.pm;pos.eq.ra", "pos.pm;pos.eq.dec")
JULIAN_YEAR_DAYS = 365.25
J2000_JULIAN_DATE, JULIAN_DATE_OF_MJD_0 = 2_451_545.0, 2_400_000.5
MAX_MJD = 1_000_000
MICROSECONDS_PER_DAY = 86_400_000_000
J2000_UNIX_DAYS = 10_957.5
EPOCH_LIMITS = (1000.0, 3000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StarBatch:
    """Some rows of a catalogue.

    Attributes
    ----------
    ids
        Their ids, shape (n,).
    positions
        Their positions; those of stars that can't be matched are NaN.
    rows
        The columns that were read.
    """

    ids: pa.Array
    positions: StarPositions
    rows: pa.RecordBatch


@dataclass(slots=True)
class IncompleteStarCounts:
    """How many stars of a catalogue have no position, no proper motion or no epoch."""

    without_position: int = 0
    without_motion: int = 0
    without_epoch: int = 0


class StarReader(Protocol):
    """What a search of pairs needs of a catalogue."""

    @property
    def name(self) -> str:
        """Its name in the descriptor."""

    @property
    def options(self) -> CatalogueOptions:
        """Its options."""

    @property
    def id(self) -> Column:
        """The column of the ids."""

    def read_batches(self, further_columns: Sequence[Column] = ()) -> Iterator[StarBatch]:
        """Yield the stars."""

    def find_epoch_range(self) -> tuple[float, float]:
        """Find the first and the last epoch, as Julian years."""


@dataclass(slots=True)
class CatalogueReader:
    """A catalogue with the columns that a match needs.

    Parameters
    ----------
    name
        Its name in the descriptor.
    options
        Its options.
    run_query
        Runs queries over the tables of this site.
    keeps_motionless
        Whether stars without proper motion count as stars that don't move; otherwise they have no position.
    keeps_undated
        Whether rows without an epoch count as rows of the year 2000; otherwise they have no position.

    Raises
    ------
    SourceError
        A column is missing, or has another type or unit.
    """

    name: str
    options: CatalogueOptions
    run_query: SiteQueryRunner
    keeps_motionless: bool
    keeps_undated: bool = False
    counts: IncompleteStarCounts = field(default_factory=IncompleteStarCounts)
    columns: Sequence[Column] = field(init=False)
    id: Column = field(init=False)
    longitude: Column = field(init=False)
    latitude: Column = field(init=False)
    motions: tuple[Column, Column] | None = field(init=False)
    epoch: Column | None = field(init=False, default=None)
    shown_columns: tuple[Column, ...] = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        answer = self.run_query(f"SELECT TOP 0 * FROM {quote_dotted_table_name(options.table)}")
        self.columns = answer.columns
        for _ in answer:  # a query that is not read to its end stays open
            pass
        self.id = self.require_column("id", options.id, ID_UCD)
        self.longitude = self.require_column("ra", options.ra, LONGITUDE_UCD)
        self.latitude = self.require_column("dec", options.dec, LATITUDE_UCD)
        self.motions = self._find_motion_columns()
        if isinstance(options.epoch, str):
            self.epoch = self._find_named_column(options.epoch)
            if not (self.epoch.type.is_numeric or self.epoch.type.is_timestamp):
                raise SourceError(
                    f"the epoch {self.epoch.name} of {options.table} is neither a number nor a time",
                    remedy="use a Julian year, such as 2016.0, or a column with years, Julian dates or times",
                )
        self.shown_columns = tuple(self._find_named_column(name) for name in options.columns)

    def read_batches(self, further_columns: Sequence[Column] = ()) -> Iterator[StarBatch]:
        """Yield the stars.

        Parameters
        ----------
        further_columns
            Columns to read besides those of the positions.
        """
        needed = [self.id, self.longitude, self.latitude, *(self.motions or ()), *further_columns]
        if self.epoch is not None:
            needed.append(self.epoch)
        names = dict.fromkeys(column.name for column in needed)
        selection = ", ".join(quote_adql_name(name) for name in names)
        for batch in self.run_query(f"SELECT {selection} FROM {self._write_table_and_condition()}"):
            yield StarBatch(ids=batch.column(self.id.name), positions=self._build_positions(batch), rows=batch)

    def find_epoch_range(self) -> tuple[float, float]:
        """Find the first and the last epoch.

        Returns
        -------
        first, last
            Julian years.
        """
        if self.epoch is None:
            return float(self.options.epoch), float(self.options.epoch)
        name = quote_adql_name(self.epoch.name)
        query = f"SELECT MIN({name}) AS first_epoch, MAX({name}) AS last_epoch FROM {self._write_table_and_condition()}"
        batches = list(self.run_query(query))
        bounds = np.concatenate(
            [self._to_years(column) for batch in batches for column in batch.columns] or [np.full(2, np.nan)]
        )
        self._refuse_distant_epochs(bounds)
        if not np.isfinite(bounds).all():
            return 2000.0, 2000.0
        return float(bounds[0]), float(bounds[-1])

    def _write_table_and_condition(self) -> str:
        table = quote_dotted_table_name(self.options.table)
        if self.options.where is None:
            return table
        return f"{table} WHERE ({self.options.where})"

    def list_name_columns(self, names: Sequence[str]) -> list[Column]:
        """List the columns with names of the objects.

        Parameters
        ----------
        names
            Names of the columns; empty: the text columns with the UCD ``meta.id``, the main one first.

        Raises
        ------
        SourceError
            There are none.
        """
        columns = [self._find_named_column(name) for name in names]
        if not columns:
            texts = [column for column in self.columns if column.type.is_string]
            columns = [column for column in texts if (column.ucd or "").lower().split(";")[0] == "meta.id"]
            columns.sort(key=lambda column: (column.ucd or "").lower() not in {ID_UCD, NAME_UCD})
        if not columns:
            raise SourceError(
                f"no text column of {self.options.table} has the UCD meta.id",
                remedy=f"set `names` of {self.name} to the columns that contain the names of the objects",
            )
        return columns

    def _find_named_column(self, name: str) -> Column:
        return find_column(self.columns, name, f"the catalogue {self.name} ({self.options.table})")

    def require_column(self, key: str, name: str | None, ucd: str) -> Column:
        """Return the column with a name, or else with a UCD.

        Parameters
        ----------
        key
            The option with the name.
        name
            The name; None: the UCD decides.
        ucd
            The UCD.

        Raises
        ------
        SourceError
            There is no such column.
        """
        column = self._find_named_column(name) if name is not None else self._find_column_by_ucd(ucd)
        if column is None:
            raise SourceError(
                f"no column of {self.options.table} has the UCD {ucd}",
                remedy=f"set `{key}` of {self.name} to a column",
            )
        return column

    def _find_column_by_ucd(self, ucd: str) -> Column | None:
        return next((column for column in self.columns if (column.ucd or "").lower() == ucd), None)

    def _find_motion_columns(self) -> tuple[Column, Column] | None:
        found: list[Column | None] = []
        for name, ucd in zip((self.options.pmra, self.options.pmdec), MOTION_UCDS, strict=True):
            if isinstance(name, str):
                found.append(self._find_named_column(name))
            else:
                found.append(None if name is False else self._find_column_by_ucd(ucd))
        first, second = found
        if first is None or second is None:
            if first is not second:
                raise SourceError(
                    f"{self.options.table} has only one of the two proper motions",
                    remedy=f"name both columns, or write `pmra: false, pmdec: false` for {self.name}",
                )
            return None
        return first, second

    def _build_positions(self, batch: pa.RecordBatch) -> StarPositions:
        count = batch.num_rows
        longitudes = self._read_angles(batch, self.longitude) % 360
        latitudes = self._read_angles(batch, self.latitude)
        is_known = np.isfinite(longitudes) & (np.abs(latitudes) <= 90)
        self.counts.without_position += count - int(is_known.sum())
        motions = [np.zeros(count), np.zeros(count)]
        if self.motions is not None:
            motions = [self._read_motions(batch, column) for column in self.motions]
            lacks_motion = ~np.isfinite(motions[0]) | ~np.isfinite(motions[1])
            self.counts.without_motion += int(lacks_motion.sum())
            motions = [np.where(lacks_motion, 0.0, motion) for motion in motions]
            if not self.keeps_motionless:
                is_known &= ~lacks_motion
        if self.epoch is None:
            epochs = np.full(count, float(self.options.epoch))
        else:
            epochs = self._to_years(batch.column(self.epoch.name))
            self._refuse_distant_epochs(epochs)
            self.counts.without_epoch += int(np.isnan(epochs).sum())
            if not self.keeps_undated:
                is_known &= np.isfinite(epochs)
        return StarPositions(
            longitudes=np.where(is_known, longitudes, np.nan),
            latitudes=np.where(is_known, latitudes, np.nan),
            longitude_motions=motions[0],
            latitude_motions=motions[1],
            epochs=np.where(np.isfinite(epochs), epochs, 2000.0),
        )

    def _read_angles(self, batch: pa.RecordBatch, column: Column) -> Floats:
        return to_floats(batch.column(column.name)) * self._find_unit_factor(column, "deg")

    def _read_motions(self, batch: pa.RecordBatch, column: Column) -> Floats:
        return to_floats(batch.column(column.name)) * self._find_unit_factor(column, "mas/yr")

    def _find_unit_factor(self, column: Column, unit: str) -> float:
        if not column.unit or column.unit == unit:
            return 1.0
        try:
            return compute_unit_factor(column.unit, unit)
        except ValueError as error:
            raise SourceError(
                f"{column.name} of {self.options.table} is in {column.unit}, which cannot be converted to {unit}",
                remedy="correct the unit of the column, or name another column",
            ) from error

    def _to_years(self, values: pa.Array) -> Floats:
        """Convert epochs to Julian years."""
        if pa.types.is_timestamp(values.type):
            microseconds = to_floats(values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64()))
            return 2000 + (microseconds / MICROSECONDS_PER_DAY - J2000_UNIX_DAYS) / JULIAN_YEAR_DAYS
        epochs = to_floats(values)
        if self.epoch is not None and self.epoch.unit == "d":
            julian_dates = np.where(epochs < MAX_MJD, epochs + JULIAN_DATE_OF_MJD_0, epochs)
            return np.asarray(2000 + (julian_dates - J2000_JULIAN_DATE) / JULIAN_YEAR_DAYS, np.float64)
        return epochs

    def _refuse_distant_epochs(self, epochs: Floats) -> None:
        low, high = EPOCH_LIMITS
        distant = epochs[(epochs < low) | (epochs > high)]
        if len(distant) and self.epoch is not None:
            raise SourceError(
                f"{self.epoch.name} of {self.options.table} has the epoch {distant[0]:g}, which is not a Julian year",
                remedy="correct the value, or give the column the unit d if it has Julian dates",
            )
