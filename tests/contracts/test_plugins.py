"""What other people add: each kind is as many files as the page says, and a function from outside is wherever our own are."""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

import example_plugins
from function_reference import write_function_reference
from hven.adql import functions
from hven.app._cli.verbs import build_typer_app
from hven.descriptor import check_descriptor
from hven.engines import EnginePluginRecord, duckdb
from hven.model import plugins
from hven.model.errors import DescriptorError, ParamError, SourceError, UserError
from hven.model.params import Param, RequestParams
from hven.model.settings import (
    Settings,
    SettingsSection,
    _validation,
    collect_setting_docs,
    define_setting,
    load_settings,
)
from hven.model.types import BOOLEAN, INT32, INT64, TIMESTAMP
from hven.portal import panes
from hven.services.params import parse_value
from hven.sources import ROW_NUMBER_COLUMN, RejectedRow, SourceContext, file_kinds
from hven.sources.api.documents import InvalidDocumentError
from hven.testing.face import FaceContract
from hven.testing.portal_pane import PaneContract
from hven.testing.site import open_tiny_site
from plugin_needs import create_descriptor, list_query_addresses, require_source_key
from shared import ROOT

PAGE = "".join(
    (ROOT / f"docs/howto/{page}.md").read_text(encoding="utf-8")
    for page in ("extend", "add-a-service", "add-a-function", "add-a-pane")
)
SOURCES = (ROOT / "docs/reference/sources.md").read_text(encoding="utf-8")
FORMATS = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
MAKES = "from hven.adql.signatures import define_function\nFUNCTION = define_function("
EXAMPLES = {"protocols": "bright", "functions": "airmass", "panes": "counts", "sources": "nights", "formats": "bars"}


@pytest.mark.parametrize(("group", "name"), [*EXAMPLES.items(), ("sources", "labels")])
def test_the_page_says_how_many_files_it_takes_and_shows_them(group: str, name: str) -> None:
    told = {one: int(files) for one, files in re.findall(r"\| `hven\.(\w+)` \| (\d+) \|", PAGE)}
    assert told.keys() <= plugins.PLUGIN_GROUPS.keys()
    files = example_plugins.list_files(name)
    assert files - {f"test_{name}.py"} == {f"hven_{name}.py", "pyproject.toml"}
    assert told[group] == 1
    assert group in {"sources", "formats"} or example_plugins.count_test_lines(name) == 3
    for file in files:
        text = (example_plugins.PLUGIN_DIRECTORY / name / file).read_text(encoding="utf-8")
        assert any(block in text for block in re.findall(r"```\w+\n(.*?)```", PAGE + SOURCES + FORMATS, re.DOTALL)), (
            file
        )


