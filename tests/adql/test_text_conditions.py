"""Texts that a reader types are found as they are, whatever characters they contain."""

from __future__ import annotations

import pyarrow as pa
import pytest

from adql_runner import compute_expression, create_connection
from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import build_column_ref, build_text_condition

VALUES = ["M_1", "xM_1y", "Mx1", "50%", "500", "a_b\nc", "a.b_c", "axb_c", "x^$[(|?+*\\{}_)]'y", "É_é", ""]


@pytest.mark.parametrize("text", ["_", "%", "m_1", "50%", "a_b\n", "a.b_", "^$[(|?+*\\{}_)]'", "é_É", "m", "."])
def test_texts_are_found_as_they_are(text: str) -> None:
    con = create_connection()
    texts = pa.array(VALUES)
    for parts, holds in (
        (("", text, ""), lambda value: text.lower() in value.lower()),
        ((text, ""), lambda value: value.lower().startswith(text.lower())),
        ((text,), lambda value: value.lower() == text.lower()),
    ):
        condition = write_adql(build_text_condition(build_column_ref("t"), parts))
        found = compute_expression(con, f"CASE WHEN {condition} THEN 1 ELSE 0 END", t=texts).to_pylist()
        assert [value for value, is_found in zip(VALUES, found, strict=True) if is_found] == list(filter(holds, VALUES))
