"""What the SQL texts of the functions have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DOUBLE_TYPE = "double precision"
SQL_FUNCTION_OPTIONS = "LANGUAGE sql IMMUTABLE PARALLEL SAFE"
PLPGSQL_FUNCTION_OPTIONS = "LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE"
_FOLD_PATTERN = re.compile(r"\n *\.\.\. ")


def join_folded_lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Join each line that begins with ``...`` to the line before it, with one space between them.

    The source code folds long lines of SQL in this way. The installed text has no folds: Hven recognises the functions
    of a database by a digest of their text, so that folding a line must not change the text.
    """
    return tuple(_FOLD_PATTERN.sub(" ", text) for text in texts)
