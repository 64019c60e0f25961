"""``escape=formula``: no text of a CSV or TSV file is a formula of a spreadsheet, and nothing else is changed."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven import formats
from hven.formats import ResultStatus, TableMetadata
from hven.formats._spreadsheet_formulas import escape_spreadsheet_formula, escape_spreadsheet_formulas
from hven.model.errors import ParamError
from hven.model.table import Column
from hven.model.types import parse_type

SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
TEXTS = ["=HYPERLINK(0)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "plain", "a=b", "", None, "'=1", "\uff1d1"]


def write_and_read_rows(responseformat: str, texts: list[str | None]) -> list[list[str]]:
    fmt, options = formats.select_format(responseformat)
    columns = [Column(name="=name", type=parse_type("string")), Column(name="x", type=parse_type("float64"))]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(texts, pa.string()), pa.array([-1.5] * len(texts))], names=["=name", "x"]
    )
    body = b"".join(
        fmt.write(TableMetadata(columns=columns), iter([batch]), lambda: ResultStatus(row_count=len(texts)), options)
    ).decode()
    given = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if fmt.name == "tsv" else {}
    return list(csv.reader(io.StringIO(body, newline=""), **given))


@pytest.mark.parametrize("form", ["text/csv;escape=formula", "csv;escape=FORMULA", "tsv;escape=formula", "text/tab-separated-values;escape=formula"])  # fmt: skip
def test_no_text_is_a_formula(form: str) -> None:
    head, *rows = write_and_read_rows(form, TEXTS)
    assert head == ["'=name", "x"]
    assert not [row[0] for row in rows if row[0][:1] and row[0][0] in SIGNS]
    assert {row[1] for row in rows} == {"-1.5"}, "numbers are left alone"
    kept = [text or "" for text in TEXTS if not text or text[0] not in SIGNS]
    assert [row[0] for row, text in zip(rows, TEXTS, strict=True) if not text or text[0] not in SIGNS] == kept


@pytest.mark.parametrize("form", ["csv", "text/csv", "csv;escape=none", "tsv"])
def test_texts_are_sent_as_they_are_unless_it_is_asked_for(form: str) -> None:
    head, *rows = write_and_read_rows(form, ["=1", "-a"])
    assert head[0] == "=name"
    assert [row[0] for row in rows] == ["=1", "-a"]


def test_another_value_is_refused() -> None:
    with pytest.raises(ParamError, match="text/csv;escape=html") as told:
        formats.select_format("text/csv;escape=html")
    assert "escape: NONE, FORMULA" in str(told.value.remedy)


@given(st.lists(st.one_of(st.none(), st.text(st.characters(blacklist_categories=("Cs",)), max_size=4)), max_size=8))
def test_columns_and_single_texts_are_escaped_alike(texts: list[str | None]) -> None:
    found = escape_spreadsheet_formulas(pa.array(texts, pa.string())).to_pylist()
    assert found == [None if text is None else escape_spreadsheet_formula(text) for text in texts]
    assert not any(text and text[0] in SIGNS for text in found)
