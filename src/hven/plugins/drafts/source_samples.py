"""Read rows of a source for a first descriptor: what its columns hold, and which of them name a row."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.literal import format_number
from hven.plugins.drafts.column_guesses import ColumnSampleStatistics, list_key_candidates
from hven.plugins.drafts.source_facts import SAMPLE_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.model.table import Column
    from hven.sources import Source, SourceContext

MAX_SAMPLED_ROWS = 1_000_000  # rows that are read for guesses
MAX_SAMPLING_SECONDS = 8.0  # time after which no more rows are read for guesses
MAX_KEY_CHECK_ROWS = 5_000_000  # rows in which the value of a key must be unique
MAX_NULL_NOTES = 6  # notes of numbers that may stand for no value


def read_first_rows(
    module: Any, options: Mapping[str, Any], context: SourceContext, columns: Sequence[Column]
) -> dict[str, pa.Array]:
    """Read the first rows."""
    batches = list(_open_source_without_reject_reports(module, options, context).read_batches(None, SAMPLE_ROWS))
    arrays = {}
    for column in columns:
        if batches:
            arrays[column.name] = pa.concat_arrays([batch.column(column.name) for batch in batches])
        else:
            arrays[column.name] = pa.array([], column.type.arrow)
    return arrays


def _open_source_without_reject_reports(module: Any, options: Mapping[str, Any], context: SourceContext) -> Source:
    """Open a source whose rejected rows were reported before."""
    quiet_context = replace(context, on_reject=lambda _reject: None)
    source: Source = module.open(module.Options.model_validate(dict(options)), quiet_context)
    return source


def sample_columns(
    source: Source, columns: Sequence[Column], row_limit: int = MAX_SAMPLED_ROWS
) -> tuple[dict[str, ColumnSampleStatistics], int, bool]:
    """Read the first rows, up to `row_limit` or for a few seconds.

    Returns
    -------
    samples_by_name, row_count, is_complete
        `is_complete` is True if all rows of the source were read.
    """
    samples_by_name = {column.name: ColumnSampleStatistics() for column in columns}
    start_time = time.monotonic()
    rows = 0
    for batch in source.read_batches([column.name for column in columns], row_limit + 1):
        rows += batch.num_rows
        for name, facts in samples_by_name.items():
            facts.add_values(batch.column(name))
        if time.monotonic() - start_time > MAX_SAMPLING_SECONDS or rows > row_limit:
            return samples_by_name, rows, False
    return samples_by_name, rows, True


def add_null_word_options(
    kind: str,
    options: dict[str, Any],
    guesses: Sequence[ColumnGuess],
    samples_by_name: Mapping[str, ColumnSampleStatistics],
) -> tuple[dict[str, Any], list[str]]:
    """Add the words that stand for no number to the source's options, and note numbers that may do so."""
    notes: list[str] = []
    null_words_by_column: dict[str, Any] = {}
    if kind in {"csv", "fixed"} and "null" not in options:
        for guess in guesses:
            null_words = samples_by_name[guess.source].null_words
            if len(null_words) == 1:
                null_words_by_column[guess.source] = null_words[0]
            elif null_words:
                null_words_by_column[guess.source] = null_words
    if null_words_by_column:
        options = {**options, "null": null_words_by_column}
    for guess in guesses:
        sample = samples_by_name[guess.source]
        codes = list(sample.sentinels)
        if sample.has_minus_one_sentinel and guess.column.unit not in {None, "mag", "deg"}:
            codes.append(-1)
        for code in codes:
            remedy = _suggest_null_mapping(kind, guess, code)
            notes.append(f"{guess.column.name} reaches {format_number(code)}: if this marks a missing value, {remedy}")
    return options, notes[:MAX_NULL_NOTES]


def _suggest_null_mapping(kind: str, guess: ColumnGuess, value: float) -> str:
    if kind in {"csv", "fixed", "json", "fits"}:
        return f"write `null: {{{guess.source}: {format_number(value)}}}` in the source"
    return f"map it: `{guess.column.name}: CASE WHEN {guess.source} <> {format_number(value)} THEN {guess.source} END`"


def find_key_column(
    module: Any,
    options: Mapping[str, Any],
    context: SourceContext,
    guesses: Sequence[ColumnGuess],
    samples_by_name: dict[str, ColumnSampleStatistics],
    *,
    row_limit: int,
) -> ColumnGuess | None:
    """Find a column whose values name the rows: none is null, and none occurs twice.

    The search reads all rows, up to five million; of a service it reads the first ones.
    """
    for guess in list_key_candidates(guesses, samples_by_name):
        if guess.expression and guess.expression.startswith("sexagesimal"):
            continue
        is_key = is_unique_column(module, options, context, guess, row_limit=row_limit)
        if is_key is None:
            return None
        if is_key:
            return guess
    return None


def is_unique_column(
    module: Any, options: Mapping[str, Any], context: SourceContext, guess: ColumnGuess, *, row_limit: int
) -> bool | None:
    """Return whether no value of a column is null or occurs twice; None: there are no rows, or too many."""
    import pyarrow.compute as pc  # noqa: PLC0415  (a fifth of a second, for guesses alone)

    source = _open_source_without_reject_reports(module, options, context)
    if row_limit >= MAX_KEY_CHECK_ROWS:
        row_limit += 1  # one row more shows that there are too many
    arrays: list[pa.Array] = []
    row_count = 0
    for batch in source.read_batches([guess.source], row_limit):
        arrays.append(batch.column(0))
        row_count += batch.num_rows
    if row_count == 0 or row_count > MAX_KEY_CHECK_ROWS:
        return None
    values = pa.chunked_array(arrays)
    return bool(values.null_count == 0 and pc.count_distinct(values).as_py() == row_count)


def find_remote_key_column(
    source: Any, guesses: Sequence[ColumnGuess], samples_by_name: dict[str, ColumnSampleStatistics]
) -> ColumnGuess | None:
    """Find a column whose values name the rows of a table of a service, which counts the values."""
    for guess in list_key_candidates(guesses, samples_by_name):
        if guess.source and source.is_unique_key([guess.source]):
            return guess
    return None