@pytest.fixture
def _airmass(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("airmass", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_airmass")
class TestFunction(example_plugins.load_test_class("airmass")):  # type: ignore[misc]
    def test_programs_and_people_find_it(self, tmp_path: Path) -> None:
        with FaceContract().open_request_sender(tmp_path / "site") as ask:
            found = ask(
                "/tap/sync",
                {"LANG": "ADQL", "QUERY": "SELECT id, airmass(dec) AS x FROM tiny.stars", "RESPONSEFORMAT": "csv"},
            )
            assert found.text.splitlines()[1] == "a,2.654187612151475"
            told = ask("/tap/capabilities").text
            assert "<form>airmass(altitude DOUBLE PRECISION) -&gt; DOUBLE PRECISION</form>" in told
            assert told.index("<form>airmass(") > told.index("<form>median(")  # our own first
            for address in list_query_addresses("/adql/words"):
                words = {lang: ask(address, {"lang": lang}).json()["functions"][-1] for lang in ("en", "fr")}
                assert [word["description"].split()[0] for word in words.values()] == ["Relative", "Masse"]
            assert (
                "did you mean 'AIRMASS'?"
                in ask("/tap/sync", {"LANG": "ADQL", "QUERY": "SELECT airmas(dec) AS x FROM tiny.stars"}).text
            )
        assert "| `airmass(altitude)` | DOUBLE |" in write_function_reference()

    def test_its_name_must_be_new(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            plugins.load_plugin("functions", "airmass"), "FUNCTION", functions.QUERY_FUNCTIONS.find_function("SIN")
        )
        functions.load_plugin_functions.cache_clear()
        with pytest.raises(
            UserError, match=r"'airmass' in hven\.functions defines SIN, but this function already exists"
        ):
            functions.load_plugin_functions()


@pytest.fixture
def _nights(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("nights", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_nights")
class TestSource(example_plugins.load_test_class("nights")):  # type: ignore[misc]
    """Its own tests."""


@pytest.fixture
def _labels(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("labels", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_labels")
class TestFileSource(example_plugins.load_test_class("labels")):  # type: ignore[misc]
    def test_what_is_no_label_is_kept_aside(self, tmp_path: Path) -> None:
        options = self.write_source_files(tmp_path)
        (tmp_path / "c.lbl").write_text("PRODUCT_ID = c\n")
        (tmp_path / "d.lbl.gz").write_bytes(gzip.compress(b"PRODUCT_ID = d\nEND\n"))
        refused: list[RejectedRow] = []
        module = plugins.load_plugin("sources", self.kind)
        source = module.open(
            module.Options(**options | {"files": "*.lbl*"}), SourceContext(directory=tmp_path, on_reject=refused.append)
        )
        found = self.read_source_table(source, ["PRODUCT_ID", "file.name", ROW_NUMBER_COLUMN])
        assert found.to_pydict() == {
            "PRODUCT_ID": ["a", "b", "d"],
            "file.name": ["a.lbl", "b.lbl", "d.lbl.gz"],
            ROW_NUMBER_COLUMN: [1, 1, 1],
        }
        assert [(one.file, one.reason) for one in refused] == [("c.lbl", "the label has no END")]
        assert [pin.sha256 is not None for pin in source.list_input_versions()] == [True] * 4

    def test_row_numbers_of_the_batches_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        options = self.write_source_files(tmp_path)
        module = plugins.load_plugin("sources", self.kind)

        def read_second_rows(_self: Any, _file: Any) -> Iterator[pa.RecordBatch]:
            yield pa.record_batch({"PRODUCT_ID": ["x"], ROW_NUMBER_COLUMN: pa.array([5], pa.int64())})

        monkeypatch.setattr(module.Labels, "read_file_batches", read_second_rows)
        source = module.open(module.Options(**options | {"keys": ["PRODUCT_ID"]}), SourceContext(directory=tmp_path))
        found = self.read_source_table(source, ["PRODUCT_ID", ROW_NUMBER_COLUMN])
        assert set(found[ROW_NUMBER_COLUMN].to_pylist()) == {5}

    @pytest.mark.parametrize("method", ["__init__", "list_columns", "read_file_batches"])
    def test_check_reports_files_that_cannot_be_read(
        self, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = plugins.load_plugin("sources", self.kind)
        runner, program = CliRunner(), build_typer_app()
        assert runner.invoke(program, ["init", str(tmp_path / "site")]).exit_code == 0
        directory = tmp_path / "site/collections/c"
        directory.mkdir(parents=True)
        options = self.write_source_files(directory)
        text = f"collection: c\ntitle: C\ntables:\n  t: {{source: {{kind: labels, files: '*.lbl', keys: {options['keys']}}}}}\n"
        (directory / "c.yaml").write_text(text, encoding="utf-8")
        command = ["--site", str(tmp_path / "site"), "check", "c"]
        assert runner.invoke(program, command).exit_code == 0

        def fail(*_: Any) -> Any:
            raise SourceError("the disk turns too slowly", remedy="wait")

        monkeypatch.setattr(module.Labels, method, fail)
        result = runner.invoke(program, command)
        assert result.exit_code == 1
        assert "c.yaml:4:15: the disk turns too slowly; wait\n" in result.output

    def test_its_files_are_known_by_name_and_content(self, tmp_path: Path) -> None:
        self.write_source_files(tmp_path)
        assert (
            file_kinds.find_file_kind_by_name("data/*.LBL.gz")
            == file_kinds.detect_kind_from_file_content(tmp_path / "a.lbl")
            == self.kind
        )
        assert file_kinds.find_file_kind_by_content(b"a,b\n1,2\n") == "csv"


@pytest.fixture
def _bars(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("bars", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_bars")
class TestFormat(example_plugins.load_test_class("bars")):  # type: ignore[misc]
    def test_services_give_it_and_texts_come_back(self, tmp_path: Path) -> None:
        with FaceContract().open_request_sender(tmp_path) as ask:
            query = "SELECT id, mag, 'a|b\\c' AS t FROM tiny.stars ORDER BY id"
            answer = ask("/tap/sync", {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "bars"})
            assert answer.text == "id|mag|t\na|1|a\\|b\\\\c\nb|2|a\\|b\\\\c\n"
            assert answer.headers["content-type"].startswith("text/x-bars")
            assert "text/x-bars" in ask("/tap/capabilities").text


@pytest.fixture
def _counts(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("counts", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_counts")
class TestPane(example_plugins.load_test_class("counts")):  # type: ignore[misc]
    def test_every_pane_that_is_registered_keeps_the_contract(self, tmp_path: Path) -> None:
        promises = [name for name in vars(PaneContract) if name.startswith("test_")]
        assert [pane.name for pane in panes.list_panes()] == ["counts"]
        for pane in panes.list_panes():
            contract = type("TestRegistered", (PaneContract,), {"name": pane.name})()
            for promise in promises:
                method = getattr(contract, promise)
                method(tmp_path / f"{pane.name}-{promise}") if "tmp_path" in signature(method).parameters else method()


@pytest.mark.usefixtures("_counts")
@pytest.mark.parametrize(
    ("check", "was", "broken"),
    [
        ("test_it_has_the_name_of_its_entry_point", 'name="counts"', 'name="count"'),
        ("test_applies_never_fails", "applies=lambda table: bool(magnitudes(table))", "applies=lambda table: bool(table.columns[0])"),
        ("test_its_query_reads_from_the_row_source", "FROM {found}", "FROM {quote(table.schema)}.{quote(table.name)}"),
        ("test_it_renders_with_rows_and_without", "row.mag | int", "row.magnitude | int"),
        ("test_it_renders_with_rows_and_without", "<table>", "{{ rows[0].mag + 1 }}<table>"),
        ("test_texts_translate_its_title", '"Magnitudes": "Magnitudes", ', ""),
    ],
)  # fmt: skip
def test_the_contract_finds_a_pane_that_breaks_it(tmp_path: Path, check: str, was: str, broken: str) -> None:
    path = tmp_path / "site-packages" / "hven_counts.py"
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, broken), encoding="utf-8")
    contract = type("TestBroken", (PaneContract,), {"name": "counts"})()
    with pytest.raises(Exception):  # noqa: B017  (whatever the pane raises, or a promise that is not kept)
        getattr(contract, check)(*([tmp_path / "tried"] if check.endswith("none") else []))


def test_a_pane_is_on_the_pages_of_its_tables(tmp_path: Path) -> None:
    with (
        example_plugins.install_plugin("counts", tmp_path / "site-packages"),
        FaceContract().open_request_sender(tmp_path / "site") as ask,
    ):
        here = "/collections/tiny/stars"
        searched = ask(here, {"mag": "1..1.5", "_cols": "id"}).text
        assert re.search(
            rf'<ul data-panes><li><a href="[^"]*{here}/panes/counts\?mag=1\.\.1\.5&amp;_cols=id">Magnitudes<', searched
        )
        given = {"mag": "1..1.5", "_cols": "id", "_sort": "-mag", "_all": "1"}
        told = ask(f"{here}/panes/counts.json", given).json()
        assert told["rows"] == [{"mag": 1.0, "stars": 1}]  # of what was found, whatever columns are shown
        assert told["faults"] == []
        assert "<th>Étoiles</th>" in ask(f"{here}/panes/counts", {"lang": "fr"}).text
        assert "is not a number" in ask(f"{here}/panes/counts", {"mag": "bright"}).text
        assert ask(f"{here}/panes/none").status_code == ask("/collections/tiny/none/panes/counts").status_code == 404


@pytest.mark.parametrize(
    ("was", "broken", "told"),
    [
        ("applies=lambda table: bool(magnitudes(table))", "applies=lambda table: 1 / 0", "ZeroDivisionError: division by zero; correct the pane (the plug-in 'counts' of hven.panes, at hven_counts.py:"),
        ("COUNT(*) AS stars", "COUNT(*) AS stars, nowhere", "BindError: line 1, column "),
        ("row.mag | int", "row.magnitude | int", "UndefinedError: 'dict object' has no attribute 'magnitude'; correct the pane (its query or its template, in hven_counts"),
    ],
)  # fmt: skip
def test_check_tries_panes(tmp_path: Path, caplog: pytest.LogCaptureFixture, was: str, broken: str, told: str) -> None:
    place = tmp_path / "site-packages"
    with example_plugins.install_plugin("counts", place):
        path = place / "hven_counts" / "__init__.py" if (place / "hven_counts").is_dir() else place / "hven_counts.py"
        path.write_text(path.read_text().replace(was, broken), encoding="utf-8")
        (tmp_path / "hven.toml").write_text('name = "x"\n')
        folder = tmp_path / "collections" / "stars"
        folder.mkdir(parents=True)
        (folder / "stars.csv").write_text("id,mag\na,1.5\nb,2.5\n")
        (folder / "stars.yaml").write_text(
            "collection: stars\ntitle: Stars\ntables:\n  main:\n    source: {files: stars.csv}\n    columns: {id: string, mag: {type: float64, unit: mag, ucd: phot.mag}}\n"
        )
        assert CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), "ingest", "stars"]).exit_code == 0
        said = CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), "check"])
        assert f"the pane 'counts' fails for stars.main: {told}" in said.output
        assert said.exit_code == 1
        with FaceContract().open_request_sender(tmp_path / "served") as ask:  # its error takes no page with it
            assert ask("/collections/tiny/stars").status_code == 200
            assert ("applies" in was) == (
                "the `applies` function of a plug-in failed (error in the plug-in 'counts' of hven.panes" in caplog.text
            )


def test_check_has_nothing_to_say_of_a_pane_that_works(tmp_path: Path) -> None:
    with (
        example_plugins.install_plugin("counts", tmp_path / "site-packages"),
        open_tiny_site(tmp_path / "site", {"tiny.stars": (FaceContract.table, FaceContract.rows)}) as site,
    ):
        assert [pane.find_pane_faults(site) for pane in panes.list_panes()] == [[]]


def test_a_setting_is_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, object] = {
        "dataclass": dataclass,
        "define_setting": define_setting,
        "SettingsSection": SettingsSection,
    }
    exec(next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "SECTION" in block), written)
    monkeypatch.setattr(duckdb, "KIND", EnginePluginRecord(settings=(written["SECTION"],)), raising=False)
    cached = [
        one
        for one in vars(_validation).values()
        if hasattr(one, "cache_clear") and one.__module__ == _validation.__name__
    ]
    try:
        for one in cached:
            one.cache_clear()
        (tmp_path / "hven.toml").write_text("[echo]\ndepth = 5\n")
        assert load_settings(tmp_path, {}).brought["echo"].depth == 5
        assert load_settings(tmp_path, {"HVEN_ECHO_DEPTH": "7"}).brought["echo"].depth == 7
        assert (collect_setting_docs()["echo"], collect_setting_docs()["echo.depth"]) == (
            "Echoes.",
            "how deep it sounds",
        )
        (tmp_path / "hven.toml").write_text("[echo]\ndepth = 0\n")
        with pytest.raises(DescriptorError, match="depth"):
            load_settings(tmp_path, {})
    finally:
        for one in cached:
            one.cache_clear()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:", "cannot be loaded: SyntaxError"),
        ("FUNCTIONS = 1", "has no FUNCTION of the class FunctionDefinition"),
        ("FUNCTION = {}", "has no FUNCTION of the class FunctionDefinition"),
        (
            f"{MAKES}'udf', 'A', '(x NUMERIC) -> FLOATY', doc='')",
            "cannot be loaded: UserError: A(x NUMERIC) -> FLOATY: 'FLOATY' is not a type; use one of ",
        ),
        (
            f"{MAKES}'udf', 'A', '(x NUMBER) -> TEXT', doc='')",
            "cannot be loaded: UserError: A(x NUMBER) -> TEXT: 'NUMBER' is not a type; did you mean 'NUMERIC'?",
        ),
        (
            f"{MAKES}'scalar', 'A', '() -> TEXT', doc='')",
            "cannot be loaded: UserError: A: 'scalar' is not a group of functions; use one of math, ",
        ),
    ],
)
def test_one_with_a_fault_is_told_by_its_name(tmp_path: Path, written: str, told: str) -> None:
    place = tmp_path / "site-packages"
    with example_plugins.install_plugin("airmass", place):
        (place / "hven_airmass.py").write_text(written, encoding="utf-8")
        (error,) = plugins.find_plugin_faults()
        assert error.message.startswith(f"the plug-in 'airmass' of hven.functions (hven_airmass) {told}")
        (tmp_path / "hven.toml").write_text('name = "x"\n')
        for verb in (["check"], ["serve", "--port", "1"]):
            said = CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), *verb])
            assert "the plug-in 'airmass' of hven.functions" in said.output + str(said.exception), verb
            assert said.exit_code, verb
            assert "serve" in verb or "0 descriptors: 1 error" in said.output
    assert list(plugins.find_plugin_faults()) == []


