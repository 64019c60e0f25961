"""Python of rowmakers becomes expressions that give the same values."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import pytest
from migration_sites import convert_text

from hven.ingest.api.runs import ingest_collection
from hven.plugins.migration.python_expressions import (
    ExpressionTranslator,
    TranslatedExpression,
    UnsupportedExpressionError,
    quote_name,
)
from hven.query import run_query
from hven.site import Site

ROW = {
    "name": "ab-cd/ef.txt",
    "x": "2.5",
    "n": "7",
    "when": "2026-01-02T12:00:00",
    "empty": "-",
    "ra": "12:30:00",
    "gone": "",
}
# what each expression gives in Python, with @name as the text of the column
EXPRESSIONS = [
    ('@name.split("/")[-1]', "ef.txt"),
    ('@name.split("-")[1]', "cd/ef.txt"),
    ("@name[3:5]", "cd"),
    ("@name[-3:]", "txt"),
    ("@name[2:-4]", "-cd/ef"),
    ('@name.replace("ab", "yz").upper()', "YZ-CD/EF.TXT"),
    ('"%s is %s" % (@name, @n)', "ab-cd/ef.txt is 7"),
    ('"{}_{}".format(@n, @name)', "7_ab-cd/ef.txt"),
    ("f'{@n}!'", "7!"),
    ('"-".join([@n, @x])', "7-2.5"),
    ('"a" if @name.startswith("ab") else "b"', "a"),
    ('"a" if "zz" in @name else "b"', "b"),
    ("str(int(@n))", "7"),
    ('parseWithNull(@empty, str, "-")', None),
    ("float(@x) * 2 + int(@n)", 12.0),
    ("int(@n) / 2", 3.5),
    ("int(float(@x))", 2.0),
    ("(float(@n) + 90) % 60", 37.0),
    ("(float(@n) - 90) % 360", 277.0),
    ("float(@n) % -5", -3.0),
    ("-(float(@x) + float(@n))", -9.5),
    ("-(-float(@x))", 2.5),
    ("2 - -(float(@x) - 1)", 3.5),
    ('"other" if @gone != "ab" else "same"', "other"),
    ('"other" if not (@gone == "ab") else "same"', "other"),
    ('"other" if @gone not in ["ab", "cd"] else "same"', "other"),
    ('"other" if not (@n == "7" and @gone == "ab") else "same"', "other"),
    ('"yes" if float(@x) - 2.5 else "no"', "no"),
    ('"no" if not float(@x) else "yes"', "yes"),
    ('"a" if not (@n != "8" or @n == "9") else "b"', "b"),
    ("2 ** 3", 8.0),
    ("math.sqrt(16) + abs(-1)", 5.0),
    ("math.cos(0)", math.cos(0)),
    ('hmsToDeg(@ra, ":")', 187.5),
    ('dmsToDeg(@ra, ":")', 12.5),
    ("dateTimeToJdn(parseISODT(@when))", 2461043.0),
    ("dateTimeToMJD(parseTimestamp(@when, '%Y-%m-%dT%H:%M:%S'))", 61042.5),
    ('parseWithNull(@x, float, "-") + 1', 3.5),
    ("None", None),
]


def test_expressions_give_what_python_gives(tmp_path: Path) -> None:
    columns, maps = [], []
    for number, (expression, value) in enumerate(EXPRESSIONS):
        column_type = "double precision" if isinstance(value, float) else "text"
        columns.append(f'<column name="c{number}" type="{column_type}"/>')
        escaped = expression.replace("&", "&amp;").replace("<", "&lt;")
        maps.append(f'<map key="c{number}">{escaped}</map>')
    site_files = convert_text(
        tmp_path,
        f"<resource schema='sky'><table id='main' onDisk='True'>{''.join(columns)}</table><data id='i'>"
        "<sources>rows.csv</sources><csvGrammar/>"
        f"<make table='main'><rowmaker>{''.join(maps)}</rowmaker></make></data></resource>",
        rows__csv=",".join(ROW) + "\n" + ",".join(ROW.values()) + "\n",
    )
    assert site_files.list_errors("sky") == [], site_files.read_report("sky")
    assert "dachs_code.py" not in [name for draft in site_files.drafts for name in draft.files]
    with Site(site_files.settings) as site:
        ingest_collection(site, "sky")
        result = run_query("SELECT * FROM sky.main", site=site)
        (row,) = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    values = [row.get(f"c{number}") for number in range(len(EXPRESSIONS))]
    for (expression, expected), value in zip(EXPRESSIONS, values, strict=True):
        assert value == (pytest.approx(expected) if isinstance(expected, float) else expected), expression


def test_the_values_expected_here_are_those_of_python() -> None:
    names = {"math": math, "dt": dt}
    for expression, expected in EXPRESSIONS:
        code = expression
        for name, value in ROW.items():
            code = code.replace(f"@{name}", f"({value!r})" if not code.startswith("f'") else f'"{value}"')
        if any(word in code for word in ("parse", "ToDeg", "dateTime")):
            continue  # functions of DaCHS
        assert eval(code, names) == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    "code",
    [
        "[x for x in @list]",
        "lambda: 1",
        "@a.b.c",
        "__import__('os').system('true')",
        "open('/etc/passwd').read()",
        "unknown(@a)",
        "@a[0]['b']",
        "a = 1",
        "'%5.2f' % @a",
        "(@a > 2) * 1",
        "1 if @a != @b else 2",
        "@a is True",
        "parseISODT(@a) - parseISODT(@b)",
        f"1 % ({'+'.join(['@a'] * 100)})",
    ],
)
def test_what_has_no_equivalent_is_refused(code: str) -> None:
    translator = ExpressionTranslator(lambda name: TranslatedExpression(quote_name(name), "any"))
    with pytest.raises(UnsupportedExpressionError):
        translator.translate(code)


@pytest.mark.parametrize(
    "code",
    [
        "-" * 60 + "@a",
        "not (@a == (" * 40 + "@a" + "))" * 40,
        "@a and (@b if (" * 40 + "@a" + ") else @c)" * 40,
        "@a % 2 + (" * 40 + "@a" + ") % 2" * 40,
    ],
)
def test_nested_expressions_end_soon(code: str) -> None:
    """Without a limit, each level doubles the work, or the length of what is written."""
    translator = ExpressionTranslator(lambda name: TranslatedExpression(quote_name(name), "any"))
    try:
        adql = translator.translate(code).adql
    except UnsupportedExpressionError:
        adql = ""
    assert len(adql) < 100_000


def test_code_names_its_variables_in_two_ways(tmp_path: Path) -> None:
    """Older code writes vars["name"], and newer code @name."""
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><procDef type='apply' id='sum'><code>vars['a'] = sum(int(c) for c in vars[\"digits\"])\n"
        "@b = vars['other'] + '!'</code></procDef><table id='main' onDisk='True'><column name='a' type='integer'/>"
        "<column name='b' type='text'/></table><data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'>"
        "<rowmaker idmaps='a'><apply procDef='sum'/><map key='b'>vars['b'].upper()</map></rowmaker></make></data></resource>",
        rows__csv="digits,other\n1234,x\n",
    )
    assert site_files.list_errors("sky") == [], site_files.read_report("sky")
    with Site(site_files.settings) as site:
        ingest_collection(site, "sky")
        result = run_query("SELECT a, b FROM sky.main", site=site)
        rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    assert rows == [{"a": 10, "b": "X!"}]


def test_an_expression_without_equivalent_becomes_a_function(tmp_path: Path) -> None:
    site_files = convert_text(
        tmp_path,
        "<resource schema='sky'><table id='main' onDisk='True'><column name='a' type='integer'/>"
        "<column name='b' type='text'/></table>"
        "<data id='i'><sources>rows.csv</sources><csvGrammar/><make table='main'><rowmaker>"
        '<map key="a">sum(int(digit) for digit in @digits)</map><map key="b">unknownFunction(@digits)</map>'
        "</rowmaker></make></data></resource>",
        rows__csv="digits,other\n1234,x\n99,y\n",
    )
    assert site_files.list_errors("sky") == []
    assert "uses names of DaCHS (unknownFunction): replace them" in site_files.read_report("sky")
    path = site_files.settings.locate_descriptor("sky")
    lines = [line for line in path.read_text().splitlines() if not line.strip().startswith("b:")]
    path.write_text("\n".join(lines))
    with Site(site_files.settings) as site:
        ingest_collection(site, "sky")
        result = run_query("SELECT a FROM sky.main ORDER BY a", site=site)
        values = [row["a"] for batch in result.iterate_batches() for row in batch.to_pylist()]
        result.close()
    assert values == [10, 18]
