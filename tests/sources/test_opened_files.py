"""What a source opens is a binary file, packed or not: programs that read files take it."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import lzma
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard

from hven.model.errors import SourceError
from hven.sources._reading.data_files import DataFile

TEXT = "".join(f"{number},é{number}\n" for number in range(5_000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "bz2 in small blocks": partial(bz2.compress, compresslevel=1),
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.fixture(params=PACKERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> DataFile:
    (tmp_path / "rows.csv").write_bytes(PACKERS[request.param](TEXT.encode()))
    return DataFile(name="rows.csv", path=tmp_path / "rows.csv")


def test_it_is_read_to_its_end_without_a_size(file: DataFile) -> None:
    for size in ((), (-1,), (None,)):
        with file.open_stream() as stream:
            assert stream.read(3) == TEXT.encode()[:3]
            assert stream.read(*size) == TEXT.encode()[3:]
            assert stream.read() == b""
            file.read_to_end()
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()


def test_readers_of_files_take_it(file: DataFile) -> None:
    with io.TextIOWrapper(file.open_stream(), encoding="utf-8", newline="") as lines:
        assert [row[0] for row in csv.reader(lines)] == [str(number) for number in range(5_000)]
    with file.open_stream() as stream:
        assert stream.readable()
        assert not stream.seekable()
        assert b"".join(stream) == TEXT.encode()
    with file.open_stream() as stream:
        buffer = bytearray(10)
        assert stream.readinto(buffer) == 10
        assert bytes(buffer) == TEXT.encode()[:10]


def test_damage_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(TEXT.encode())[:-20])
    file = DataFile(name="rows.csv.gz", path=tmp_path / "rows.csv.gz")
    with (
        file.open_stream() as stream,
        pytest.raises(SourceError, match=r"rows\.csv\.gz is damaged or truncated \(gz\)"),
    ):
        stream.read()
