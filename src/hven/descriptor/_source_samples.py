"""Look at the rows of a source for a first descriptor: what its columns hold, which of them name a row, which values stand for none."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.descriptor._guesses import Seen, key_candidates
from hven.descriptor._source_facts import SAMPLE
from hven.model.literal import figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._guesses import Guess
    from hven.model.table import Column
    from hven.sources import Context, Source

ROWS = 1_000_000  # how many are looked at
SECONDS = 8.0  # how long rows are looked at
KEYS = 5_000_000  # rows among which a name must stand once


def read_first_rows(
    module: Any, options: Mapping[str, Any], context: Context, columns: Sequence[Column]
) -> dict[str, pa.Array]:
    """Read the first rows."""
    source = module.open(module.Options.model_validate(dict(options)), replace(context, reject=lambda _reject: None))
    batches = list(source.batches(None, SAMPLE))
    return {
        column.name: pa.concat_arrays([batch.column(column.name) for batch in batches])
        if batches
        else pa.array([], column.type.arrow)
        for column in columns
    }


def look_at_rows(source: Source, columns: Sequence[Column], most: int = ROWS) -> tuple[dict[str, Seen], int, bool]:
    """Read the first rows: up to a million, or a few seconds."""
    seen = {column.name: Seen() for column in columns}
    started = time.monotonic()
    rows = 0
    for batch in source.batches([column.name for column in columns], most + 1):
        rows += batch.num_rows
        for name, facts in seen.items():
            facts.add(batch.column(name))
        if time.monotonic() - started > SECONDS or rows > most:
            return seen, rows, False
    return seen, rows, True


def add_null_words(
    kind: str, options: dict[str, Any], guesses: Sequence[Guess], seen: Mapping[str, Seen]
) -> tuple[dict[str, Any], list[str]]:
    """Add words that stand for no number to the source's options; note numbers that may."""
    notes: list[str] = []
    words = {
        item.source: seen[item.source].null_words
        for item in guesses
        if kind in {"csv", "fixed"} and seen[item.source].null_words and "null" not in options
    }
    if words:
        options = {**options, "null": {name: found[0] if len(found) == 1 else found for name, found in words.items()}}
    for item in guesses:
        facts = seen[item.source]
        codes = [*facts.sentinels, *([-1] if facts.minus_one and item.column.unit not in {None, "mag", "deg"} else [])]
        notes += [
            f"{item.column.name} reaches {figure(value)}: if that stands for no value, {_advice(kind, item, value)}"
            for value in codes
        ]
    return options, notes[:6]


def _advice(kind: str, item: Guess, value: float) -> str:
    if kind in {"csv", "fixed", "json", "fits"}:
        return f"say `null: {{{item.source}: {figure(value)}}}` in the source"
    return f"map it: `{item.column.name}: CASE WHEN {item.source} <> {figure(value)} THEN {item.source} END`"


def find_key(
    module: Any,
    options: Mapping[str, Any],
    context: Context,
    guesses: Sequence[Guess],
    seen: dict[str, Seen],
    most: int,
) -> Guess | None:
    """Find a column whose values name the rows: no null, none twice, in all rows (up to five million; of a service, in the first)."""
    for item in key_candidates(guesses, seen):
        if item.expression and item.expression.startswith("sexagesimal"):
            continue
        found = is_unique(module, options, context, item, most)
        if found is None:
            return None
        if found:
            return item
    return None


def is_unique(module: Any, options: Mapping[str, Any], context: Context, item: Guess, most: int) -> bool | None:
    """Look whether no value of a column is null or occurs twice; None: there are no rows, or too many."""
    import pyarrow.compute as pc  # noqa: PLC0415  (a fifth of a second, for guesses alone)

    quiet = replace(context, reject=lambda _reject: None)
    source = module.open(module.Options.model_validate(dict(options)), quiet)
    parts: list[pa.Array] = []
    rows = 0
    for batch in source.batches([item.source], most if most < KEYS else most + 1):
        parts.append(batch.column(0))
        rows += batch.num_rows
    if rows == 0 or rows > KEYS:
        return None
    values = pa.chunked_array(parts)
    return bool(values.null_count == 0 and pc.count_distinct(values).as_py() == rows)


def find_remote_key(source: Any, guesses: Sequence[Guess], seen: dict[str, Seen]) -> Guess | None:
    """Find such a column in a table elsewhere: the service counts its values."""
    for item in key_candidates(guesses, seen):
        if item.source and source.unique([item.source]):
            return item
    return None
