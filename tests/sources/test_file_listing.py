"""The files of a source while other threads open them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.sources._reading.file_listing import DataFile, FileListing, _ListedFile


def test_files_are_counted_while_others_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that reads ahead opens a file between any two that are counted."""
    listed = [_ListedFile(f"/data/{number}.csv", "/data", 10, 0, False) for number in range(40)]
    files = FileListing(listed, "/data/")
    remaining = iter(range(1, 40))

    def open_another(_: DataFile) -> int:
        files[next(remaining)]
        return 3

    monkeypatch.setattr(DataFile, "bytes_read_from_disk", property(open_another))
    assert files[0].path == Path("/data/0.csv")
    assert files.bytes_read == 3
    assert files.bytes_read == 2 * 3, "the one that was opened meanwhile is counted the next time"
    assert files[-1].name == "39.csv"
    with pytest.raises(IndexError):
        files[40]
