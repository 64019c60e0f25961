"""Write the text of a first descriptor of one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.descriptor._guesses import describe_guesses
from hven.descriptor._yaml_text import comment, flow, folded, scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._carried import Carried
    from hven.descriptor._guesses import Guess


def _write_column(item: Guess, width: int, carried: Carried) -> str:
    column = item.column
    said: dict[str, Any] = {
        "type": "string" if column.type.is_string and column.type.xtype is None else str(column.type)
    }
    for key in ("label", "unit", "ucd", "utype", "description"):
        if value := getattr(column, key):
            said[key] = value
    said |= carried.of(column)
    line = f"      {scalar(column.name)}:".ljust(width + 7) + " " + flow(said)
    said_of = describe_guesses(item)
    return line + (f"  # {comment(said_of)}" if said_of else "")


def write_draft(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    guesses: Sequence[Guess],
    position: tuple[str, str] | None,
    key: Sequence[Guess],
    why: str,
    counted: str,
    notes: Sequence[str],
    title: str | None,
    description: str | None,
    origin: str | None,
    carried: Carried,
    head: Sequence[str],
    series: Sequence[str] = (),
) -> str:
    """Write the descriptor of a collection with one table `main`."""
    width = min(max(len(scalar(item.column.name)) for item in guesses), 28)
    described = sum(1 for item in guesses if item.column.description)
    lines = [
        f"# A first descriptor, guessed from {comment(origin or str(options.get('files') or 'the source'))}. Look it over and change what is wrong;",
        f"# `hven check {name}` tells every fault; it is published as {name}.main, in place, with nothing to ingest."
        if kind == "live"
        else f"# `hven check {name}` tells every fault, `hven ingest {name}` publishes it as {name}.main.",
        f"collection: {scalar(name)}",
        f"title: {scalar(title or name.replace('_', ' ').capitalize())}"
        + ("" if title else "  # guessed: the name; one line for people"),
    ]
    if description:
        lines += folded("description", description)
    else:
        lines += ["# description: some sentences - what, from where, how good"]
    lines += [*head, "tables:", "  main:", counted]
    if described < len(guesses) / 2:
        lines.append(
            f"    # {len(guesses) - described} of {len(guesses)} columns have no description: readers look for it first"
        )
    if key:
        why = why or ("no value occurs twice" if len(key) == 1 else "together they name a row")
        lines.append(f"    primary: {flow([item.column.name for item in key])}  # guessed: {why}")
    if position is not None:
        lines.append(
            f"    position: [{scalar(position[0])}, {scalar(position[1])}]  # guessed: degrees; searches by position use it"
        )
    lines += [f"    # {comment(note)}" for note in notes]
    if carried.hidden:
        lines.append(
            f"    # {carried.hidden:,} columns are for programs, as the source says: pages show them to who asks; take `display: hidden` out of others"
        )
    lines += series
    lines.append("    source: " + flow({"kind": kind, **options}))
    lines.append("    columns:")
    lines += [_write_column(item, width, carried) for item in guesses]
    mapped = [item for item in guesses if item.expression]
    if mapped:
        lines.append("    map:  # source columns that are called otherwise, and expressions")
        lines += [
            f"      {scalar(item.column.name)}:".ljust(width + 7) + " " + scalar(item.expression) for item in mapped
        ]
    lines += carried.lines()
    return "\n".join(line.rstrip() for line in lines) + "\n"
