"""Try a match in a region: the separations of two tables, and how many of them are chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql import quote_adql_name
from hven.model.errors import DataError, ParamError, SourceError
from hven.plugins.matching.catalogue_reading import CatalogueReader
from hven.plugins.matching.loaded_stars import LoadedStars
from hven.plugins.matching.match_options import MAX_RADIUS_ARCSEC, CatalogueOptions
from hven.plugins.matching.pair_search import PairSearch, read_reference_stars
from hven.plugins.matching.star_positions import ARCSEC_PER_RADIAN, build_unit_vectors, compute_coordinates

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.plugins.matching.pair_search import ReferenceStars
    from hven.plugins.matching.star_positions import StarPositions
    from hven.sources import SiteQueryRunner

    Floats = npt.NDArray[np.float64]
    Counts = npt.NDArray[np.int64]

MAX_STARS = 100_000  # of each table
MAX_TESTED_PAIRS = 20_000_000
MAX_REGION_DEGREES = 5.0
MAX_REACH_ARCSEC = 60.0
BIN_COUNT = 50
SHIFT_COUNT = 8
MIN_SHIFT_ARCSEC = 60.0  # beyond the neighbours of a star
SHIFT_PER_REACH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRegion:
    """A circle on the sky, in degrees."""

    ra: float
    dec: float
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTrial:
    """What was found in the region.

    Attributes
    ----------
    object_count, candidate_count
        Objects in the region, and stars of the catalogue there and around it.
    edges
        Separations in arcseconds that divide the histogram, shape (n + 1,).
    pairs, chance_pairs
        Pairs of each bin, and mean number of pairs if the objects are shifted, shape (n,).
    nearest, second
        Objects with a first and with a second candidate in each bin, shape (n,).
    """

    object_count: int
    candidate_count: int
    edges: Floats
    pairs: Counts
    chance_pairs: Floats
    nearest: Counts
    second: Counts

    def summarize_first_bins(self, bin_count: int) -> dict[str, float]:
        """Summarize the first bins: what a match finds with the last edge of them as the radius.

        Parameters
        ----------
        bin_count
            Number of the bins.

        Returns
        -------
        facts
            ``radius``, ``pairs``, ``chance_pairs``, ``chance_share`` (0 to 1), ``objects`` with a candidate, and those
            with ``several``.
        """
        pairs, chance_pairs = float(self.pairs[:bin_count].sum()), float(self.chance_pairs[:bin_count].sum())
        return {
            "radius": float(self.edges[bin_count]),
            "pairs": pairs,
            "chance_pairs": chance_pairs,
            "chance_share": min(chance_pairs / pairs, 1.0) if pairs else 0.0,
            "objects": float(self.nearest[:bin_count].sum()),
            "several": float(self.second[:bin_count].sum()),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the content as JSON."""
        return {
            "objects": self.object_count,
            "candidates": self.candidate_count,
            "shifts": SHIFT_COUNT,
            "edges": self.edges.tolist(),
            "pairs": self.pairs.tolist(),
            "chance_pairs": self.chance_pairs.tolist(),
            "radii": [self.summarize_first_bins(number) for number in range(1, len(self.edges))],
        }


