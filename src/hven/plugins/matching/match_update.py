"""Match a catalogue: find and judge its pairs. If the last match is known, only what changed since then is matched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.plugins.matching.match_options import REFERENCE_NAME
from hven.plugins.matching.match_store import CatalogueMatch
from hven.plugins.matching.match_verdicts import CandidatePairs, MatchRule, judge_pairs
from hven.plugins.matching.pair_search import (
    MAX_PAIRS,
    FoundPairs,
    PairSearch,
    build_density_error,
    rank_candidate_ids,
    sort_pairs,
)
from hven.plugins.matching.row_digests import CELL_COLUMN, DIGEST_COLUMN, RowDigestReader
from hven.plugins.matching.sky_cells import UNKNOWN_CELL, find_circles_in_cells, find_touched_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hven.plugins.matching.catalogue_reading import CatalogueReader
    from hven.plugins.matching.match_options import Options
    from hven.plugins.matching.match_store import StoredMatch
    from hven.plugins.matching.match_verdicts import MatchVerdicts
    from hven.plugins.matching.pair_expressions import PairExpressions
    from hven.plugins.matching.pair_search import ReferenceStars
    from hven.sources import SiteQueryRunner

    Floats = npt.NDArray[np.float64]
    Digests = npt.NDArray[np.uint64]
    ValuedPairs = tuple[FoundPairs, dict[str, Floats]]


@dataclass(frozen=True, slots=True)
class CatalogueMatcher:
    """Matches one catalogue with the reference.

    Parameters
    ----------
    reader
        The catalogue.
    expressions
        Its conditions and scores.
    options
        The options of the match.
    run_query
        Runs queries over the tables of this site.
    report_star_counts
        Takes the reader when it has read all rows once.
    """

    reader: CatalogueReader
    expressions: PairExpressions
    options: Options
    run_query: SiteQueryRunner
    report_star_counts: Callable[[CatalogueReader], None]

    def compute_match(self, reference: ReferenceStars, stored: StoredMatch | None) -> tuple[CatalogueMatch, Digests]:
        """Match the catalogue.

        Parameters
        ----------
        reference
            The reference, with `DIGEST_COLUMN`.
        stored
            The last match with the same options, or None.

        Returns
        -------
        match, cell_digests
            The match does not depend on `stored`.
        """
        survey = RowDigestReader(self.reader)
        if stored is None:
            pairs, values = self._find_pairs(reference, survey)
            self.report_star_counts(self.reader)
        else:
            for _ in survey.read_batches(self._further_columns):  # only to compute the digests of the cells
                pass
            self.report_star_counts(self.reader)
            pairs, values = self._update_pairs(reference, stored, survey)
        match = CatalogueMatch(
            pairs=pairs, verdicts=self._judge_candidate_pairs(pairs, values, len(reference.ids)), values=values
        )
        return match, survey.cell_digests

    @property
    def _further_columns(self) -> list[pa.Field]:
        read_columns = self.expressions.read_columns[self.reader.name].values()
        return [*read_columns, *self.reader.shown_columns, CELL_COLUMN, DIGEST_COLUMN]

    @property
    def _reach_arcsec(self) -> float:
        catalogue = self.options.catalogues[self.reader.name]
        return catalogue.radius + catalogue.mates

    def _find_pairs(self, reference: ReferenceStars, reader: RowDigestReader) -> ValuedPairs:
        """Find the pairs of some stars of the reference and some cells of the catalogue."""
        search = PairSearch(
            reference, reader, self._reach_arcsec, motion=self.options.motion, common_epoch=self.options.epoch
        )
        pairs = search.find_pairs(self._further_columns)
        name = self.reader.name
        owners = {REFERENCE_NAME: (reference.rows, pa.array(pairs.reference_rows)), name: (pairs.rows, None)}
        arrays = {}
        for owner, column_name, _ in self.expressions.list_columns():
            rows, places = owners[owner]
            array = rows.column(column_name).combine_chunks()
            arrays[f"{owner}.{column_name}"] = array if places is None else array.take(places)
        return pairs, self.expressions.evaluate(arrays, pairs.separations, self.run_query)

    def _update_pairs(self, reference: ReferenceStars, stored: StoredMatch, survey: RowDigestReader) -> ValuedPairs:
        """Keep the pairs of unchanged stars, and find those of changed stars and changed cells."""
        changed_cells = survey.cell_digests != stored.cell_digests
        changed_cells[UNKNOWN_CELL] = False
        if stored.reference_ids.equals(reference.ids):
            new_rows = np.arange(len(reference.ids))
        else:
            new_rows = np.asarray(
                pc.fill_null(pc.index_in(stored.reference_ids, value_set=reference.ids), -1), np.int64
            )
        digests = np.asarray(reference.rows.column(DIGEST_COLUMN.name))
        is_unchanged = new_rows >= 0
        is_unchanged[is_unchanged] = digests[new_rows[is_unchanged]] == stored.reference_digests[is_unchanged]
        is_changed = np.ones(len(reference.ids), bool)
        is_changed[new_rows[is_unchanged]] = False
        old_pairs, old_values = stored.match.pairs, stored.match.values
        cells = np.asarray(old_pairs.rows.column(CELL_COLUMN.name))
        kept = np.flatnonzero(is_unchanged[old_pairs.reference_rows] & ~changed_cells[cells])
        kept_pairs = old_pairs.select_pairs(kept)
        kept_pairs = replace(kept_pairs, reference_rows=new_rows[kept_pairs.reference_rows])
        parts = [(kept_pairs, {name: values[kept] for name, values in old_values.items()})]
        positions = reference.positions
        reaches = self._compute_reaches(reference, survey.largest_speed)
        near_rows = find_circles_in_cells(positions.longitudes, positions.latitudes, reaches, changed_cells)
        changed_rows = np.flatnonzero(is_changed)
        near_cells = find_touched_cells(
            positions.longitudes[changed_rows], positions.latitudes[changed_rows], reaches[changed_rows]
        )
        for rows, cells_to_read in ((near_rows, changed_cells), (changed_rows, near_cells & ~changed_cells)):
            if len(rows) and cells_to_read.any():
                pairs, values = self._find_pairs(
                    reference.select_stars(rows), RowDigestReader(self.reader, kept_cells=cells_to_read)
                )
                parts.append((replace(pairs, reference_rows=rows[pairs.reference_rows]), values))
        return self._combine_pair_chunks(parts)

    def _compute_reaches(self, reference: ReferenceStars, largest_speed: float) -> Floats:
        """Compute how far the candidates of each star can be from its position in the table, in arcseconds."""
        epochs = reference.positions.epochs
        first_epoch, last_epoch = self.reader.find_epoch_range()
        margin = 0.0
        if self.options.epoch is not None:
            margin = largest_speed * max(abs(self.options.epoch - epoch) for epoch in (first_epoch, last_epoch))
            first_epoch = last_epoch = self.options.epoch
        years = np.maximum(np.abs(epochs - first_epoch), np.abs(epochs - last_epoch))
        safety = 1
        if self.options.motion == "linear":
            safety = 2
        reaches: Floats = self._reach_arcsec + safety * (reference.positions.compute_speeds() * years + margin)
        return reaches

    def _combine_pair_chunks(self, parts: Sequence[ValuedPairs]) -> ValuedPairs:
        found = [pairs for pairs, _ in parts]
        pair_count = sum(len(pairs.separations) for pairs in found)
        if pair_count > MAX_PAIRS:
            raise build_density_error(self.reader, pair_count, self._reach_arcsec)
        ids = pa.concat_arrays([pairs.ids for pairs in found])
        rows = pa.concat_tables([pairs.rows for pairs in found])
        star_count = len(pc.unique(rows.column(DIGEST_COLUMN.name)))
        pairs = FoundPairs(
            reference_rows=np.concatenate([pairs.reference_rows for pairs in found]),
            ids=ids,
            ranks=rank_candidate_ids(ids, star_count, self.reader),
            separations=np.concatenate([pairs.separations for pairs in found]),
            reference_vectors=np.concatenate([pairs.reference_vectors for pairs in found]),
            partner_vectors=np.concatenate([pairs.partner_vectors for pairs in found]),
            rows=rows,
        )
        order = sort_pairs(pairs.reference_rows, pairs.ranks)
        values = {name: np.concatenate([values[name] for _, values in parts])[order] for name in parts[0][1]}
        return pairs.select_pairs(order), values

    def _judge_candidate_pairs(
        self, pairs: FoundPairs, values: dict[str, Floats], reference_count: int
    ) -> MatchVerdicts:
        catalogue = self.options.catalogues[self.reader.name]
        candidates = CandidatePairs(
            reference_rows=pairs.reference_rows,
            partner_ranks=pairs.ranks,
            separations=pairs.separations,
            scores=values["score"],
            fulfilled=values.get("fulfilled", np.ones(len(pairs.separations))) == 1,
            reference_vectors=pairs.reference_vectors,
            partner_vectors=pairs.partner_vectors,
        )
        rule = MatchRule(
            radius_arcsec=catalogue.radius,
            mates_radius_arcsec=catalogue.mates,
            best=catalogue.best,
            ambiguous_difference=catalogue.ambiguous,
        )
        return judge_pairs(candidates, rule, reference_count)
