"""Match the objects of a table with their partners in other catalogues."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.errors import DataError, SourceError
from hven.plugins.matching.catalogue_reading import CatalogueReader
from hven.plugins.matching.match_columns import (
    build_candidate_arrays,
    build_flag_reason_texts,
    build_partner_arrays,
    list_candidate_columns,
    list_object_columns,
)
from hven.plugins.matching.match_options import REFERENCE_NAME, Options, list_match_queries
from hven.plugins.matching.match_store import MatchStore
from hven.plugins.matching.match_update import CatalogueMatcher
from hven.plugins.matching.pair_expressions import PairExpressions
from hven.plugins.matching.pair_search import read_reference_stars
from hven.plugins.matching.row_digests import DIGEST_COLUMN, RowDigestReader
from hven.plugins.matching.star_groups import find_star_groups
from hven.plugins.matching.zone_index import TooManyPairsError
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, SourceContext, SourceKindTraits
from hven.sources.api.rows import build_source_batch, limit_rows, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.plugins.matching.match_store import CatalogueMatch
    from hven.plugins.matching.pair_search import ReferenceStars
    from hven.sources import SiteQueryRunner, Source

TRAITS = SourceKindTraits(list_queries=list_match_queries, is_made_by_queries=True)


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a match.

    Raises
    ------
    SourceError
        Nobody here can run queries, or the options don't fit the tables.
    """
    if context.run_query is None:
        raise SourceError("a match can run only in a site", remedy="ingest the collection with `hven ingest`")
    return MatchSource(options, context, context.run_query)