def test_all_that_have_faults_are_told(tmp_path: Path) -> None:
    place = tmp_path / "site-packages"
    with example_plugins.install_plugin("airmass", place):
        (about,) = place.glob("*.dist-info")
        (about / "entry_points.txt").write_text(
            "[hven.functions]\na = hven_a_away\nb = hven_b_away\n[hven.panes]\nc = hven_c_away\n", encoding="utf-8"
        )
        told = [error.message for error in plugins.find_plugin_faults()]
    assert [re.findall(r"plug-in '(\w)' of hven\.(\w+)", one) for one in told] == [
        [("a", "functions")],
        [("b", "functions")],
        [("c", "panes")],
    ]


def test_a_source_without_open_and_a_service_without_table_are_reported(tmp_path: Path) -> None:
    with example_plugins.install_plugin("nights", tmp_path / "nights"):
        path = tmp_path / "nights/hven_nights.py"
        path.write_text(path.read_text().replace("\ndef open(", "\ndef start("), encoding="utf-8")
        [fault] = plugins.find_plugin_faults()
    assert "hven_nights) has no function `open`" in fault.message
    with example_plugins.install_plugin("bright", tmp_path / "bright"):
        path = tmp_path / "bright/hven_bright.py"
        path.write_text(path.read_text().replace("/bright/{table}", "/bright"), encoding="utf-8")
        [fault] = plugins.find_plugin_faults()
    assert "the path of the service bright lacks {table}: '/bright'" in fault.message


