"""Files that are made once and kept: tiles of tables, and pictures."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hven.formats.pictures import PictureStyle
from hven.services import drawings
from hven.services._derived_files import DerivedFileStore

SMALL = PictureStyle(size=32, axes=False)


@pytest.fixture
def picture(tmp_path: Path) -> list[tuple[Path, str]]:
    fits.PrimaryHDU(np.arange(100.0).reshape(10, 10)).writeto(tmp_path / "made.fits")
    return [(tmp_path / "made.fits", "made.fits")]


def full(_: Path) -> None:
    raise OSError(28, "No space left on device")


def files(shelf: Path) -> set[str]:
    return {one.name for one in shelf.rglob("*") if one.is_file()}


def test_what_nobody_asked_for_longest_goes_first(tmp_path: Path) -> None:
    shelf = DerivedFileStore(tmp_path, 2500, read_grace_seconds=600.0)
    places = [shelf.get_or_write(f"{at:02}", lambda file: file.write_bytes(bytes(1000))) for at in range(4)]
    for at, place in enumerate(places):
        os.utime(place, (1000 + at, 1000 + at))
    assert shelf.get_or_write("00", full) == places[0]  # it is there
    assert shelf.find_file("77") is None
    shelf.remove_old_files()
    assert [place.exists() for place in places] == [True, False, False, True]
    with pytest.raises(OSError, match="No space"):
        shelf.get_or_write("99", full)
    assert files(tmp_path) == {"00", "03"}


def test_who_may_be_reading_one_does_not_lose_it(tmp_path: Path) -> None:
    kept, given = (DerivedFileStore(tmp_path / str(reads), 2500, read_grace_seconds=reads) for reads in (600.0, 0.0))
    for shelf in (kept, given):
        for at in range(4):
            shelf.get_or_write(f"{at:02}", lambda file: file.write_bytes(bytes(1000)))
    left, old = tmp_path / "600.0" / "00" / ".left", tmp_path / "600.0" / "00" / ".old"
    for part in (left, old):
        part.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    kept.remove_old_files()
    given.remove_old_files()
    # one that is being written stays, one that was left behind goes
    assert files(tmp_path / "600.0") == {"00", "01", "02", "03", ".left"}
    assert files(tmp_path / "0.0") == {"02", "03"}


def test_it_is_made_once(tmp_path: Path) -> None:
    shelf, begun, go, written = DerivedFileStore(tmp_path, 1000), threading.Event(), threading.Event(), []

    def write(part: Path) -> None:
        begun.set()
        go.wait(10)
        written.append(part)
        part.write_bytes(b"it")

    askers = [threading.Thread(target=shelf.get_or_write, args=("it", write)) for _ in range(4)]
    for asker in askers:
        asker.start()
    begun.wait(10)
    go.set()
    for asker in askers:
        asker.join()
    assert len(written) == 1
    assert files(tmp_path) == {"it"}


def test_pictures_that_are_asked_for_are_kept(tmp_path: Path, picture: list[tuple[Path, str]]) -> None:
    shelf = DerivedFileStore(tmp_path / "shelf", 3000)
    body = drawings.get_or_draw_picture(shelf, "aa1", picture, SMALL)
    assert drawings.find_picture(shelf, "aa1") == body
    assert drawings.find_picture(shelf, "aa2") is None
    for at in range(30):
        drawings.get_or_draw_picture(shelf, f"b{at:02}", picture, SMALL)
        drawings.find_picture(shelf, "aa1")
    shelf.remove_old_files()
    assert sum(one.stat().st_size for one in (tmp_path / "shelf").rglob("*.png")) <= 3000
    assert drawings.find_picture(shelf, "aa1") == body


def test_a_picture_is_given_though_the_disk_is_full(tmp_path: Path, picture: list[tuple[Path, str]]) -> None:
    (tmp_path / "shelf").write_bytes(b"no folder can be made here")
    shelf = DerivedFileStore(tmp_path / "shelf", 3000)
    assert drawings.get_or_draw_picture(shelf, "aa1", picture, SMALL).startswith(b"\x89PNG")
    assert drawings.find_picture(shelf, "aa1") is None
