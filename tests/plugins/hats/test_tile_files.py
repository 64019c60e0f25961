"""Files of partitions are read in pieces, from any byte to any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.model.errors import StorageError
from hven.plugins.hats.tile_files import read_tile_pieces_with_wait_marks


def test_a_range_of_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "00"
    file.write_bytes(bytes(1000))
    assert list(read_tile_pieces_with_wait_marks(file, 990, 1000))[-1] == bytes(10)


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "00"
    file.write_bytes(bytes(1000))
    with pytest.raises(StorageError, match="00 became shorter while it was being read"):
        list(read_tile_pieces_with_wait_marks(file, 990, 1010))