@pytest.mark.parametrize(
    ("body", "told", "noted"),
    [
        ("1 / 0", "an unexpected error occurred in the service; its operators can find the error", "ZeroDivisionError in request without id, in the plug-in 'bright' of hven.protocols, at hven_bright.py:"),
        ("return ServiceQuery(query='SELECT nowhere FROM tiny.stars')", "the service 'bright' built an invalid query: line 1, column 8: ", "ServiceError"),
        ("return ServiceQuery(query='SELECT')", "the service 'bright' built an invalid query: line 1, column ", "ServiceError"),
    ],
)  # fmt: skip
def test_a_face_with_a_fault_is_no_fault_of_its_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: str, told: str, noted: str
) -> None:
    place = tmp_path / "site-packages"
    with example_plugins.install_plugin("bright", place):
        path = place / "hven_bright.py"
        path.write_text(path.read_text().replace('"""Ask for the brightest first."""', body), encoding="utf-8")
        with FaceContract().open_request_sender(tmp_path / "site") as ask:
            answer = ask("/bright/tiny.stars", {"LIMIT": "3"})
    assert answer.status_code == 500
    assert told in answer.text
    assert noted in caplog.text


def test_a_source_that_fails_is_blamed_with_its_line(tmp_path: Path) -> None:
    place = tmp_path / "site-packages"
    with example_plugins.install_plugin("nights", place):
        path = place / "hven_nights.py"
        path.write_text(
            path.read_text().replace(
                "        names = column_names or", "        1 / 0\n        names = column_names or"
            ),
            encoding="utf-8",
        )
        line = path.read_text().split("1 / 0")[0].count("\n") + 1
        (tmp_path / "hven.toml").write_text('name = "x"\n')
        descriptor = tmp_path / "collections" / "n" / "n.yaml"
        descriptor.parent.mkdir(parents=True)
        descriptor.write_text(
            'collection: n\ntitle: n\ntables:\n  main:\n    source: {kind: nights, first: "2026-01-01", nights: 3}\n'
        )
        said = CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), "ingest", "n"])
        assert isinstance(said.exception, ZeroDivisionError)
        assert (
            plugins.describe_error_origin(said.exception)
            == f"the plug-in 'nights' of hven.sources, at hven_nights.py:{line}"
        )
    assert plugins.describe_error_origin(ZeroDivisionError()) == "Hven itself"


