"""Escape texts that a spreadsheet would take for formulas (OWASP, CSV Injection)."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal

ESCAPE_CHOICES = ("NONE", "FORMULA")  # values of the option `escape`
_FORMULA_PATTERN = r"^[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"  # the last four: full-width forms of the first


def escape_spreadsheet_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would take for a formula."""
    if re.match("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", text):
        return f"'{text}"
    return text


def escape_spreadsheet_formulas(texts: pa.Array) -> pa.Array:
    """Put an apostrophe before each text of a column that looks like a formula; return the same object if none does."""
    is_formula = pc.match_substring_regex(texts, _FORMULA_PATTERN)
    if pc.any(is_formula).as_py():
        return pc.if_else(is_formula, literal.concat_text_columns("'", texts), texts)
    return texts
