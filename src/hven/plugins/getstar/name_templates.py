"""Recognise names of stars by templates over columns: ``HD {HD}`` is the name of the star with this number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import quote_adql_name
from hven.adql.adql_writer import write_adql_literal
from hven.plugins.getstar.getstar_keys import PLACEHOLDER_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

MAX_INTEGER_DIGITS = 18


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

    def write_condition(self, name: str, columns: Mapping[str, Column]) -> str | None:
        """Write the ADQL condition that a star has this name; None: the name has another form.

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
        conditions = []
        for column_name, text in zip(self.column_names, match.groups(), strict=True):
            column = columns.get(column_name)
            if column is None:
                return None
            quoted_name = quote_adql_name(column_name)
            if column.type.is_string:
                literals = [write_adql_literal(spelling) for spelling in list_spellings(text)]
                conditions.append(f"{quoted_name} IN ({', '.join(literals)})")
            elif re.fullmatch(rf"[-+]?[0-9]{{1,{MAX_INTEGER_DIGITS}}}", text):
                conditions.append(f"{quoted_name} = {int(text)}")
            else:
                return None
        return " AND ".join(conditions) if conditions else None


def list_spellings(text: str) -> Sequence[str]:
    """List the spellings of a text that catalogues use: as it is, with single blanks, and in capitals.

    Parameters
    ----------
    text
        A name, or a part of one.
    """
    spaced = " ".join(text.replace("_", " ").split())
    return tuple(dict.fromkeys((text, spaced, spaced.upper(), spaced.replace(" ", ""))))