def test_a_group_that_nobody_asks_is_told(tmp_path: Path) -> None:
    place = tmp_path / "site-packages"
    with example_plugins.install_plugin("airmass", place):
        (about,) = place.glob("*.dist-info")
        (about / "entry_points.txt").write_text("[hven.function]\nairmass = hven_airmass\n", encoding="utf-8")
        (error,) = plugins.find_plugin_faults()
        assert str(error).startswith("there is no plug-in group 'hven.function'; did you mean 'functions'?")


@pytest.mark.parametrize(
    ("param", "given", "told"),
    [
        (Param(name="K", type=INT32, minimum=1, maximum=1000), "1001", "K=1001 is out of range"),
        (Param(name="K", type=INT64, maximum=5), "6", "K=6 is out of range"),
        (Param(name="FLAG", type=BOOLEAN), "maybe", "FLAG='maybe' is neither true nor false"),
        (Param(name="WHEN", type=TIMESTAMP), "soon", "WHEN='soon' is not a timestamp"),
        (Param(name="K", type=INT32, many=True, maximum=5), "6", "K=6 is out of range"),
    ],
)
def test_a_parameter_is_checked_as_it_is_declared(param: Param, given: str, told: str) -> None:
    with pytest.raises(ParamError) as caught:
        parse_value(RequestParams({param.name: (given,)}), param)
    assert caught.value.message == told


