"""Compiled templates are kept for other processes, and never change what a page says."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment

from hven.model.table import build_localized_text
from hven.portal._pages import load_templates

# constants: what filters and translations make of them must not become part of the code
TEMPLATE = "{{ 'Collections' }} {{ 'kB'|unit_text }} {{ 12345|thousands }} {{ given }}"
TEMPLATE += "{{ _(' of {limit:,} {name}', limit=2000, name=stars) }}"
ENGLISH, FRENCH = "Collections kB 12,345 x of 2,000 stars", "Collections ko 12\u202f345 x of 2\u202f000 étoiles"
STARS = build_localized_text({"en": "stars", "fr": "étoiles"})


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory for temporary files of a user who has just come."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def open_templates(language: str) -> Environment:
    """Load the templates as a new process does, with one more template."""
    environment: Environment = load_templates.__wrapped__(language)  # type: ignore[attr-defined]
    environment.loader = DictLoader({"x.html": TEMPLATE})
    return environment


def render(language: str) -> str:
    return open_templates(language).get_template("x.html").render(given="x", stars=STARS)


def refuse_to_compile(*_: object, **__: object) -> None:
    raise AssertionError("the template is compiled again")


def test_another_process_and_another_language_take_the_compiled_code(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert render("en") == ENGLISH
    [cache] = directory.iterdir()
    assert cache.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(Environment, "compile", refuse_to_compile)
    assert render("en") == ENGLISH
    assert render("fr") == FRENCH


def test_a_template_that_has_changed_is_compiled_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert render("en") == ENGLISH
    environment = open_templates("en")
    environment.loader = DictLoader({"x.html": f"{TEMPLATE}!"})
    assert environment.get_template("x.html").render(given="x", stars=STARS) == f"{ENGLISH}!"


@pytest.mark.parametrize("kept", [0, 1, 20, 60, 200])
def test_code_that_was_cut_off_is_compiled_again(directory: Path, kept: int) -> None:
    assert render("en") == ENGLISH
    [path] = directory.glob("*/*.cache")
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert render("en") == ENGLISH
    assert path.read_bytes() == whole


@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.6, 0.8, 0.999])
def test_damaged_code_is_compiled_again(directory: Path, place: float) -> None:
    """Python may crash when it loads damaged code, so it is not tried."""
    assert render("en") == ENGLISH
    [path] = directory.glob("*/*.cache")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 4
    path.write_bytes(damaged)
    assert render("en") == ENGLISH
    assert path.read_bytes() == whole


def test_pages_need_no_directory_for_temporary_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(directory / "missing"))
    assert render("fr") == FRENCH
    (directory / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(directory / "file"))
    assert render("fr") == FRENCH


def test_a_directory_that_others_can_write_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes there executes code in the server."""
    other = directory / "other"
    other.mkdir(mode=0o777)
    assert render("en") == ENGLISH
    [cache] = (path for path in directory.iterdir() if path != other)
    for path in cache.iterdir():
        path.unlink()
    cache.rmdir()
    cache.symlink_to(other)
    assert render("en") == ENGLISH
    assert not list(other.iterdir())


def test_a_full_disk_fails_no_page(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", fail)
    assert render("en") == ENGLISH
    [cache] = directory.iterdir()
    assert not list(cache.iterdir())
