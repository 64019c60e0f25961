"""Every face keeps the contract of faces: those of our own, and one that comes by its entry point, from one file elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from asgi_client import Client
from starlette.applications import Starlette

import example_plugins
from hven.descriptor import load_standard_descriptor
from hven.model import plugins
from hven.model.settings import Settings
from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.services.face import Capability, ServiceContext, ServiceFace, load_service_faces
from hven.services.faces import tap
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.testing.face import FaceContract
from shared import ROOT


class TestCone(FaceContract):
    name = "cone"


class TestTap(FaceContract):
    name = "tap"


class TestDataLink(FaceContract):
    name = "datalink"
    table = Table(
        schema="tiny",
        name="maps",
        columns=(Column(name="id", type=STRING, ucd="meta.id;meta.main"), Column(name="access_url", type=STRING)),
        primary=("id",),
    )
    rows = pa.table({"id": ["a"], "access_url": ["https://x.example/a"]})


STANDARD = load_standard_descriptor("obscore-1.1").tables[0].table
FILE = tuple(Column(name=name, type=STRING, hidden=True) for name in ("hven_url", "hven_format"))  # as ivoa.obscore has


class TestSia2(FaceContract):
    name = "sia2"
    table = STANDARD.copy_with(schema="ivoa", name="obscore", columns=(*STANDARD.columns, *FILE))
    rows = pa.table(
        {
            column.name: pa.array(
                ["x" if column.type.is_string and column.required else 1 if column.required else None],
                column.type.arrow,
            )
            for column in table.columns
        }
    )


class TestSsa(FaceContract):
    name = "ssa"
    table = TestSia2.table
    rows = TestSia2.rows


class TestSia(FaceContract):
    name = "sia"
    table = TestSia2.table
    rows = TestSia2.rows


@pytest.fixture
def _install_example_plugin(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("bright", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_install_example_plugin")
class TestOfAThirdParty(example_plugins.load_test_class("bright")):  # type: ignore[misc]
    """Its own tests, as its author runs them."""

    def test_it_answers(self, tmp_path: Path) -> None:
        with self.open_request_sender(tmp_path) as ask:
            assert ask(self.path, {"LIMIT": "1.5", "RESPONSEFORMAT": "csv"}).text.splitlines()[1:] == ["a,83.6,22,1"]


@pytest.fixture
def _install_documented_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    page = (ROOT / "docs/howto/add-a-service.md").read_text(encoding="utf-8")
    [code] = [
        code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "build_routes=build_routes" in code
    ]
    directory = tmp_path / "plugins/row_count"
    directory.mkdir(parents=True)
    (directory / "hven_row_count.py").write_text(code, encoding="utf-8")
    (directory / "pyproject.toml").write_text(
        '[project]\nname = "hven-row-count"\nversion = "1"\n'
        '[project.entry-points."hven.protocols"]\nrow_count = "hven_row_count"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(example_plugins, "PLUGIN_DIRECTORY", directory.parent)
    with example_plugins.install_plugin("row_count", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_install_documented_service")
class TestDocumentedService(FaceContract):
    """The example of the page about services at other addresses."""

    name = "row_count"

    def test_it_answers(self, tmp_path: Path) -> None:
        with self.open_request_sender(tmp_path) as send_request:
            answer = send_request("/row_count", {"TABLE": "tiny.stars", "RESPONSEFORMAT": "csv"})
        assert answer.text.splitlines() == ["row_count", "2"]


@pytest.mark.parametrize("name", plugins.list_plugins("protocols"))
def test_every_face_says_what_it_is(name: str) -> None:
    contract = FaceContract()
    contract.name = name  # type: ignore[misc]
    contract.test_the_face_describes_itself()


def test_every_face_with_parameters_is_tried() -> None:
    package_faces = {name for package in plugins.list_plugin_packages() for name in package.protocols}
    assert {name for name, face in load_service_faces().items() if face.params} - package_faces == {
        "cone",
        "tap",
        "datalink",
        "sia",
        "sia2",
        "ssa",
    }


def test_a_face_adds_capabilities_to_those_of_tap(tmp_path: Path) -> None:
    def list_night_capabilities(_: ServiceContext, tap_url: str) -> list[Capability]:
        return [Capability(standard_id="ivo://night.example/plans", url=f"{tap_url}/plans")]

    night = ServiceFace(name="night", title="Nights", list_tap_capabilities=list_night_capabilities)
    with Site(Settings(directory=tmp_path)) as site:
        context = replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL, ()), faces={"night": night})
        route = next(route for route in tap.build_tap_routes(context) if route.path == "/tap/capabilities")
        document = Client(Starlette(routes=[route])).get("/tap/capabilities").text
    assert 'standardID="ivo://night.example/plans"' in document
    assert "/tap/plans</accessURL>" in document