def test_a_parameter_is_read_as_it_is_declared() -> None:
    given = RequestParams({"K": ("1", "2", "2"), "FLAG": ("1",), "WHEN": ("2026-11-20T10:15:00",), "WORD": ("",)})
    assert parse_value(given, Param(name="K", type=INT32, many=True)) == (1, 2, 2)
    assert parse_value(given, Param(name="FLAG", type=BOOLEAN)) is True
    assert parse_value(given, Param(name="WHEN", type=TIMESTAMP)) == datetime(2026, 11, 20, 10, 15)
    assert parse_value(given, Param(name="WORD", many=True)) == ()
    assert parse_value(given, Param(name="OTHER", type=BOOLEAN, default="false")) is False


def test_a_descriptor_names_a_face_of_ones_own(tmp_path: Path) -> None:
    text = "collection: c\ntitle: C\nservices: [tap, bright]\ntables:\n  t: {source: {kind: csv, files: d.csv}, columns: {mag: {type: float64, ucd: phot.mag}}}\n"
    (tmp_path / "c").mkdir()
    (tmp_path / "c/d.csv").write_text("mag\n1\n")
    (tmp_path / "c/c.yaml").write_text(text)
    assert "there is no service 'bright'" in str(
        check_descriptor(tmp_path / "c/c.yaml", Settings(directory=tmp_path))[0]
    )
    with example_plugins.install_plugin("bright", tmp_path / "site-packages"):
        assert check_descriptor(tmp_path / "c/c.yaml", Settings(directory=tmp_path)) == []


def test_a_misspelt_option_of_a_source_of_ones_own_is_told(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/c.yaml").write_text(
        "collection: c\ntitle: C\ntables:\n  t: {source: {kind: nights, begn: 2026-01-01}, columns: {night: date}}\n"
    )
    with example_plugins.install_plugin("nights", tmp_path / "site-packages"):
        told = [str(fault) for fault in check_descriptor(tmp_path / "c/c.yaml", Settings(directory=tmp_path))]
    assert any("begn" in one for one in told), told


PACKAGE = """\
from hven.model.plugins import FileSignature, PluginPackage, CommandLineVerb

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    functions={"airmass": "hven_airmass"},
    documents={"log": "hven_night_sky_log"},
    files=(
        FileSignature(
            kind="product",
            extensions=("sky",),
            leading_pattern=rb"SKY\\d",
            first_line_pattern=r"SKY\\d",
            text_title="a picture of the night sky",
            media_types={"sky": "application/x-sky"},
        ),
    ),
    verbs={"plan": CommandLineVerb(function="hven_night_sky:plan", after="query", examples=("hven plan tonight --json",))},
)


def plan(when: str) -> None:
    \"\"\"Print what can be observed.\"\"\"
    print("plan", when)
"""
LOG_DOCUMENT = """\
from hven.sources.api.documents import DocumentFormat, InvalidDocumentError


def create_lookup(body, keys):
    if b":" not in body:
        raise InvalidDocumentError("it is not a log")
    return dict(line.split(": ") for line in body.decode().splitlines()).get


DOCUMENT = DocumentFormat(create_lookup=create_lookup)
"""


