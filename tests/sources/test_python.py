"""Python functions as sources: rows and batches, types, faults at the user's own line."""

from __future__ import annotations

import sys
from datetime import datetime

import pyarrow as pa
import pytest

from hven.model.errors import SourceError
from hven.sources import ROW_NUMBER_COLUMN, SourceContext, python


def open_source(directory, code, rejects=None, **options):
    (directory / "walk.py").write_text(code)
    context = SourceContext(directory=directory, on_reject=rejects.append if rejects is not None else None)
    return python.open(python.Options.model_validate({"file": "walk.py", **options}), context)


def table(source, columns=None):
    return pa.Table.from_batches(list(source.read_batches(columns)))


def test_dictionaries_and_the_types_of_the_first_rows(tmp_path):
    code = "from datetime import datetime\ndef rows(n):\n    for k in range(n):\n        yield {'n': k, 'x': k / 2 if k else None, 't': datetime(2020, 1, 1), 's': [k, k]}\n"
    source = open_source(tmp_path, code, arguments={"n": 3000})
    assert [str(column.type) for column in source.list_columns()] == ["int64", "float64", "timestamp", "int64[*]"]
    found = table(source)
    assert found.num_rows == 3000
    assert found.slice(2999).to_pylist() == [{"n": 2999, "x": 1499.5, "t": datetime(2020, 1, 1), "s": [2999, 2999]}]


def test_tuples_batches_and_tables(tmp_path):
    named = "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef rows():\n    yield P(1, 'x')\n"
    assert table(open_source(tmp_path, named)).to_pylist() == [{"a": 1, "b": "x"}]
    plain = "def rows():\n    return [(1, 'x'), (2.0, 'y')]\n"
    assert table(open_source(tmp_path, plain, columns={"a": "int32", "b": "string"})).to_pylist() == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    arrow = (
        "import pyarrow as pa\ndef rows():\n    yield pa.table({'a': [1, 2]})\n    yield pa.record_batch({'a': [3]})\n"
    )
    assert table(open_source(tmp_path, arrow), ["a", ROW_NUMBER_COLUMN]).to_pylist() == [
        {"a": k, ROW_NUMBER_COLUMN: k} for k in (1, 2, 3)
    ]


def test_later_rows_that_differ_are_kept_aside(tmp_path):
    code = "def rows():\n    for k in range(1500):\n        yield {'n': k}\n    yield {'n': 'many'}\n    yield {'n': 1, 'm': 2}\n    yield {}\n    yield {'n': 7.0}\n"
    rejects = []
    found = table(open_source(tmp_path, code, rejects), ["n", ROW_NUMBER_COLUMN])
    assert found.slice(1500).to_pylist() == [{"n": None, ROW_NUMBER_COLUMN: 1503}, {"n": 7, ROW_NUMBER_COLUMN: 1504}]
    assert sorted((item.row, item.column, item.reason) for item in rejects) == [
        (1501, "n", "not int64"),
        (1502, None, "a row with the unknown column 'm', which the first rows do not have"),
    ]
    with pytest.raises(SourceError, match=r"row 150[12]"):
        table(open_source(tmp_path, code))


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        (
            "def rows():\n    yield {'a': 1}\n    helper()\n\ndef helper():\n    raise ValueError('boom')\n",
            {},
            r"walk\.py:6: ValueError in helper\(\): boom",
        ),
        ("import nothing_of_that_name\n", {}, r"walk\.py:1: ModuleNotFoundError"),
        ("def rows(:\n", {}, r"walk\.py:1:10: SyntaxError"),
        ("def lines():\n    pass\n", {}, r"no function 'rows'; choose one of lines"),
        ("def rows():\n    return 5\n", {}, r"rows\(\) returns an object of the type int, not rows"),
        ("def rows():\n    yield 5\n", {}, "a row is of the type int"),
        ("def rows():\n    yield (1, 2)\n", {}, "the rows are tuples, which do not contain column names"),
        ("def rows():\n    return []\n", {}, "its columns are unknown"),
        ("def rows(a):\n    yield {}\n", {}, r"walk\.py: TypeError"),
        ("def rows():\n    yield {}\n", {"columns": {"a": "number"}}, "no type 'number'"),
        ("def rows():\n    yield {}\n", {"file": "none.py"}, r"no file none\.py"),
    ],
)
def test_faults_stand_at_the_users_line(tmp_path, code, options, message):
    with pytest.raises(SourceError, match=message):
        list(open_source(tmp_path, code, **options).read_batches())


def test_the_file_is_imported_anew_and_leaves_nothing_behind(tmp_path):
    paths, modules = list(sys.path), set(sys.modules)
    assert table(open_source(tmp_path, "def rows():\n    yield {'a': 1}\n")).to_pylist() == [{"a": 1}]
    assert table(open_source(tmp_path, "def rows():\n    yield {'a': 2}\n")).to_pylist() == [{"a": 2}]
    assert sys.path == paths
    assert not [name for name in set(sys.modules) - modules if "walk" in name or name.startswith("_hven")]
    assert [item.name for item in tmp_path.iterdir()] == ["walk.py"], "no __pycache__ beside the descriptor"
