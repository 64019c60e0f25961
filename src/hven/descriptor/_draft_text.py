"""Write the text of a first descriptor of one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.descriptor._column_guesses import describe_guesses
from hven.descriptor._yaml_text import format_comment, format_flow_value, format_folded_text, format_scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnGuess
    from hven.descriptor._source_metadata import SourceMetadata


def _write_draft_column(guess: ColumnGuess, width: int, carried: SourceMetadata) -> str:
    column = guess.column
    attributes: dict[str, Any] = {
        "type": "string" if column.type.is_string and column.type.xtype is None else str(column.type)
    }
    for key in ("label", "unit", "ucd", "utype", "description"):
        value = getattr(column, key)
        if value:
            attributes[key] = value
    attributes |= carried.describe_references(column)
    line = f"      {format_scalar(column.name)}:".ljust(width + 7) + " " + format_flow_value(attributes)
    guess_note = describe_guesses(guess)
    return line + (f"  # {format_comment(guess_note)}" if guess_note else "")


def write_draft_descriptor(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    guesses: Sequence[ColumnGuess],
    position: tuple[str, str] | None,
    key: Sequence[ColumnGuess],
    key_reason: str,
    row_count_line: str,
    notes: Sequence[str],
    title: str | None,
    description: str | None,
    origin: str | None,
    source_metadata: SourceMetadata,
    head_lines: Sequence[str],
    series: Sequence[str] = (),
) -> str:
    """Write the descriptor of a collection with one table `main`."""
    width = min(max(len(format_scalar(item.column.name)) for item in guesses), 28)
    described_count = sum(1 for item in guesses if item.column.description)
    lines = [
        (
            f"# A first descriptor, guessed from "
            f"{format_comment(origin or str(options.get('files') or 'the source'))}. Look it over and change what "
            f"is wrong;"
        ),
        f"# `hven check {name}` tells every fault; it is published as {name}.main, in place, with nothing to ingest."
        if kind == "live"
        else f"# `hven check {name}` tells every fault, `hven ingest {name}` publishes it as {name}.main.",
        f"collection: {format_scalar(name)}",
        f"title: {format_scalar(title or name.replace('_', ' ').capitalize())}"
        + ("" if title else "  # guessed: the name; one line for people"),
    ]
    if description:
        lines += format_folded_text("description", description)
    else:
        lines += ["# description: some sentences - what, from where, how good"]
    lines += [*head_lines, "tables:", "  main:", row_count_line]
    if described_count < len(guesses) / 2:
        lines.append(
            f"    # {len(guesses) - described_count} of {len(guesses)} columns have no description: readers "
            f"look for it first"
        )
    if key:
        key_reason = key_reason or ("no value occurs twice" if len(key) == 1 else "together they name a row")
        lines.append(f"    primary: {format_flow_value([item.column.name for item in key])}  # guessed: {key_reason}")
    if position is not None:
        lines.append(
            f"    position: [{format_scalar(position[0])}, {format_scalar(position[1])}]  # guessed: degrees; "
            f"searches by position use it"
        )
    lines += [f"    # {format_comment(note)}" for note in notes]
    if source_metadata.hidden_count:
        lines.append(
            f"    # {source_metadata.hidden_count:,} columns are for programs, as the source says: pages show "
            f"them to who asks; take `display: hidden` out of others"
        )
    lines += series
    lines.append("    source: " + format_flow_value({"kind": kind, **options}))
    lines.append("    columns:")
    lines += [_write_draft_column(item, width, source_metadata) for item in guesses]
    mapped = [item for item in guesses if item.expression]
    if mapped:
        lines.append("    map:  # source columns that are called otherwise, and expressions")
        lines += [
            f"      {format_scalar(item.column.name)}:".ljust(width + 7) + " " + format_scalar(item.expression)
            for item in mapped
        ]
    lines += source_metadata.write_table_keys()
    return "\n".join(line.rstrip() for line in lines) + "\n"
