"""What other people add: each kind is as many files as the page says, and a function from outside is wherever our own are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import plugged
from hven.adql import functions
from hven.engines import postgres as engine
from hven.model import plugins
from hven.model.errors import UserError
from hven.testing.face import FaceContract
from postgres import server
from shared import ROOT

PAGE = (ROOT / "docs/howto/extend.md").read_text(encoding="utf-8")
EXAMPLES = {"protocols": "bright", "functions": "airmass"}


@pytest.mark.parametrize("group", EXAMPLES)
def test_the_page_says_how_many_files_it_takes_and_shows_them(group: str) -> None:
    name = EXAMPLES[group]
    told = {one: int(files) for one, files in re.findall(r"\| `hven\.(\w+)` \| (\d+) \|", PAGE)}
    assert told.keys() <= plugins.GROUPS.keys()
    assert plugged.files(name) == {f"hven_{name}.py", "pyproject.toml", f"test_{name}.py"}
    assert told[group] == 1
    assert plugged.lines(name) == 3
    for file in (f"hven_{name}.py", "pyproject.toml", f"test_{name}.py"):
        text = (plugged.PLACE / name / file).read_text(encoding="utf-8")
        assert any(block in text for block in re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL)), file


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
