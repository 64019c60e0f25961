"""Resource descriptors that are broken, hostile or incomplete."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from migration_sites import convert_text

from hven.model.errors import SourceError
from hven.plugins.migration.migration_report import MigrationReport
from hven.plugins.migration.python_expressions import (
    ExpressionTranslator,
    TranslatedExpression,
    UnsupportedExpressionError,
    quote_name,
)
from hven.plugins.migration.resource_xml import Element

TABLE = '<table id="main" onDisk="True"><column name="a" type="integer"/></table>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<resource schema='sky'>\n  <meta name='title'>x</meat>\n</resource>", r"q\.rd:2:\d+: not well-formed XML"),
        ("<resource schema='sky'>", "not well-formed XML"),
        ("<resource schema='sky'>\0</resource>", r"q\.rd:1:\d+: not well-formed XML: .* out of allowed range; correct"),
        ("<!DOCTYPE r [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><resource schema='s'>&e;</resource>", "document type"),
        ("<resource schema='sky'>" + "<a>" * 250 + "</a>" * 250 + "</resource>", "nested more than"),
        (
            "<resource schema='sky'><STREAM id='s'><FEED source='s'/></STREAM><FEED source='s'/></resource>",
            "s repeats itself",
        ),
        (
            "<resource schema='sky'><STREAM id='s'><FEED source='sky/q#s'/></STREAM><FEED source='sky/q#s'/></resource>",
            "repeats itself",
        ),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        convert_text(tmp_path, text)


def test_a_hundred_thousand_macros_are_bounded(tmp_path: Path) -> None:
    items = " ".join(map(str, range(400)))
    text = f"<LOOP listItems='{items}'><events>" * 3 + r"<column name='\item'/>" + "</events></LOOP>" * 3
    with pytest.raises(SourceError, match="expand to more than 200,000 elements"):
        convert_text(tmp_path, f"<resource schema='sky'><table id='t' onDisk='True'>{text}</table></resource>")


def test_macros_that_double_are_bounded(tmp_path: Path) -> None:
    streams = "".join(
        f"<STREAM id='s{level}'><FEED source='s{level - 1}'/><FEED source='s{level - 1}'/></STREAM>"
        for level in range(1, 30)
    )
    text = f"<resource schema='sky'><STREAM id='s0'><column name='a'/></STREAM>{streams}<FEED source='s29'/></resource>"
    with pytest.raises(SourceError, match="expand to more than"):
        convert_text(tmp_path, text)


@pytest.mark.parametrize("count", [100, 1000])
def test_macros_inside_macros_have_a_limit(tmp_path: Path, count: int) -> None:
    """Ten kilobytes would expand to terabytes."""
    names = "abcdefg"
    macros = "".join(
        f"<macDef name='{name}'>{f' {chr(92)}{inner}' * count}</macDef>" for name, inner in itertools.pairwise(names)
    )
    text = f"<resource schema='sky'>{macros}<meta name='description'> {chr(92)}a</meta>{TABLE}</resource>"
    with pytest.raises(SourceError, match="expand to more than"):
        convert_text(tmp_path, text)


def test_one_text_with_many_macros_has_a_limit(tmp_path: Path) -> None:
    macro = f"<macDef name='a'>{'x' * 50_000}</macDef>"
    text = f"<resource schema='sky'>{macro}<meta name='description'>{' ' + chr(92) + 'a'}</meta>"
    with pytest.raises(SourceError, match="the macros of one text expand to more than"):
        convert_text(tmp_path, text.replace(" " + chr(92) + "a", (" " + chr(92) + "a") * 2_000) + f"{TABLE}</resource>")


def test_a_hundred_thousand_macros_are_not_copied(tmp_path: Path) -> None:
    """A loop and the uses of macros need about the same time with many macros as with few."""

    def measure_conversion(macro_count: int, directory: Path) -> float:
        macros = "".join(f"<macDef name='m{number}'>x</macDef>" for number in range(macro_count))
        backslash = chr(92)
        columns = "".join(f"<column name='c{number}' description='{backslash}m1 {number}'/>" for number in range(300))
        loop = (
            "<LOOP listItems='"
            + " ".join(f"l{number}" for number in range(20_000))
            + "'><events><var/></events></LOOP>"
        )
        table = f"<table id='main' onDisk='True'>{columns}</table>"
        directory.mkdir()
        begin = time.process_time()
        convert_text(directory, f"<resource schema='sky'>{macros}{table}<data id='i'>{loop}</data></resource>")
        return time.process_time() - begin

    few, many = measure_conversion(10, tmp_path / "few"), measure_conversion(100_000, tmp_path / "many")
    assert many < 8 * few


def test_elements_without_a_counterpart_are_reported(tmp_path: Path) -> None:
    site = convert_text(
        tmp_path,
        "<resource schema='sky'><property name='staticData'>files</property>\n"
        f"{TABLE}<data id='i' recreateAfter='x'><recreateAfter>y</recreateAfter><make table='main'><parmaker/></make></data>\n"
        "<service id='s'><nullCore/></service><processLate>pass</processLate></resource>",
    )
    report = site.read_report("sky")
    for words in (
        "line 1: property: settings of DaCHS",
        "line 2: recreateAfter: ",
        "line 2: parmaker: ",
        "line 3: processLate: ",
    ):
        assert words in report


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    site = convert_text(
        tmp_path,
        f"<resource schema='sky'>{TABLE}<data id='i'><sources>data/none.csv</sources><csvGrammar/><make table='main'/></data>"
        "<data id='j'><customGrammar module='res/none'/><make table='main'/></data>"
        "<table id='b' onDisk='True'><column original='other#t.x'/><FEED source='other/q#s'/></table></resource>",
    )
    report = site.read_report("sky")
    assert "line 1: no file matches data/none.csv: copy the data, or correct `files`" in report
    assert "none.py is not there" in report
    assert "the column 'other#t.x', of which this is a copy, is not there" in report
    assert "FEED repeats 'other/q#s', which is not there" in report


def test_a_module_outside_of_the_directory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("class RowIterator: pass  # secret")
    site = convert_text(
        tmp_path,
        f"<resource schema='sky'>{TABLE}<data id='i'><customGrammar module='../../../secret'/><make table='main'/></data></resource>",
    )
    assert "secret" not in site.read_file("sky", "dachs_code.py")


def test_descriptors_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.rd").write_text(
        "<resource schema='x'><STREAM id='s'><column name='secret'/></STREAM></resource>"
    )
    site = convert_text(
        tmp_path,
        f"<resource schema='sky'>{TABLE}<table id='b' onDisk='True'><FEED source='../../secret#s'/><column name='c'/></table>"
        "</resource>",
    )
    assert list(site.load_descriptor("sky")["tables"]["b"]["columns"]) == ["c"]


def test_python_2_is_moved_as_a_comment(tmp_path: Path) -> None:
    site = convert_text(
        tmp_path,
        f"<resource schema='sky'>{TABLE}<data id='i'><embeddedGrammar><iterator><code>print 'a'\nyield 1</code></iterator>"
        "</embeddedGrammar><make table='main'/></data></resource>",
    )
    code = site.read_file("sky", "dachs_code.py")
    compile(code, "dachs_code.py", "exec")
    assert "# print 'a'" in code
    assert "raise NotImplementedError" in code
    assert "it is not Python 3 (its line 1)" in site.read_report("sky")


@given(st.text(max_size=200))
def test_any_text_is_translated_or_refused(code: str) -> None:
    translator = ExpressionTranslator(lambda name: TranslatedExpression(quote_name(name), "any"))
    with contextlib.suppress(UnsupportedExpressionError):
        assert translator.translate(code).adql


def test_a_report_lists_everything_and_the_first_entries_first() -> None:
    report = MigrationReport()
    for number in range(100):
        report.add_decision(Element("map", {}, number), f"decide about {number}")
    text = report.write_text("q.rd")
    assert all(f"line {number}: decide about {number}\n" in text for number in range(100))
    head, _, rest = text.partition("Understood (0)")
    assert "and 40 more, at the end" in head
    assert "decide about 60" not in head
    assert rest.count("decide about") == 40
