"""Kinds that recognise a catalogue of many files by what is in it: `hven new` asks each of them, and none of them by its name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hven.model import plugins
from hven.model.errors import SourceError
from hven.model.settings import Settings
from hven.plugins.drafts.source_discovery import recognize_catalogue
from hven.sources import CatalogueSignature, SourceContext, file_kinds

PLACES: list[str] = []


def find_pile(path: str, context: SourceContext) -> str | None:
    PLACES.append(path)
    if path.endswith("refused"):
        raise SourceError("the server refuses")
    return path.removesuffix("/index.txt") if "pile" in path else None


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a kind of catalogues, and one of files."""
    modules = {
        "pile": SimpleNamespace(CATALOGUE=CatalogueSignature(find_root=find_pile, option="place", engine="heap")),
        "plain": SimpleNamespace(),
    }
    monkeypatch.setattr(plugins, "list_plugins", lambda _: tuple(modules))
    monkeypatch.setattr(plugins, "load_plugin", lambda _, name: modules[name])
    PLACES.clear()


def recognize(source: str, tmp_path: Path, kind: str | None = None) -> tuple[str, dict[str, str]] | None:
    return recognize_catalogue(Settings(directory=tmp_path), source, tmp_path / "collections" / "c", kind)


def test_a_directory_and_an_address_are_recognised(tmp_path: Path) -> None:
    assert recognize("/data/pile/index.txt", tmp_path) == ("pile", {"place": "/data/pile"})
    assert recognize("https://h.example/pile", tmp_path) == ("pile", {"place": "https://h.example/pile"})
    assert recognize("/data/other", tmp_path) is None
    assert recognize("https://h.example/refused", tmp_path) is None  # what the server says of the file itself is told


def test_what_cannot_be_a_catalogue_is_not_looked_into(tmp_path: Path) -> None:
    for source in ("ftp://h.example/pile", "https://h.example/pile?x=1"):
        assert recognize(source, tmp_path) is None
    assert recognize("/data/pile", tmp_path, "plain") is None
    assert PLACES == []


def test_a_kind_that_the_curator_names_is_believed(tmp_path: Path) -> None:
    assert recognize("/data/other", tmp_path, "pile") == ("pile", {"place": "/data/other"})
    with pytest.raises(SourceError, match="refuses"):
        recognize("https://h.example/refused", tmp_path, "pile")


def test_the_signature_of_a_kind_names_its_engine() -> None:
    signature = file_kinds.find_catalogue_signature("pile")
    assert signature is not None
    assert signature.engine == "heap"
    assert file_kinds.find_catalogue_signature("plain") is None