class MatchSource:
    """The rows of a match."""

    def __init__(self, options: Options, context: SourceContext, run_query: SiteQueryRunner) -> None:
        self.options = options
        self.context = context
        self._run_query = run_query
        keeps_motionless = options.missing_motion == "zero"
        self._reference = CatalogueReader(REFERENCE_NAME, options.reference, run_query, keeps_motionless)
        # the motion of a partner matters only if it is moved to a common epoch
        self._readers = {
            name: CatalogueReader(name, catalogue, run_query, keeps_motionless or options.epoch is None)
            for name, catalogue in options.catalogues.items()
        }
        self._expressions = {
            name: PairExpressions(
                name,
                options.catalogues[name],
                {REFERENCE_NAME: self._reference.columns, name: reader.columns},
            )
            for name, reader in self._readers.items()
        }
        self._store = MatchStore(context, options, {REFERENCE_NAME: self._reference, **self._readers})

    def list_columns(self) -> list[Column]:
        """List the columns of the result."""
        return self._columns

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, in the order of the ids of the reference."""
        names = resolve_column_names(column_names, [column.name for column in self._columns], "the match")
        number = 1
        for batch in limit_rows(self._iterate_rows(), row_limit):
            for begin in range(0, batch.num_rows, self.context.batch_row_limit):
                part = batch.slice(begin, self.context.batch_row_limit)
                arrays = {
                    name: part.column(name) for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}
                }
                yield build_source_batch(names, arrays, part.num_rows, number, None)
                number += part.num_rows

    def list_input_versions(self) -> list[InputVersion]:
        """Name the tables; ingest adds their snapshots."""
        tables = [self.options.reference.table, *(catalogue.table for catalogue in self.options.catalogues.values())]
        return [InputVersion(name="match", detail=table) for table in dict.fromkeys(tables)]

    def estimate_progress_total(self) -> int | None:
        """Return None: the number of rows is unknown before the end."""
        return None

    @cached_property
    def _columns(self) -> list[Column]:
        for expressions in self._expressions.values():
            expressions.check_types(self._run_query)
        if self.options.rows != "objects":
            has_sigma = any(catalogue.within_sigma is not None for catalogue in self.options.catalogues.values())
            return list_candidate_columns(self._reference, has_sigma=has_sigma)
        with_dmag = [name for name, catalogue in self.options.catalogues.items() if catalogue.has_dmag]
        has_groups = self.options.groups is not None
        return list_object_columns(self._reference, self._readers, has_groups=has_groups, with_dmag=with_dmag)

    @property
    def _schema(self) -> pa.Schema:
        return pa.schema([pa.field(column.name, column.type.arrow) for column in self._columns])

    def _iterate_rows(self) -> Iterator[pa.RecordBatch]:
        read_columns = {
            column.name: column
            for expressions in self._expressions.values()
            for column in expressions.read_columns[REFERENCE_NAME].values()
        }
        own_columns = (*self._reference.shown_columns, self._reference.longitude, self._reference.latitude)
        shown_columns = {column.name: column for column in own_columns}
        columns = [*{**shown_columns, **read_columns}.values(), DIGEST_COLUMN]
        reference = read_reference_stars(RowDigestReader(self._reference), columns)
        report_star_counts(self.context, self._reference)
        if self.options.rows == "objects":
            yield self._build_objects(reference)
            return
        for name in self._readers:
            match = self._match_catalogue(name, reference)
            own_arrays = [reference.rows.column(column.name).combine_chunks() for column in self._columns[:3]]
            arrays = build_candidate_arrays(name, own_arrays, match.pairs, match.verdicts, match.values)[
                : len(self._schema)
            ]
            batch = pa.RecordBatch.from_arrays(
                [array.cast(field.type) for array, field in zip(arrays, self._schema, strict=False)],
                schema=self._schema,
            )
            yield batch if self.options.rows == "candidates" else batch.filter(batch.column("is_partner"))

    def _match_catalogue(self, name: str, reference: ReferenceStars) -> CatalogueMatch:
        stored = self._store.load_match_and_mark_in_use(name)
        if stored is not None and stored.is_of_this_run:
            return stored.match
        matcher = CatalogueMatcher(
            self._readers[name], self._expressions[name], self.options, self._run_query, self._report_star_counts
        )
        match, cell_digests = matcher.compute_match(reference, stored)
        self._store.store_match(name, match, reference, cell_digests)
        return match

    def _report_star_counts(self, reader: CatalogueReader) -> None:
        report_star_counts(self.context, reader)

    def _build_objects(self, reference: ReferenceStars) -> pa.RecordBatch:
        count = len(reference.ids)
        arrays = {self._reference.id.name: reference.ids}
        for column in self._reference.shown_columns:
            arrays[column.name] = reference.rows.column(column.name).combine_chunks()
        main_flags, all_flags = np.zeros(count, np.int64), np.zeros(count, np.int64)
        flags_by_catalogue = {}
        group_ids, group_sizes = self._find_groups(reference)
        for name, reader in self._readers.items():
            match = self._match_catalogue(name, reference)
            verdicts = match.verdicts
            arrays |= build_partner_arrays(name, reader, match.pairs, verdicts, match.values)
            flags_by_catalogue[name] = verdicts.flags
            all_flags |= verdicts.flags
            if self.options.catalogues[name].main:
                main_flags |= verdicts.flags
            if self.options.groups is not None and self.options.groups.with_mates:
                mate_counts = np.where(verdicts.mate_counts > 1, verdicts.mate_counts, 0)
                group_sizes = np.maximum(group_sizes, mate_counts)
        arrays["XMATCH_MAIN_FLAG"] = pa.array(main_flags)
        arrays["XMATCH_ALL_FLAG"] = pa.array(all_flags)
        arrays["XMATCH_LOG"] = build_flag_reason_texts(flags_by_catalogue)
        arrays["GroupID"] = pa.array(group_ids, mask=group_ids == 0)
        arrays["GroupSize"] = pa.array(group_sizes, mask=group_sizes == 0)
        schema = self._schema
        return pa.RecordBatch.from_arrays([arrays[field.name].cast(field.type) for field in schema], schema=schema)

    def _find_groups(self, reference: ReferenceStars) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        groups = self.options.groups
        count = len(reference.ids)
        if groups is None:
            return np.zeros(count, np.int64), np.zeros(count, np.int64)
        epochs = reference.positions.epochs
        epoch = groups.epoch or self.options.epoch
        if epoch is not None:
            epochs = np.full(count, epoch)
        vectors = reference.positions.compute_vectors(np.arange(count), epochs, self.options.motion)
        try:
            return find_star_groups(vectors, groups.radius)
        except TooManyPairsError as error:
            raise DataError(
                f"{self.options.reference.table} is too dense: at least {error.pair_count:,} pairs are within "
                f"{groups.radius:g} arcsec",
                remedy="choose a smaller `radius` of `groups`, or exclude rows with `where`",
            ) from None


def report_star_counts(context: SourceContext, reader: CatalogueReader) -> None:
    """Report rows without position, epoch or motion.

    Parameters
    ----------
    context
        The context of the source, which takes the notices.
    reader
        The catalogue that was read.
    """
    if context.on_notice is None:
        return
    counts = reader.counts
    motion_text = "count as stars that don't move"
    if not reader.keeps_motionless:
        motion_text = "stay unmatched"
    epoch_text = "stay unmatched"
    if reader.keeps_undated:
        epoch_text = "count as rows of the year 2000"
    for count, text in (
        (counts.without_position, "have no position, and stay unmatched"),
        (counts.without_epoch, f"have no epoch, and {epoch_text}"),
        (counts.without_motion, f"have no proper motion, and {motion_text}"),
    ):
        if count:
            context.on_notice(f"{count:,} rows of {reader.options.table} ({reader.name}) {text}")