def run_match_trial(
    reference_options: CatalogueOptions,
    catalogue_options: CatalogueOptions,
    region: TrialRegion,
    reach_arcsec: float,
    run_query: SiteQueryRunner,
) -> MatchTrial:
    """Find all pairs in a region, and those that shifted objects have.

    Parameters
    ----------
    reference_options, catalogue_options
        The two tables.
    region
        The region.
    reach_arcsec
        Largest separation.
    run_query
        Runs queries with the rights of the user, and returns at most `MAX_STARS` + 1 rows.

    Raises
    ------
    SourceError
        A table lacks a column.
    ParamError
        There are too many stars or pairs.
    """
    shift_arcsec = max(MIN_SHIFT_ARCSEC, SHIFT_PER_REACH * reach_arcsec)
    _, stars = _read_region_stars("first", reference_options, region, run_query)
    reader = CatalogueReader("second", catalogue_options, run_query, keeps_motionless=True)
    first_epoch, last_epoch = reader.find_epoch_range()
    margin_arcsec = _measure_largest_motion(stars, first_epoch, last_epoch) + shift_arcsec + reach_arcsec
    wide_region = replace(region, radius=min(region.radius + margin_arcsec / 3600, 180.0))
    reader, candidates = _read_region_stars("second", catalogue_options, wide_region, run_query)
    catalogue = LoadedStars(reader, candidates)
    edges = np.round(np.linspace(0, reach_arcsec, BIN_COUNT + 1), 9)
    rows, separations = _find_rows_with_separations(stars, catalogue, reach_arcsec)
    order = np.lexsort((separations, rows))
    sorted_rows, sorted_separations = rows[order], separations[order]
    is_first = np.concatenate([[True], sorted_rows[1:] != sorted_rows[:-1]])[: len(order)]
    is_second = np.concatenate([[False], is_first[:-1]])[: len(order)] & ~is_first
    chance_pairs = np.zeros(BIN_COUNT)
    for number in range(SHIFT_COUNT):
        angle = 2 * np.pi * number / SHIFT_COUNT
        shifted = replace(stars, positions=_move_positions(stars.positions, shift_arcsec, angle))
        chance_pairs += np.histogram(_find_rows_with_separations(shifted, catalogue, reach_arcsec)[1], edges)[0]
    return MatchTrial(
        object_count=len(stars.ids),
        candidate_count=len(candidates.ids),
        edges=edges,
        pairs=np.histogram(separations, edges)[0],
        chance_pairs=chance_pairs / SHIFT_COUNT,
        nearest=np.histogram(sorted_separations[is_first], edges)[0],
        second=np.histogram(sorted_separations[is_second], edges)[0],
    )


def _read_region_stars(
    name: str, options: CatalogueOptions, region: TrialRegion, run_query: SiteQueryRunner
) -> tuple[CatalogueReader, ReferenceStars]:
    """Read the stars of a region."""
    reader = CatalogueReader(name, options, run_query, keeps_motionless=True)
    coordinates = []
    for column in (reader.longitude, reader.latitude):
        if column.unit not in (None, "", "deg"):
            raise SourceError(
                f"{column.name} of {options.table} is in {column.unit}, so Hven can't select the stars of a region",
                remedy="choose a table with positions in degrees",
            )
        coordinates.append(quote_adql_name(column.name))
    circle = ", ".join(repr(value) for value in (region.ra, region.dec, region.radius))
    condition = f"1 = CONTAINS(POINT({', '.join(coordinates)}), CIRCLE({circle}))"
    reader.options = options.model_copy(update={"where": condition})
    stars = read_reference_stars(reader, [])
    if len(stars.ids) > MAX_STARS:
        raise ParamError(
            f"more than {MAX_STARS:,} stars of {options.table} are in the region",
            name="sr",
            remedy="choose a smaller region",
        )
    return reader, stars


def _find_rows_with_separations(
    stars: ReferenceStars, catalogue: LoadedStars, reach_arcsec: float
) -> tuple[Counts, Floats]:
    """Find the objects and the separations of all pairs."""
    search = PairSearch(
        stars,
        catalogue,
        reach_arcsec,
        motion="rigorous",
        common_epoch=None,
        max_tested_pairs=MAX_TESTED_PAIRS,
    )
    try:
        pairs = search.find_pairs(())
    except DataError as error:
        raise ParamError(error.message, name="sr", remedy="choose a smaller region, or smaller separations") from None
    return pairs.reference_rows, pairs.separations


def _measure_largest_motion(stars: ReferenceStars, first_epoch: float, last_epoch: float) -> float:
    """Measure how far a star of the region has moved at most, in arcseconds."""
    epochs = stars.positions.epochs
    years = np.maximum(np.abs(epochs - first_epoch), np.abs(epochs - last_epoch))
    largest: float = (stars.positions.compute_speeds() * years).max(initial=0.0)
    return min(float(largest), MAX_RADIUS_ARCSEC)


def _move_positions(positions: StarPositions, shift_arcsec: float, angle: float) -> StarPositions:
    """Move all stars by the same distance, in a direction relative to east."""
    vectors = build_unit_vectors(positions.longitudes, positions.latitudes)
    longitude = np.radians(positions.longitudes)
    east = np.stack([-np.sin(longitude), np.cos(longitude), np.zeros(len(longitude))], axis=1)
    north = np.cross(vectors, east)
    displaced = vectors + np.tan(shift_arcsec / ARCSEC_PER_RADIAN) * (np.cos(angle) * east + np.sin(angle) * north)
    longitudes, latitudes = compute_coordinates(displaced)
    return replace(positions, longitudes=longitudes, latitudes=latitudes)
