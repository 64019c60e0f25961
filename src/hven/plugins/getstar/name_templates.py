"""Recognise names of stars by templates over columns: ``HD {HD}`` is the name of the star with this number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hven.adql import quote_adql_name
from hven.adql.adql_writer import write_adql_literal
from hven.plugins.getstar.getstar_keys import PLACEHOLDER_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

MAX_INTEGER_DIGITS = 18


class NamePart(NamedTuple):
    """What a name says about a column: a whole number, or the spellings of a text."""

    column: Column
    values: Sequence[str | int]


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A template of names.

    Attributes
    ----------
    text
        The template: ``TYC {TYC1}-{TYC2}-{TYC3}``.
    """

    text: str

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in the template."""
        return tuple(PLACEHOLDER_PATTERN.findall(self.text))

    def build_pattern(self) -> re.Pattern[str]:
        """Build the pattern of the names; case and blanks do not matter in what stands around the columns."""
        parts = PLACEHOLDER_PATTERN.split(self.text)
        pattern = ""
        for number, part in enumerate(parts):
            if number % 2:
                pattern += "(.+?)"
            else:
                pattern += r"[\s_]*".join(re.escape(word) for word in re.split(r"[\s_]+", part))
        return re.compile(pattern, re.IGNORECASE)

    def split_name(self, name: str, columns: Mapping[str, Column]) -> list[NamePart] | None:
        """Split a name into the values of columns; None: the name has another form.

        Parameters
        ----------
        name
            The name as the user writes it.
        columns
            Columns of the table by name.
        """
        match = self.build_pattern().fullmatch(name)
        if match is None:
            return None
        parts = []
        for column_name, text in zip(self.column_names, match.groups(), strict=True):
            column = columns.get(column_name)
            if column is None:
                return None
            if column.type.is_string:
                parts.append(NamePart(column, list_spellings(text)))
            elif re.fullmatch(rf"[-+]?[0-9]{{1,{MAX_INTEGER_DIGITS}}}", text):
                parts.append(NamePart(column, [int(text)]))
            else:
                return None
        return parts or None


def write_condition(parts: Sequence[NamePart], *, is_loose: bool = False) -> str:
    """Write the ADQL condition that a star has a name.

    Parameters
    ----------
    parts
        The name, as a template has split it.
    is_loose
        Whether case and blanks in texts do not matter. Then the server reads the whole table, while texts as they are
        have an index.
    """
    conditions = []
    for column, values in parts:
        place = quote_adql_name(column.name)
        spellings = values
        if is_loose and column.type.is_string:
            place = f"LOWER(REPLACE({place}, ' ', ''))"
            spellings = list(dict.fromkeys(map(_normalize_text, values)))
        conditions.append(f"{place} IN ({', '.join(map(write_adql_literal, spellings))})")
    return " AND ".join(conditions)


def is_name_of_row(parts: Sequence[NamePart], row: Mapping[str, object]) -> bool:
    """Return whether a row has a name, whatever its case and its blanks.

    Parameters
    ----------
    parts
        The name, as a template has split it.
    row
        Values by the names of the columns.
    """
    return all(_normalize_text(row[column.name]) in set(map(_normalize_text, values)) for column, values in parts)


def _normalize_text(value: object) -> str:
    return str(value).replace(" ", "").lower()


def list_spellings(text: str) -> Sequence[str]:
    """List the spellings of a text that catalogues use: as it is, with single blanks, without blanks, and in capitals.

    Parameters
    ----------
    text
        A name, or a part of one.
    """
    spaced = " ".join(text.replace("_", " ").split())
    return tuple(dict.fromkeys((text, spaced, spaced.upper(), spaced.replace(" ", ""))))