@pytest.fixture
def package_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the example of a function as a part of a package with a verb; all packages are used."""
    place = tmp_path / "site-packages"
    used_names = plugins._selection.names
    monkeypatch.setenv(plugins.SELECTION_VARIABLE, "all")
    plugins.select_plugin_packages(None)
    with example_plugins.install_plugin("airmass", place):
        (place / "hven_night_sky.py").write_text(PACKAGE, encoding="utf-8")
        (place / "hven_night_sky_log.py").write_text(LOG_DOCUMENT, encoding="utf-8")
        (about,) = place.glob("*.dist-info")
        (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
        yield place
        for name in ("hven_night_sky", "hven_night_sky_log"):
            sys.modules.pop(name, None)
    plugins._selection.set_names(used_names)


@pytest.mark.usefixtures("package_place")
def test_a_package_adds_its_parts_and_its_verb() -> None:
    assert plugins.list_plugin_packages()[-1].name == "night_sky"
    assert "airmass" in plugins.list_external_plugins("functions")
    assert plugins.load_plugin("functions", "airmass").FUNCTION.name == "AIRMASS"
    names = list(get_command(build_typer_app()).commands)  # type: ignore[attr-defined]
    assert names.index("plan") == names.index("query") + 1
    done = CliRunner().invoke(build_typer_app("plan"), ["plan", "tonight"])
    assert done.output == "plan tonight\n"
    shown = CliRunner().invoke(build_typer_app("plan"), ["plan", "--help"]).output
    assert "Print what can be observed." in shown
    assert "hven plan tonight --json" in shown
    assert list(plugins.find_plugin_faults()) == []


@pytest.mark.usefixtures("package_place")
def test_a_package_adds_a_form_of_documents(tmp_path: Path) -> None:
    form = plugins.load_plugin("documents", "log").DOCUMENT
    assert form.create_lookup(b"seeing: 0.8\nmoon: 3", ["seeing"])("seeing") == "0.8"
    with pytest.raises(InvalidDocumentError, match="it is not a log"):
        form.create_lookup(b"<html>", ["seeing"])
    options_class = require_source_key("enrich").options_class
    options = {"url": "https://archive.example/{id}", "id": "id", "columns": {"a": "A"}}
    assert options_class.model_validate({**options, "format": "log"}).format == "log"
    assert "log" in options_class.model_json_schema()["properties"]["format"]["enum"]
    with pytest.raises(ValidationError, match=r"Input should be 'header', 'json', .*'log'"):
        options_class.model_validate({**options, "format": "lgo"})


@pytest.mark.usefixtures("package_place")
def test_a_package_says_which_files_a_kind_of_source_reads(tmp_path: Path) -> None:
    (tmp_path / "m31").write_text("SKY1 of M31\n")
    assert (
        file_kinds.find_file_kind_by_name("data/*.SKY.gz")
        == file_kinds.detect_kind_from_file_content(tmp_path / "m31")
        == "product"
    )
    csv = plugins.load_plugin("sources", "csv")
    with pytest.raises(SourceError, match=r"looks like a picture of the night sky, .*; write `kind: product`"):
        csv.open(csv.Options(files="m31"), SourceContext(directory=tmp_path)).list_columns()
    (tmp_path / "rows.csv").write_text(
        "name,url,day\n" + "".join(f"a{n},https://a.example/{n}.sky,2020-01-0{n}\n" for n in (1, 2))
    )
    settings = Settings(directory=tmp_path)
    draft = create_descriptor(settings, "nights", str(tmp_path / "rows.csv"), standard="epn-tap").read_text()
    assert re.search(r"access_format: +application/x-sky", draft)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("PLUGIN = ", "RECORD = ", "has no PLUGIN of the class PluginPackage"),
        (
            '"night_sky",',
            '"Night Sky",',
            "cannot be loaded: ValueError: a plug-in package cannot be called 'Night Sky'",
        ),
        ('"night_sky",', '"{other}",', "two plug-in packages have the name"),
        ('"hven_airmass"', '"hven_nowhere"', "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_package_with_a_fault_is_left_out_and_reported(package_place: Path, old: str, new: str, fault: str) -> None:
    path = package_place / "hven_night_sky.py"
    other = next((package.name for package in plugins._load_builtin_packages()), "")
    if "{other}" in new and not other:
        pytest.skip("there is no other plug-in package")
    changed = path.read_text(encoding="utf-8").replace(old, new.replace("{other}", other))
    path.write_text(changed, encoding="utf-8")
    [error] = plugins.find_plugin_faults()
    assert fault in error.message
    assert "init" in get_command(build_typer_app()).commands  # type: ignore[attr-defined]
