"""Identify each target of a table with a known object, with the confidence and the reasons of each identification."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.model.table import parse_column_lines
from hven.plugins.matching.catalogue_reading import NAME_UCD, CatalogueReader, StarBatch
from hven.plugins.matching.identify_options import Options, list_identify_queries
from hven.plugins.matching.identity_rules import (
    CANDIDATE_TEXTS,
    DECIDED,
    DECIDED_NONE,
    RULES,
    IdentityCandidates,
    decide_identities,
)
from hven.plugins.matching.loaded_stars import LoadedStars
from hven.plugins.matching.match_source import report_star_counts
from hven.plugins.matching.pair_search import PairSearch, collect_reference_stars, read_reference_stars
from hven.plugins.matching.person_decisions import read_person_decisions
from hven.plugins.matching.star_positions import compute_separations
from hven.plugins.matching.target_names import encode_keys, find_equal_code_pairs, normalize_target_names, split_names
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, SourceContext, SourceKindTraits
from hven.sources.api.rows import build_source_batch, limit_rows, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.plugins.matching.identity_rules import IdentityDecisions
    from hven.plugins.matching.pair_search import ReferenceStars
    from hven.sources import SiteQueryRunner, Source

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

TRAITS = SourceKindTraits(list_queries=list_identify_queries, is_made_by_queries=True)
MOVED_ARCMIN = 5.0
_CONFIDENCE_TEXT = "high, medium, low, conflict, none, or manual"
IDENTITY_COLUMNS = parse_column_lines(f"""
    ident_catalogue     | string  |        | meta.id;meta.table | Catalogue of the object
    ident_id            | string  |        | meta.id.cross      | Id of the object; null: the target is not identified
    ident_main          | string  |        | meta.id.cross      | Main name of the object
    ident_sep           | float64 | arcsec | pos.angDistance    | Distance between target and object at the epoch
    ident_sep_2nd       | float64 | arcsec | pos.angDistance    | Distance of the nearest other object
    ident_n             | int32   |        | meta.number        | Number of objects near the position
    ident_confidence    | string  |        | meta.code.qual     | Confidence: {_CONFIDENCE_TEXT}
    ident_reason        | string  |        | meta.note          | Why
    ident_by            | string  |        | meta.id            | rule, or the person who decided
    ident_epoch         | float64 | yr     | time.epoch         | Epoch at which the positions were compared
    ident_conflict_id   | string  |        | meta.id.cross      | Id of the object that has the name, but is elsewhere
    ident_conflict_main | string  |        | meta.id.cross      | Main name of this object
    ident_conflict_sep  | float64 | arcsec | pos.angDistance    | Its distance
""")
CANDIDATE_COLUMNS = parse_column_lines("""
    catalogue      | string  |        | meta.id;meta.table | Catalogue of the candidate
    candidate_id   | string  |        | meta.id.cross      | Id of the candidate
    candidate_main | string  |        | meta.id.cross      | Main name of the candidate
    separation     | float64 | arcsec | pos.angDistance    | Distance from the target at the epoch
    agreement      | string  |        | meta.note          | What agrees
    is_identified  | boolean |        | meta.code          | Whether the candidate is the target
""")


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open an identification.

    Raises
    ------
    SourceError
        Nobody here can run queries, or the options don't fit the tables.
    """
    if context.run_query is None:
        raise SourceError("an identification can run only in a site", remedy="ingest the collection with `hven ingest`")
    return IdentifySource(options, context, context.run_query)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueObjects:
    """The objects of a catalogue, and the candidates among them."""

    stars: ReferenceStars
    main_names: pa.Array
    target_rows: Rows
    star_rows: Rows
    separations: Floats
    have_name: npt.NDArray[np.bool_]


