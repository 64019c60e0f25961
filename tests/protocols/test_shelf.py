"""Files that are made once and kept, such as tiles of tables."""

import os
import threading
from pathlib import Path

import pytest

from hven.services._derived_files import DerivedFileStore


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
