"""Write the text of a first descriptor of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.yaml_text import (
    format_yaml_comment,
    format_yaml_flow_value,
    format_yaml_folded_text,
    format_yaml_scalar,
)
from hven.plugins.drafts.column_guesses import write_guess_comment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.plugins.drafts.source_metadata import SourceMetadata


MAX_NAME_WIDTH = 28  # characters to which the names of columns are padded


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDescriptorDraft:
    """A source that was looked at, for a collection with one table `main`.

    Attributes
    ----------
    guesses
        Columns of the table.
    position
        Longitude and latitude, by their names in the table.
    key, key_reason
        Columns of the primary key, and why they are taken.
    row_count_line
        Comment with the number of rows.
    notes
        Comments for the head of the table.
    head_lines
        Lines of the collection's head: credits and engine.
    key_lines
        Lines of keys that packages propose for the table.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    guesses: Sequence[ColumnGuess]
    position: tuple[str, str] | None
    key: Sequence[ColumnGuess]
    key_reason: str
    row_count_line: str
    notes: Sequence[str]
    title: str | None
    description: str | None
    origin: str | None
    source_metadata: SourceMetadata
    head_lines: Sequence[str]
    key_lines: Sequence[str]

    def write_descriptor(self) -> str:
        """Write the text of the descriptor."""
        lines = [
            *self._write_head(),
            "tables:",
            "  main:",
            self.row_count_line,
            *self._write_table_head(),
            *self._write_notes(),
            *self.key_lines,
            "    source: " + format_yaml_flow_value({"kind": self.kind, **self.options}),
            *self._write_columns(),
            *self.source_metadata.write_metadata_sections(),
        ]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _write_head(self) -> list[str]:
        origin = self.origin or str(self.options.get("files") or "the source")
        if self.kind == "live":
            publication = f"it is published in place as {self.name}.main, without an ingest."
        else:
            publication = f"`hven ingest {self.name}` publishes it as {self.name}.main."
        separator = ";" if self.kind == "live" else ","
        default_title = self.name.replace("_", " ").capitalize()
        title_line = f"title: {format_yaml_scalar(self.title or default_title)}"
        if not self.title:
            title_line += "  # guessed: the name; one line for people"
        lines = [
            f"# A first descriptor, guessed from {format_yaml_comment(origin)}. Check it and correct what is wrong;",
            f"# `hven check {self.name}` reports every error{separator} {publication}",
            f"collection: {format_yaml_scalar(self.name)}",
            title_line,
        ]
        if self.description:
            lines += format_yaml_folded_text("description", self.description)
        else:
            lines.append("# description: a few sentences - what the data are, where they come from, how good they are")
        return [*lines, *self.head_lines]

    def _write_table_head(self) -> list[str]:
        """Write the keys that are guessed from the columns: the primary key and the position."""
        lines = []
        missing_count = sum(not guess.column.description for guess in self.guesses)
        if missing_count > len(self.guesses) / 2:
            lines.append(
                f"    # {missing_count} of {len(self.guesses)} columns have no description, which readers look "
                f"for first"
            )
        if self.key:
            default_reason = "together they identify a row"
            if len(self.key) == 1:
                default_reason = "no value occurs twice"
            names = format_yaml_flow_value([guess.column.name for guess in self.key])
            lines.append(f"    primary: {names}  # guessed: {self.key_reason or default_reason}")
        if self.position is not None:
            names = ", ".join(format_yaml_scalar(name) for name in self.position)
            lines.append(f"    position: [{names}]  # guessed: degrees; searches by position use these columns")
        return lines

    def _write_notes(self) -> list[str]:
        lines = [f"    # {format_yaml_comment(note)}" for note in self.notes]
        hidden_count = self.source_metadata.hidden_count
        if hidden_count:
            lines.append(
                f"    # {hidden_count:,} columns are for programs, according to the source. Pages show them on "
                "request; remove `display: hidden` from any that readers need"
            )
        return lines

    def _write_columns(self) -> list[str]:
        longest_name = max(len(format_yaml_scalar(guess.column.name)) for guess in self.guesses)
        width = min(longest_name, MAX_NAME_WIDTH) + 7  # six blanks before, a colon behind
        lines = ["    columns:"]
        lines += [self._write_column(guess, width) for guess in self.guesses]
        mapped_guesses = [guess for guess in self.guesses if guess.expression]
        if mapped_guesses:
            lines.append("    map:  # source columns with other names, and expressions")
        for guess in mapped_guesses:
            lines.append(f"{_write_padded_yaml_key(guess, width)} {format_yaml_scalar(guess.expression)}")
        return lines

    def _write_column(self, guess: ColumnGuess, width: int) -> str:
        column = guess.column
        attributes: dict[str, Any] = {"type": str(column.type)}
        if column.type.is_string and column.type.xtype is None:
            attributes["type"] = "string"
        for key in ("label", "unit", "ucd", "utype", "description"):
            value = getattr(column, key)
            if value:
                attributes[key] = value
        attributes |= self.source_metadata.describe_column_attributes(column)
        line = f"{_write_padded_yaml_key(guess, width)} {format_yaml_flow_value(attributes)}"
        guess_note = write_guess_comment(guess)
        if guess_note:
            line += f"  # {format_yaml_comment(guess_note)}"
        return line


def _write_padded_yaml_key(guess: ColumnGuess, width: int) -> str:
    return f"      {format_yaml_scalar(guess.column.name)}:".ljust(width)
