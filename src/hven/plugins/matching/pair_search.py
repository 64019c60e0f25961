"""Find the candidate pairs of a reference and a catalogue, which is read in batches and never held as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import DataError
from hven.model.sky.api.ragged_arrays import map_in_threads
from hven.plugins.matching.star_positions import (
    StarPositions,
    build_unit_vectors,
    compute_coordinates,
    compute_separations,
)
from hven.plugins.matching.zone_index import MAX_TESTED_PAIRS, TooManyPairsError, ZoneIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.plugins.matching.catalogue_reading import StarBatch, StarReader

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MAX_PAIRS = 20_000_000  # of one catalogue; a pair takes about 100 bytes
STARS_PER_THREAD = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceStars:
    """The reference in memory, sorted by id.

    Attributes
    ----------
    ids
        Unique ids.
    positions
        Positions, NaN for stars that can't be matched.
    rows
        The columns that were read.
    """

    ids: pa.Array
    positions: StarPositions
    rows: pa.Table

    def select_stars(self, numbers: Rows) -> ReferenceStars:
        """Return some of the stars.

        Parameters
        ----------
        numbers
            Their numbers in ascending order, shape (m,).
        """
        places = pa.array(numbers)
        return ReferenceStars(
            ids=self.ids.take(places),
            positions=self.positions.select_stars(numbers),
            rows=self.rows.take(places).combine_chunks(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPairs:
    """Candidate pairs of one catalogue, in the order of the reference and of the ids of the candidates.

    Attributes
    ----------
    reference_rows
        Numbers of the stars of the reference, shape (n,).
    ids, ranks
        Ids of the candidates, and their numbers in the order of the ids.
    separations
        Arcseconds.
    reference_vectors, partner_vectors
        Positions at the epoch of each pair, shape (n, 3).
    rows
        Columns of the candidates.
    """

    reference_rows: Rows
    ids: pa.Array
    ranks: Rows
    separations: Floats
    reference_vectors: Floats
    partner_vectors: Floats
    rows: pa.Table

    def select_pairs(self, numbers: Rows) -> FoundPairs:
        """Return some of the pairs.

        Parameters
        ----------
        numbers
            Their numbers, shape (m,).
        """
        places = pa.array(numbers)
        return FoundPairs(
            reference_rows=self.reference_rows[numbers],
            ids=self.ids.take(places),
            ranks=self.ranks[numbers],
            separations=self.separations[numbers],
            reference_vectors=self.reference_vectors[numbers],
            partner_vectors=self.partner_vectors[numbers],
            rows=self.rows.take(places).combine_chunks(),
        )


def read_reference_stars(reader: StarReader, further_columns: Sequence[Column]) -> ReferenceStars:
    """Read the reference, and sort it by id.

    Parameters
    ----------
    reader
        The catalogue.
    further_columns
        Columns to read.

    Raises
    ------
    DataError
        An id is missing, or not unique.
    """
    return collect_reference_stars(reader, reader.read_batches(further_columns), further_columns)


def collect_reference_stars(
    reader: StarReader, batches: Iterable[StarBatch], further_columns: Sequence[Column]
) -> ReferenceStars:
    """Collect the rows of a catalogue, and sort them by id.

    Parameters
    ----------
    reader
        The catalogue.
    batches
        Its rows.
    further_columns
        Columns to keep besides those of the positions.

    Raises
    ------
    DataError
        An id is missing, or not unique.
    """
    names = list(dict.fromkeys(column.name for column in (reader.id, *further_columns)))
    tables, position_parts = [], []
    for batch in batches:  # one at a time: other columns need not be in memory together
        tables.append(pa.Table.from_batches([batch.rows]).select(names))
        position_parts.append(batch.positions)
    if tables:
        rows = pa.concat_tables(tables)
    else:
        rows = pa.table({column.name: pa.array([], column.type.arrow) for column in (reader.id, *further_columns)})
    ids = rows.column(reader.id.name).cast(reader.id.type.arrow).combine_chunks()
    order = pc.sort_indices(ids)
    ids = ids.take(order)
    _refuse_repeated_ids(ids, reader)
    numbers = np.asarray(order)
    arrays = {
        name: np.concatenate([getattr(part, name) for part in position_parts] or [np.empty(0)])[numbers]
        for name in ("longitudes", "latitudes", "longitude_motions", "latitude_motions", "epochs")
    }
    return ReferenceStars(ids=ids, positions=StarPositions(**arrays), rows=rows.take(order).combine_chunks())


def _refuse_repeated_ids(ids: pa.Array, reader: StarReader) -> None:
    if ids.null_count:
        raise DataError(
            f"{ids.null_count:,} rows of {reader.options.table} have no {reader.id.name}",
            remedy="set `id` to a column without nulls, or exclude these rows with `where`",
        )
    if len(ids) < 2:
        return
    repeated = ids.slice(1).filter(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
    if len(repeated):
        raise DataError(
            f"{len(repeated):,} rows of {reader.options.table} repeat the {reader.id.name} of another row, for "
            f"example {repeated[0].as_py()}",
            remedy="set `id` to a column with unique values",
        )


class PairSearch:
    """Searches the candidates of the stars of a reference in a catalogue.

    Parameters
    ----------
    reference
        The reference.
    reader
        The catalogue.
    reach_arcsec
        Largest distance of a candidate.
    motion
        ``rigorous`` or ``linear``.
    common_epoch
        The epoch to which all positions are moved; None: the reference is moved to the epochs of the catalogue.
    max_tested_pairs
        Pairs of near stars that are tested for a batch of the catalogue; with more, the catalogue is too dense.
    """

    def __init__(
        self,
        reference: ReferenceStars,
        reader: StarReader,
        reach_arcsec: float,
        *,
        motion: str,
        common_epoch: float | None,
        max_tested_pairs: int = MAX_TESTED_PAIRS,
    ) -> None:
        self._max_tested_pairs = max_tested_pairs
        self._positions = reference.positions
        self._reader = reader
        self._reach_arcsec = reach_arcsec
        self._motion = motion
        self._common_epoch = common_epoch
        if common_epoch is None:
            first_epoch, last_epoch = reader.find_epoch_range()
        else:
            first_epoch = last_epoch = common_epoch
        self._indexes = list(self._build_indexes((first_epoch + last_epoch) / 2, (last_epoch - first_epoch) / 2))

    def _build_indexes(self, epoch: float, half_span_years: float) -> Iterator[tuple[Rows, ZoneIndex]]:
        """Yield an index of the slow stars of the reference, and indexes of the few fast ones with a larger radius."""
        known_rows = np.flatnonzero(np.isfinite(self._positions.longitudes))
        safety = 2 if self._motion == "linear" else 1  # near a pole, the linear formula moves a star further
        displacements = self._positions.compute_speeds()[known_rows] * half_span_years * safety
        classes = np.ceil(np.log10(np.maximum(displacements, 1.0)))
        for number in np.unique(classes):
            rows = known_rows[classes == number]
            longitudes, latitudes = self._compute_coordinates(rows, epoch)
            largest = float(displacements[classes == number].max())
            radius = self._reach_arcsec + largest + 1e-6
            yield rows, ZoneIndex(longitudes, latitudes, radius, max_tested_pairs=self._max_tested_pairs)

    def _compute_coordinates(self, rows: Rows, epoch: float) -> tuple[Floats, Floats]:
        """Compute coordinates of stars of the reference at an epoch, in degrees."""

        def compute_piece(piece: Rows) -> tuple[Floats, Floats]:
            vectors = self._positions.compute_vectors(piece, np.full(len(piece), epoch), self._motion)
            return compute_coordinates(vectors)

        starts = range(0, max(len(rows), 1), STARS_PER_THREAD)
        pieces = map_in_threads(compute_piece, [rows[start : start + STARS_PER_THREAD] for start in starts])
        longitudes, latitudes = zip(*pieces, strict=True)
        return np.concatenate(longitudes), np.concatenate(latitudes)

    def find_pairs(self, further_columns: Sequence[Column]) -> FoundPairs:
        """Read the catalogue, and find all candidate pairs.

        Parameters
        ----------
        further_columns
            Columns of the candidates to keep.

        Raises
        ------
        DataError
            There are too many pairs, or the ids of candidates are not unique.
        """
        reader = self._reader
        parts = []
        pair_count = 0
        rows_before = 0
        try:
            for batch in reader.read_batches(further_columns):
                for part in self._find_batch_pairs(batch, rows_before):
                    pair_count += len(part[0])
                    if pair_count > MAX_PAIRS:
                        raise TooManyPairsError(pair_count)  # noqa: TRY301  (one message for both limits)
                    parts.append(part)
                rows_before += batch.rows.num_rows
        except TooManyPairsError as error:
            raise build_density_error(reader, error.pair_count, self._reach_arcsec) from None
        return self._combine_pair_chunks(parts, further_columns)

    def _find_batch_pairs(
        self, batch: StarBatch, rows_before: int
    ) -> Iterator[tuple[Rows, Rows, Floats, Floats, Floats, pa.RecordBatch]]:
        positions = batch.positions
        known_rows = np.flatnonzero(np.isfinite(positions.longitudes))
        if self._common_epoch is None:
            epochs = positions.epochs
            vectors = build_unit_vectors(positions.longitudes, positions.latitudes)
            longitudes, latitudes = positions.longitudes[known_rows], positions.latitudes[known_rows]
        else:
            epochs = np.full(len(positions.epochs), self._common_epoch)
            vectors = np.full((len(epochs), 3), np.nan)
            vectors[known_rows] = positions.compute_vectors(known_rows, epochs[known_rows], self._motion)
            longitudes, latitudes = compute_coordinates(vectors[known_rows])
        for indexed_rows, index in self._indexes:
            for rows, places in index.iterate_pairs(longitudes, latitudes):
                partners = known_rows[rows]
                references = indexed_rows[places]
                reference_vectors = self._positions.compute_vectors(references, epochs[partners], self._motion)
                separations = compute_separations(reference_vectors, vectors[partners])
                near = separations <= self._reach_arcsec
                kept = partners[near]
                yield (
                    references[near],
                    kept + rows_before,
                    separations[near],
                    reference_vectors[near],
                    vectors[kept],
                    batch.rows.take(pa.array(kept)),
                )

    def _combine_pair_chunks(
        self,
        parts: Sequence[tuple[Rows, Rows, Floats, Floats, Floats, pa.RecordBatch]],
        further_columns: Sequence[Column],
    ) -> FoundPairs:
        reader = self._reader
        names = list(dict.fromkeys(column.name for column in (reader.id, *further_columns)))
        if not parts:
            empty = np.empty(0)
            return FoundPairs(
                reference_rows=np.empty(0, np.int64),
                ids=pa.array([], reader.id.type.arrow),
                ranks=np.empty(0, np.int64),
                separations=empty,
                reference_vectors=empty.reshape(0, 3),
                partner_vectors=empty.reshape(0, 3),
                rows=pa.table(
                    {column.name: pa.array([], column.type.arrow) for column in (reader.id, *further_columns)}
                ),
            )
        references, partners, separations, reference_vectors, partner_vectors = (
            np.concatenate([part[number] for part in parts]) for number in range(5)
        )
        rows = pa.Table.from_batches([part[5] for part in parts]).select(names)
        ids = rows.column(reader.id.name).combine_chunks()
        is_candidate = np.zeros(int(partners.max()) + 1 if len(partners) else 0, bool)
        is_candidate[partners] = True
        ranks = rank_candidate_ids(ids, int(is_candidate.sum()), reader)
        order = sort_pairs(references, ranks)
        return FoundPairs(
            reference_rows=references[order],
            ids=ids.take(pa.array(order)),
            ranks=ranks[order],
            separations=separations[order],
            reference_vectors=reference_vectors[order],
            partner_vectors=partner_vectors[order],
            rows=rows.take(pa.array(order)).combine_chunks(),
        )


def rank_candidate_ids(ids: pa.Array, star_count: int, reader: StarReader) -> Rows:
    """Return the number of each candidate in the order of their ids.

    Parameters
    ----------
    ids
        Ids of the candidates, shape (n,).
    star_count
        How many different rows of the catalogue are among the candidates.
    reader
        The catalogue, for the message.

    Raises
    ------
    DataError
        Two rows have the same id, or one has none.
    """
    if pa.types.is_integer(ids.type) and not ids.null_count:  # faster than Arrow's functions
        numbers = np.asarray(ids)
        order = np.argsort(numbers)
        sorted_numbers = numbers[order]
        ranks = np.empty(len(numbers), np.int64)
        ranks[order] = np.cumsum(np.concatenate([[False], sorted_numbers[1:] != sorted_numbers[:-1]])[: len(numbers)])
        unique_count = int(ranks.max(initial=-1)) + 1
    else:
        unique_ids = pc.unique(ids)
        unique_ids = unique_ids.take(pc.sort_indices(unique_ids))
        ranks = np.asarray(pc.index_in(ids, value_set=unique_ids)).astype(np.int64)
        unique_count = len(unique_ids) - bool(ids.null_count)
    if ids.null_count or unique_count < star_count:
        raise DataError(
            f"{star_count:,} candidates of {reader.options.table} have only "
            f"{unique_count:,} different values of {reader.id.name}",
            remedy=f"set `id` of {reader.name} to a column with unique values and without nulls",
        )
    return ranks


def sort_pairs(reference_rows: Rows, ranks: Rows) -> Rows:
    """Return the order of pairs by the reference, then by the candidate; no pair may occur twice.

    Parameters
    ----------
    reference_rows, ranks
        Numbers of the two stars of each pair, shape (n,).
    """
    order: Rows = np.argsort(reference_rows * (int(ranks.max(initial=0)) + 1) + ranks)
    return order


def build_density_error(reader: StarReader, pair_count: int, reach_arcsec: float) -> DataError:
    """Build the error for a catalogue that is too dense.

    Parameters
    ----------
    reader
        The catalogue.
    pair_count
        The number of pairs that is too large.
    reach_arcsec
        Largest distance of a candidate.
    """
    return DataError(
        f"{reader.options.table} is too dense: at least {pair_count:,} pairs are within {reach_arcsec:g} arcsec",
        remedy=f"choose a smaller `radius` or `mates` for {reader.name}, or exclude rows with `where`",
    )