class IdentifySource:
    """The rows of an identification."""

    def __init__(self, options: Options, context: SourceContext, run_query: SiteQueryRunner) -> None:
        self.options = options
        self.context = context
        self._run_query = run_query
        targets = options.targets.model_copy(update={"pmra": False, "pmdec": False})
        self._targets = CatalogueReader("targets", targets, run_query, keeps_motionless=True, keeps_undated=True)
        self._name_column = self._targets.require_column("name", options.targets.name, NAME_UCD)
        self._readers = {
            name: CatalogueReader(name, item, run_query, keeps_motionless=True) for name, item in options.among.items()
        }
        self._name_columns = {
            name: self._readers[name].list_name_columns(item.names) for name, item in options.among.items()
        }

    def list_columns(self) -> list[Column]:
        """List the columns of the result."""
        return self._columns

    @cached_property
    def _columns(self) -> list[Column]:
        is_log = self.options.rows == "candidates"
        id_column = replace(self._targets.id, required=False, indexed=True, unique=not is_log, origins=())
        return [id_column, *(CANDIDATE_COLUMNS if is_log else IDENTITY_COLUMNS)]

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, in the order of the ids of the targets."""
        names = resolve_column_names(column_names, [column.name for column in self._columns], "the identification")
        number = 1
        for batch in limit_rows(self._build_rows().to_batches(self.context.batch_row_limit), row_limit):
            arrays = {name: batch.column(name) for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}}
            yield build_source_batch(names, arrays, batch.num_rows, number, None)
            number += batch.num_rows

    def list_input_versions(self) -> list[InputVersion]:
        """Name the tables; ingest adds their snapshots."""
        members = [self.options.targets, *self.options.among.values()]
        tables = [member.table for member in members]
        if self.options.overrides is not None:
            tables.append(self.options.overrides.table)
        return [InputVersion(name="identify", detail=table) for table in dict.fromkeys(tables)]

    def estimate_progress_total(self) -> int | None:
        """Return None: the number of rows is unknown before the end."""
        return None

    def _build_rows(self) -> pa.Table:
        targets = read_reference_stars(self._targets, [self._name_column])
        report_star_counts(self.context, self._targets)
        objects, candidates, decisions = self._decide_identities(targets)
        for reader in self._readers.values():
            report_star_counts(self.context, reader)
        arrays = _build_candidate_arrays(objects, candidates)
        if self.options.rows == "candidates":
            return self._build_candidate_log(targets, candidates, decisions, arrays)
        rows = self._build_identities(targets, decisions, arrays)
        whole_keys = normalize_target_names(targets.rows.column(self._name_column.name).combine_chunks())
        rows = self._apply_decisions(rows, targets, whole_keys, objects)
        self._report_confidence_counts(rows["ident_confidence"], "confidences of {count:,} targets: {text}")
        if self.options.calibrate:
            self._report_chance_identifications(targets)
        return rows

    def _decide_identities(
        self, targets: ReferenceStars
    ) -> tuple[dict[str, CatalogueObjects], IdentityCandidates, IdentityDecisions]:
        """Find the candidates of all targets, and apply the rules."""
        target_names, target_rows = split_names(
            targets.rows.column(self._name_column.name).combine_chunks(), self._name_column
        )
        target_keys = normalize_target_names(target_names)
        objects = {name: self._find_objects(name, targets, (target_keys, target_rows)) for name in self.options.among}
        found = list(objects.values())
        candidates = IdentityCandidates(
            target_rows=np.concatenate([item.target_rows for item in found]),
            catalogues=np.repeat(np.arange(len(found)), [len(item.target_rows) for item in found]),
            star_rows=np.concatenate([item.star_rows for item in found]),
            separations=np.concatenate([item.separations for item in found]),
            have_name=np.concatenate([item.have_name for item in found]),
        )
        decisions = decide_identities(candidates, len(targets.ids), self.options.radius, self.options.near)
        return objects, candidates, decisions

    def _report_chance_identifications(self, targets: ReferenceStars) -> None:
        """Identify the targets at places that are 5 arcmin away: what the rules find there is chance."""
        latitudes = targets.positions.latitudes
        moved_latitudes = latitudes - np.copysign(MOVED_ARCMIN / 60, latitudes)
        moved = replace(targets, positions=replace(targets.positions, latitudes=moved_latitudes))
        _, _, decisions = self._decide_identities(moved)
        confidences = pa.array([rule.confidence for rule in RULES]).take(pa.array(decisions.rules))
        text = f"confidences of {{count:,}} targets after Hven moved them by {MOVED_ARCMIN:g} arcmin: {{text}}"
        self._report_confidence_counts(pa.chunked_array([confidences]), text)

    def _find_objects(
        self, name: str, targets: ReferenceStars, target_names: tuple[pa.Array, Rows]
    ) -> CatalogueObjects:
        """Read a catalogue, and find the objects with the name or near the place of each target."""
        reader, name_columns = self._readers[name], self._name_columns[name]
        target_keys, key_targets = target_names
        known_keys = target_keys.unique().drop_null()
        named_parts: list[tuple[pa.Array, Rows]] = []

        def read_names() -> Iterator[StarBatch]:
            for batch in reader.read_batches(name_columns):
                for column in name_columns:
                    names, rows = split_names(batch.rows.column(column.name), column)
                    codes = encode_keys(normalize_target_names(names), known_keys)
                    is_known = codes >= 0
                    named_parts.append((batch.ids.take(pa.array(rows[is_known])), codes[is_known]))
                yield batch

        stars = collect_reference_stars(reader, read_names(), name_columns[:1])
        named_ids = pa.chunked_array([ids for ids, _ in named_parts], stars.ids.type)
        named_stars = np.asarray(pc.index_in(named_ids, value_set=stars.ids), np.int64)
        named_codes = np.concatenate([codes for _, codes in named_parts] or [np.empty(0, np.int64)])
        key_rows, name_rows = find_equal_code_pairs(encode_keys(target_keys, known_keys), named_codes)
        name_pairs = np.stack([key_targets[key_rows], named_stars[name_rows]], axis=1)
        search = PairSearch(
            stars, LoadedStars(self._targets, targets), self.options.radius, motion="rigorous", common_epoch=None
        )
        found = search.find_pairs(())
        found_targets = np.asarray(pc.index_in(found.ids, value_set=targets.ids), np.int64)
        place_pairs = np.stack([found_targets, found.reference_rows], axis=1)
        star_count = max(len(stars.ids), 1)
        pair_keys, first = np.unique(
            np.concatenate([place_pairs, name_pairs]) @ np.array([star_count, 1]), return_index=True
        )
        target_rows, star_rows = np.divmod(pair_keys, star_count)
        separations = np.full(len(pair_keys), np.nan)
        is_near = first < len(place_pairs)
        separations[is_near] = found.separations[first[is_near]]
        separations[~is_near] = _measure_separations(targets, target_rows[~is_near], stars, star_rows[~is_near])
        main_names = stars.rows.column(name_columns[0].name).combine_chunks()
        if not name_columns[0].type.is_string:
            main_names = pc.list_element(main_names, 0)
        return CatalogueObjects(
            stars=stars,
            main_names=main_names.cast(pa.string()),
            target_rows=target_rows,
            star_rows=star_rows,
            separations=separations,
            have_name=np.isin(pair_keys, name_pairs @ np.array([star_count, 1])),
        )

    def _build_identities(
        self,
        targets: ReferenceStars,
        decisions: IdentityDecisions,
        arrays: Mapping[str, pa.Array],
    ) -> pa.Table:
        chosen = pa.array(np.maximum(decisions.chosen, 0), mask=decisions.chosen < 0)
        conflicting = pa.array(np.maximum(decisions.conflicting, 0), mask=decisions.conflicting < 0)
        rules = pa.array(decisions.rules)
        count = len(targets.ids)
        has_place = np.isfinite(targets.positions.longitudes)
        values = {
            self._targets.id.name: targets.ids,
            "ident_catalogue": arrays["catalogue"].take(chosen),
            "ident_id": arrays["candidate_id"].take(chosen),
            "ident_main": arrays["candidate_main"].take(chosen),
            "ident_sep": arrays["separation"].take(chosen),
            "ident_sep_2nd": _to_nullable(decisions.second_separations),
            "ident_n": pa.array(decisions.counts),
            "ident_confidence": pa.array([rule.confidence for rule in RULES]).take(rules),
            "ident_reason": pa.array([rule.reason for rule in RULES]).take(rules),
            "ident_by": pa.array(["rule"]).take(pa.array(np.zeros(count, np.int64))),
            "ident_epoch": pa.array(targets.positions.epochs, mask=~has_place),
            "ident_conflict_id": arrays["candidate_id"].take(conflicting),
            "ident_conflict_main": arrays["candidate_main"].take(conflicting),
            "ident_conflict_sep": arrays["separation"].take(conflicting),
        }
        return self._build_output_table(values)

    def _build_candidate_log(
        self,
        targets: ReferenceStars,
        candidates: IdentityCandidates,
        decisions: IdentityDecisions,
        arrays: Mapping[str, pa.Array],
    ) -> pa.Table:
        order = np.lexsort(
            (
                candidates.star_rows,
                candidates.separations,
                candidates.catalogues,
                decisions.classes,
                candidates.target_rows,
            )
        )
        places = pa.array(order)
        values = {
            self._targets.id.name: targets.ids.take(pa.array(candidates.target_rows)).take(places),
            **{name: array.take(places) for name, array in arrays.items()},
            "agreement": pa.array(CANDIDATE_TEXTS).take(pa.array(decisions.classes[order])),
            "is_identified": pa.array(decisions.chosen[candidates.target_rows[order]] == order),
        }
        return self._build_output_table(values)

    def _apply_decisions(
        self, rows: pa.Table, targets: ReferenceStars, target_keys: pa.Array, objects: Mapping[str, CatalogueObjects]
    ) -> pa.Table:
        """Replace what the rules found by what people decided."""
        overrides = self.options.overrides
        if overrides is None:
            return rows
        all_targets = np.arange(len(targets.ids))
        vectors = targets.positions.compute_vectors(all_targets, targets.positions.epochs)
        decided = read_person_decisions(overrides, self._run_query, target_keys, vectors, self.options.radius)
        target_rows = np.flatnonzero(decided.decision_rows >= 0)
        decision_rows = pa.array(decided.decision_rows[target_rows])
        texts = {
            key: decided.rows.column(key).combine_chunks().cast(pa.string()).take(decision_rows)
            for key in ("catalogue", "id", "author", "reason")
        }
        if len(objects) == 1:
            texts["catalogue"] = pa.array(list(objects)).take(pa.array(np.zeros(len(target_rows), np.int64)))
        main_names, separations, is_unknown = _find_decided_objects(texts, target_rows, targets, objects)
        self._report_unknown_objects(int(is_unknown.sum()))
        has_object = texts["id"].is_valid()
        reasons = pc.if_else(has_object, RULES[DECIDED].reason, RULES[DECIDED_NONE].reason)
        nulls = pa.nulls(len(target_rows), pa.string())
        replacements = {
            "ident_catalogue": pc.if_else(has_object, texts["catalogue"], nulls),
            "ident_id": texts["id"],
            "ident_main": main_names,
            "ident_sep": _to_nullable(separations),
            "ident_confidence": pc.if_else(has_object, RULES[DECIDED].confidence, RULES[DECIDED_NONE].confidence),
            "ident_reason": pc.binary_join_element_wise(reasons, texts["reason"], ": "),
            "ident_by": texts["author"],
            "ident_conflict_id": nulls,
            "ident_conflict_main": nulls,
            "ident_conflict_sep": nulls.cast(pa.float64()),
        }
        is_decided = pa.array(decided.decision_rows >= 0)
        values = {name: rows.column(name).combine_chunks() for name in rows.column_names}
        for name, array in replacements.items():
            values[name] = pc.replace_with_mask(values[name], is_decided, array.cast(values[name].type))
        return self._build_output_table(values)

    def _report_unknown_objects(self, count: int) -> None:
        """Report how many targets people identified with objects that are in no catalogue."""
        if count and self.context.on_notice is not None:
            self.context.on_notice(f"for {count:,} targets, people chose objects that are in no catalogue")

    def _build_output_table(self, values: Mapping[str, pa.Array]) -> pa.Table:
        schema = pa.schema([pa.field(column.name, column.type.arrow) for column in self._columns])
        return pa.table([values[field.name].cast(field.type) for field in schema], schema=schema)

    def _report_confidence_counts(self, confidences: pa.ChunkedArray, text: str) -> None:
        if self.context.on_notice is None or not len(confidences):
            return
        counts = {item["values"]: item["counts"] for item in pc.value_counts(confidences).to_pylist()}
        count_text = ", ".join(f"{counts[name]:,} {name}" for name in sorted(counts))
        self.context.on_notice(text.format(count=len(confidences), text=count_text))


def _build_candidate_arrays(
    objects: Mapping[str, CatalogueObjects], candidates: IdentityCandidates
) -> dict[str, pa.Array]:
    ids, main_names = [], []
    for item in objects.values():
        star_rows = pa.array(item.star_rows)
        ids.append(item.stars.ids.cast(pa.string()).take(star_rows))
        main_names.append(item.main_names.take(star_rows))
    return {
        "catalogue": pa.array(list(objects)).take(pa.array(candidates.catalogues)),
        "candidate_id": pa.concat_arrays(ids),
        "candidate_main": pa.concat_arrays(main_names),
        "separation": _to_nullable(candidates.separations),
    }


def _measure_separations(targets: ReferenceStars, target_rows: Rows, stars: ReferenceStars, star_rows: Rows) -> Floats:
    """Measure distances at the epochs of the targets; NaN: one of the places is unknown."""
    epochs = targets.positions.epochs[target_rows]
    target_vectors = targets.positions.compute_vectors(target_rows, epochs)
    return compute_separations(stars.positions.compute_vectors(star_rows, epochs), target_vectors)


def _to_nullable(values: Floats) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _find_decided_objects(
    texts: Mapping[str, pa.Array],
    target_rows: Rows,
    targets: ReferenceStars,
    objects: Mapping[str, CatalogueObjects],
) -> tuple[pa.Array, Floats, npt.NDArray[np.bool_]]:
    """Find the objects of decisions: main names, separations from the targets, and a mask of those in no catalogue."""
    main_names = pa.nulls(len(target_rows), pa.string())
    separations = np.full(len(target_rows), np.nan)
    is_unknown = np.asarray(texts["id"].is_valid())
    for name, item in objects.items():
        stars = pc.index_in(texts["id"], value_set=item.stars.ids.cast(pa.string()))
        is_here = np.asarray(pc.fill_null(pc.equal(texts["catalogue"], name), False))
        is_here &= np.asarray(stars.is_valid()) & np.asarray(texts["id"].is_valid())
        star_rows = np.asarray(stars.filter(pa.array(is_here)), np.int64)
        main_names = pc.replace_with_mask(main_names, pa.array(is_here), item.main_names.take(pa.array(star_rows)))
        separations[is_here] = _measure_separations(targets, target_rows[is_here], item.stars, star_rows)
        is_unknown &= ~is_here
    return main_names, separations, is_unknown
