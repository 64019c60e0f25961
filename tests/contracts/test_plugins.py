"""What other people add: each kind is as many files as the page says, and a function from outside is wherever our own are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import plugged
from hven.adql import functions
from hven.engines import postgres as engine
from hven.model import plugins
from hven.model.errors import DescriptorError, UserError
from hven.model.settings import Section, _validation, docs, load, setting
from hven.testing.face import FaceContract
from postgres import server
from shared import ROOT

PAGE = (ROOT / "docs/howto/extend.md").read_text(encoding="utf-8")
SOURCES = (ROOT / "docs/reference/sources.md").read_text(encoding="utf-8")
EXAMPLES = {"protocols": "bright", "functions": "airmass", "panes": "counts", "sources": "nights"}


@pytest.mark.parametrize("group", EXAMPLES)
def test_the_page_says_how_many_files_it_takes_and_shows_them(group: str) -> None:
    name = EXAMPLES[group]
    told = {one: int(files) for one, files in re.findall(r"\| `hven\.(\w+)` \| (\d+) \|", PAGE)}
    assert told.keys() <= plugins.GROUPS.keys()
    files = plugged.files(name)
    assert files - {f"test_{name}.py"} == {f"hven_{name}.py", "pyproject.toml"}
    assert told[group] == 1
    assert group in {"panes", "sources"} or plugged.lines(name) == 3
    for file in files:
        text = (plugged.PLACE / name / file).read_text(encoding="utf-8")
        assert any(block in text for block in re.findall(r"```\w+\n(.*?)```", PAGE + SOURCES, re.DOTALL)), file


@pytest.fixture
def _airmass(tmp_path: Path) -> Iterator[None]:
    with plugged.installed("airmass", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_airmass")
class TestFunction(plugged.tests("airmass")):  # type: ignore[misc]
    def test_programs_and_people_find_it(self, tmp_path: Path) -> None:
        with FaceContract().served(tmp_path / "site") as ask:
            found = ask("/tap/sync", {"LANG": "ADQL", "QUERY": "SELECT id, airmass(dec) AS x FROM tiny.stars", "RESPONSEFORMAT": "csv"})
            assert found.text.splitlines()[1] == "a,2.654187612151475"
            told = ask("/tap/capabilities").text
            assert "<form>airmass(altitude DOUBLE PRECISION) -&gt; DOUBLE PRECISION</form>" in told
            assert told.index("<form>airmass(") > told.index("<form>median(")  # our own first
            words = {lang: ask("/adql/words", {"lang": lang}).json()["functions"][-1] for lang in ("en", "fr")}
            assert [word["description"].split()[0] for word in words.values()] == ["Relative", "Masse"]
            assert "did you mean 'AIRMASS'?" in ask("/tap/sync", {"LANG": "ADQL", "QUERY": "SELECT airmas(dec) AS x FROM tiny.stars"}).text
        assert "| `airmass(altitude)` | DOUBLE |" in functions.reference()

    def test_its_name_must_be_new(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plugins.load("functions", "airmass"), "FUNCTION", functions.QUERY.get("SIN"))
        functions.added.cache_clear()
        with pytest.raises(UserError, match=r"'airmass' in hven\.functions brings SIN, which is there already"):
            functions.added()


@pytest.mark.usefixtures("_airmass")
class TestFunctionInPostgres(plugged.tests("airmass")):  # type: ignore[misc]
    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with server() as url:
            self.url = f"postgresql://{url}"
            yield

    def open(self, directory: Path) -> object:
        return engine.open(directory, memory=1 << 28, threads=1, url=self.url, pool=2, schema="hven")

    def test_it_is_computed_there(self, tmp_path: Path) -> None:
        from hven.adql import bind, parse
        from hven.adql.scope import Tables

        opened = self.open(tmp_path)
        plan = opened.prepare(bind(parse("SELECT AIRMASS(30) AS x"), Tables([])))  # type: ignore[attr-defined]
        assert "elsewhere" not in plan.explain().lower(), plan.explain()
        opened.close()  # type: ignore[attr-defined]


@pytest.fixture
def _nights(tmp_path: Path) -> Iterator[None]:
    with plugged.installed("nights", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_nights")
class TestSource(plugged.tests("nights")):  # type: ignore[misc]
    """Its own tests."""


def test_a_pane_is_on_the_pages_of_its_tables(tmp_path: Path) -> None:
    with plugged.installed("counts", tmp_path / "site-packages"), FaceContract().served(tmp_path / "site") as ask:
        here = "/collections/tiny/stars"
        searched = ask(here, {"mag": "1..1.5", "_cols": "id"}).text
        assert re.search(rf'<ul data-panes><li><a href="[^"]*{here}/panes/counts\?mag=1\.\.1\.5&amp;_cols=id">Magnitudes<', searched)
        given = {"mag": "1..1.5", "_cols": "id", "_sort": "-mag", "_all": "1"}
        told = ask(f"{here}/panes/counts.json", given).json()
        assert told["rows"] == [{"mag": 1.0, "stars": 1}]  # of what was found, whatever columns are shown
        assert told["faults"] == []
        assert "<th>Étoiles</th>" in ask(f"{here}/panes/counts", {"lang": "fr"}).text
        assert "is no number" in ask(f"{here}/panes/counts", {"mag": "bright"}).text
        assert ask(f"{here}/panes/none").status_code == ask("/collections/tiny/none/panes/counts").status_code == 404


def test_a_setting_is_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, object] = {"dataclass": dataclass, "setting": setting, "Section": Section}
    exec(next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "SECTION" in block), written)
    monkeypatch.setattr(engine, "KIND", replace(engine.KIND, settings=(*engine.KIND.settings, written["SECTION"])))
    cached = [one for one in vars(_validation).values() if hasattr(one, "cache_clear") and one.__module__ == _validation.__name__]
    try:
        for one in cached:
            one.cache_clear()
        (tmp_path / "hven.toml").write_text("[echo]\ndepth = 5\n")
        assert load(tmp_path, {}).brought["echo"].depth == 5
        assert load(tmp_path, {"HVEN_ECHO_DEPTH": "7"}).brought["echo"].depth == 7
        assert (docs()["echo"], docs()["echo.depth"]) == ("Echoes.", "how deep it sounds")
        (tmp_path / "hven.toml").write_text("[echo]\ndepth = 0\n")
        with pytest.raises(DescriptorError, match="depth"):
            load(tmp_path, {})
    finally:
        for one in cached:
            one.cache_clear()
