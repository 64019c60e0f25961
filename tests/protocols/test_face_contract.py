"""Every face keeps the contract of faces: those of our own, and one that comes by its entry point, from one file elsewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.model import plugins
from hven.services.face import known
from hven.testing.face import FaceContract
from shared import ROOT

EXAMPLE = ROOT / "examples/plugins/bright"


class TestCone(FaceContract):
    name = "cone"


class TestTap(FaceContract):
    name = "tap"


class TestChanges(FaceContract):
    name = "changes"


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the example where an installation puts it: its one file, and what says its entry point."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    place = tmp_path / "site-packages"
    about = place / f"hven_bright-{project['version']}.dist-info"
    about.mkdir(parents=True)
    shutil.copy(EXAMPLE / "hven_bright.py", place)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    lines = [f"[{group}]\n{name} = {value}\n" for group, names in project["entry-points"].items() for name, value in names.items()]
    (about / "entry_points.txt").write_text("".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    for one in (plugins.names, plugins.load):
        one.cache_clear()
    yield
    for one in (plugins.names, plugins.load):
        one.cache_clear()
    sys.modules.pop("hven_bright", None)


def example() -> type[FaceContract]:
    spec = importlib.util.spec_from_file_location("test_bright", EXAMPLE / "test_bright.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[FaceContract] = module.TestBright
    return found


@pytest.mark.usefixtures("_installed")
class TestOfAThirdParty(example()):  # type: ignore[misc]
    """Its own tests, as its author runs them."""

    def test_it_answers(self, tmp_path: Path) -> None:
        with self.served(tmp_path) as ask:
            assert ask(self.path, {"LIMIT": "1.5", "RESPONSEFORMAT": "csv"}).text.splitlines()[1:] == ["a,83.6,22,1"]

    def test_its_three_lines_are_all(self) -> None:
        assert {path.name for path in EXAMPLE.iterdir()} - {"__pycache__", "README.md"} == {
            "hven_bright.py",
            "pyproject.toml",
            "test_bright.py",
        }
        code = [line for line in (EXAMPLE / "test_bright.py").read_text().splitlines() if line and not line.startswith('"""')]
        assert len(code) == 3


def test_the_page_says_how_many_files_a_face_is() -> None:
    page = (ROOT / "docs/howto/extend.md").read_text(encoding="utf-8")
    told = {group: int(files) for group, files in re.findall(r"\| `hven\.(\w+)` \| (\d+) \|", page)}
    assert told.keys() <= plugins.GROUPS.keys()
    assert told["protocols"] == len({*EXAMPLE.glob("**/*.py")} - {*EXAMPLE.glob("test_*.py")})
    for name in ("hven_bright.py", "pyproject.toml", "test_bright.py"):
        assert any(block in (EXAMPLE / name).read_text(encoding="utf-8") for block in re.findall(r"```\w+\n(.*?)```", page, re.DOTALL)), (
            name
        )


@pytest.mark.parametrize("name", plugins.names("protocols"))
def test_every_face_says_what_it_is(name: str) -> None:
    contract = FaceContract()
    contract.name = name  # type: ignore[misc]
    contract.test_it_says_what_it_is()


def test_every_face_with_parameters_is_tried() -> None:
    assert {name for name, face in known().items() if face.params} == {"cone", "tap", "changes"}
