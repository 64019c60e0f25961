"""The page of formats shows an answer in each format, or how Python reads it; both are made by running them."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from hven import formats
from hven.formats import ResultStatus, TableFormat, TableMetadata, select_format
from hven.model.table import Column
from hven.model.types import parse_type
from reference_pages import REFERENCE, keep_part

BEGIN, END = "<!-- examples -->", "<!-- /examples -->"
MAX_SHOWN_LINES = 40
COLUMNS = (
    Column(name="name", type=parse_type("string"), ucd="meta.id;meta.main", description="Name"),
    Column(name="ra", type=parse_type("float64"), unit="deg", ucd="pos.eq.ra;meta.main"),
    Column(name="dec", type=parse_type("float64"), unit="deg", ucd="pos.eq.dec;meta.main"),
    Column(name="vmag", type=parse_type("float32"), unit="mag", ucd="phot.mag;em.opt.V"),
)
ROWS = pa.record_batch(
    {
        "name": ["Sirius", "Vega"],
        "ra": [101.2872, 279.2347],
        "dec": [-16.7161, 38.7837],
        "vmag": pa.array([-1.46, None], pa.float32()),
    }
)
# the short name under which text is answered, where that of the format is none
TEXT_NAMES = {"votable": "votable/td"}


def write_answer(name: str) -> bytes:
    """Write the two stars in a format."""
    table_format, options = select_format(name)
    head = TableMetadata(columns=COLUMNS, name="stars")
    return b"".join(table_format.write(head, iter([ROWS]), lambda: ResultStatus(row_count=len(ROWS)), options))


def is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return re.sub(r"[\n\r\t]", "", text).isprintable()


def read_by_example(table_format: TableFormat, data: bytes, directory, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the example of a format on an answer; return what its last line gives."""
    monkeypatch.chdir(directory)
    (directory / f"answer.{table_format.extension}").write_bytes(data)
    *statements, expression = table_format.reading_example.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(statements), names)
    return str(eval(expression, names))


def write_example(table_format: TableFormat, directory, monkeypatch: pytest.MonkeyPatch) -> str:
    name = TEXT_NAMES.get(table_format.name, table_format.name)
    data = write_answer(name)
    lines = [f"### {table_format.name}", "", f"`RESPONSEFORMAT={name}`, `hven query --format {name}`:", ""]
    if is_text(data):
        text = data.decode().replace("\r\n", "\n").rstrip()
        assert text.count("\n") < MAX_SHOWN_LINES, "the example is too long for the page"
        return "\n".join([*lines, "```text", text, "```", ""])
    assert table_format.reading_example, f"{table_format.name} is not text, and has no example of how it is read"
    result = read_by_example(table_format, data, directory, monkeypatch)
    assert "Vega" in result
    file = f"answer.{table_format.extension}"
    lines[2] = f"`RESPONSEFORMAT={name}`, `hven query --format {name} --output {file}`. Python reads the file:"
    code = ["```python", table_format.reading_example.strip(), "```", "", "gives", "", "```text", result, "```", ""]
    return "\n".join([*lines, *code])


def test_the_page_has_an_example_of_each_format(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = [one for one in formats.load_formats() if one.write.__module__.startswith("hven.formats.")]
    assert len(built_in) >= 9
    content = "\n".join(write_example(table_format, tmp_path, monkeypatch) for table_format in built_in)
    keep_part(REFERENCE / "formats.md", BEGIN, END, f"\n{content}\n")
