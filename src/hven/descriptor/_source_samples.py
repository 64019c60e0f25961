"""Look at the rows of a source for a first descriptor.

What its columns hold, which of them name a row, which values stand for none.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.descriptor._column_guesses import ColumnSample, list_key_candidates
from hven.descriptor._source_facts import SAMPLE_ROWS
from hven.model.literal import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnGuess
    from hven.model.table import Column
    from hven.sources import Source, SourceContext

MAX_SAMPLED_ROWS = 1_000_000  # how many are looked at
MAX_SAMPLING_SECONDS = 8.0  # how long rows are looked at
MAX_KEY_CHECK_ROWS = 5_000_000  # rows among which a name must stand once


def read_first_rows(
    module: Any, options: Mapping[str, Any], context: SourceContext, columns: Sequence[Column]
) -> dict[str, pa.Array]:
    """Read the first rows."""
    source = module.open(module.Options.model_validate(dict(options)), replace(context, on_reject=lambda _reject: None))
    batches = list(source.read_batches(None, SAMPLE_ROWS))
    return {
        column.name: pa.concat_arrays([batch.column(column.name) for batch in batches])
        if batches
        else pa.array([], column.type.arrow)
        for column in columns
    }


def sample_columns(
    source: Source, columns: Sequence[Column], row_limit: int = MAX_SAMPLED_ROWS
) -> tuple[dict[str, ColumnSample], int, bool]:
    """Read the first rows: up to a million, or a few seconds."""
    samples_by_name = {column.name: ColumnSample() for column in columns}
    start_time = time.monotonic()
    rows = 0
    for batch in source.read_batches([column.name for column in columns], row_limit + 1):
        rows += batch.num_rows
        for name, facts in samples_by_name.items():
            facts.add_values(batch.column(name))
        if time.monotonic() - start_time > MAX_SAMPLING_SECONDS or rows > row_limit:
            return samples_by_name, rows, False
    return samples_by_name, rows, True


def add_null_words(
    kind: str, options: dict[str, Any], guesses: Sequence[ColumnGuess], samples_by_name: Mapping[str, ColumnSample]
) -> tuple[dict[str, Any], list[str]]:
    """Add words that stand for no number to the source's options; note numbers that may."""
    notes: list[str] = []
    words = {
        item.source: samples_by_name[item.source].null_words
        for item in guesses
        if kind in {"csv", "fixed"} and samples_by_name[item.source].null_words and "null" not in options
    }
    if words:
        options = {
            **options,
            "null": {name: null_words[0] if len(null_words) == 1 else null_words for name, null_words in words.items()},
        }
    for item in guesses:
        facts = samples_by_name[item.source]
        codes = [
            *facts.sentinels,
            *([-1] if facts.has_minus_one_sentinel and item.column.unit not in {None, "mag", "deg"} else []),
        ]
        notes += [
            (
                f"{item.column.name} reaches {format_number(value)}: if that stands for no value, "
                f"{_suggest_null_mapping(kind, item, value)}"
            )
            for value in codes
        ]
    return options, notes[:6]


def _suggest_null_mapping(kind: str, guess: ColumnGuess, value: float) -> str:
    if kind in {"csv", "fixed", "json", "fits"}:
        return f"say `null: {{{guess.source}: {format_number(value)}}}` in the source"
    return f"map it: `{guess.column.name}: CASE WHEN {guess.source} <> {format_number(value)} THEN {guess.source} END`"


def find_key(
    module: Any,
    options: Mapping[str, Any],
    context: SourceContext,
    guesses: Sequence[ColumnGuess],
    samples_by_name: dict[str, ColumnSample],
    row_limit: int,
) -> ColumnGuess | None:
    """Find a column whose values name the rows.

    No null, none twice, in all rows (up to five million; of a service, in the first).
    """
    for item in list_key_candidates(guesses, samples_by_name):
        if item.expression and item.expression.startswith("sexagesimal"):
            continue
        is_key = is_unique(module, options, context, item, row_limit)
        if is_key is None:
            return None
        if is_key:
            return item
    return None


def is_unique(
    module: Any, options: Mapping[str, Any], context: SourceContext, guess: ColumnGuess, row_limit: int
) -> bool | None:
    """Look whether no value of a column is null or occurs twice; None: there are no rows, or too many."""
    import pyarrow.compute as pc  # noqa: PLC0415  (a fifth of a second, for guesses alone)

    quiet_context = replace(context, on_reject=lambda _reject: None)
    source = module.open(module.Options.model_validate(dict(options)), quiet_context)
    parts: list[pa.Array] = []
    rows = 0
    for batch in source.read_batches([guess.source], row_limit if row_limit < MAX_KEY_CHECK_ROWS else row_limit + 1):
        parts.append(batch.column(0))
        rows += batch.num_rows
    if rows == 0 or rows > MAX_KEY_CHECK_ROWS:
        return None
    values = pa.chunked_array(parts)
    return bool(values.null_count == 0 and pc.count_distinct(values).as_py() == rows)


def find_remote_key(
    source: Any, guesses: Sequence[ColumnGuess], samples_by_name: dict[str, ColumnSample]
) -> ColumnGuess | None:
    """Find such a column in a table elsewhere: the service counts its values."""
    for item in list_key_candidates(guesses, samples_by_name):
        if item.source and source.is_unique_key([item.source]):
            return item
    return None
