"""Unpack CDF files that are compressed as a whole (CDF Internal Format Description 3.9, 2.1 and 2.3: CCR, CPR).

They are unpacked into a temporary file of limited size.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from hven.formats.media.api import MAX_UNPACKED_BYTES, create_unpacked_size_error
from hven.model.errors import SourceError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO

UNCOMPRESSED_MAGIC = b"\0\0\xff\xff"  # the second word of an uncompressed file
RLE_COMPRESSION, GZIP_COMPRESSION = 1, 5  # numbers of the compressions
CCR_RECORD_TYPE, CPR_RECORD_TYPE = 10, 11  # numbers of the records
_CHUNK_BYTES = 1 << 20
_ZERO_RUN_PATTERN = re.compile(rb"\x00(.)", re.DOTALL)  # a zero, and how many more follow


def unpack_cdf(path: Path, name: str) -> Path:
    """Unpack a file into a temporary one, which the caller removes.

    Parameters
    ----------
    path
        A file whose second word is not `UNCOMPRESSED_MAGIC`.
    name
        Name of the file in messages.

    Returns
    -------
    path
        Path of the uncompressed file.

    Raises
    ------
    SourceError
        The file breaks off, or is compressed in a way that is no longer in use (Huffman).
    TooLargeError
        The file unpacks to more than `MAX_UNPACKED_BYTES` bytes.
    """
    with path.open("rb") as packed_file:
        magic = packed_file.read(4)
        offset_bytes = 8 if magic == b"\xcd\xf3\x00\x01" else 4  # size of offsets: version 3, or version 2
        packed_file.seek(8)
        size = _read_number(packed_file, offset_bytes)
        kind = _read_number(packed_file, 4)
        parameters = _read_number(packed_file, offset_bytes)
        unpacked_bytes = _read_number(packed_file, offset_bytes)
        packed_file.read(4)
        begin = packed_file.tell()
        packed_file.seek(parameters + offset_bytes)
        record = _read_number(packed_file, 4)
        compression = _read_number(packed_file, 4)
        if kind != CCR_RECORD_TYPE or record != CPR_RECORD_TYPE or size < begin - 8:
            raise SourceError(format_message("{name} is a damaged CDF file: it has no compression record", name))
        if compression not in {RLE_COMPRESSION, GZIP_COMPRESSION}:
            message = format_message(
                "{name} has the compression type {number}, which Hven cannot read", name, compression
            )
            raise SourceError(message, remedy=format_message("decompress the file with `cdfconvert -compression none`"))
        if unpacked_bytes > MAX_UNPACKED_BYTES:
            raise _create_too_large_error(name)
        packed_file.seek(begin)
        packed_pieces = _read_pieces(packed_file, size - (begin - 8))
        is_gzip = compression == GZIP_COMPRESSION
        if is_gzip:
            pieces = _decompress_gzip(packed_pieces, name)
        else:
            pieces = _expand_zero_runs(packed_pieces)
        with tempfile.NamedTemporaryFile(prefix="hven-cdf-", suffix=".cdf", delete=False) as unpacked_file:
            try:
                unpacked_file.write(magic + UNCOMPRESSED_MAGIC)
                _write_unpacked_and_check_size(pieces, unpacked_file, unpacked_bytes, name)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(unpacked_file.name).unlink()
                raise
    return Path(unpacked_file.name)


def _write_unpacked_and_check_size(
    pieces: Iterator[bytes], unpacked_file: IO[bytes], declared_bytes: int, name: str
) -> None:
    """Write the unpacked bytes; refuse more than the limit and less than the file declares."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_UNPACKED_BYTES:
            raise _create_too_large_error(name)
        unpacked_file.write(piece)
    if size < declared_bytes:
        raise SourceError(
            format_message(
                "{name} is {there} bytes long after decompression, but its header states a size of {end} bytes",
                name,
                size,
                declared_bytes,
            ),
            remedy=format_message("download the file again; it is truncated"),
        )


def _read_number(file: BinaryIO, size: int) -> int:
    return int.from_bytes(file.read(size), "big")


def _create_too_large_error(name: str) -> TooLargeError:
    remedy = format_message("leave large files uncompressed, or compress their variables instead of the whole file")
    return create_unpacked_size_error(name, MAX_UNPACKED_BYTES, remedy)


def _read_pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (data := file.read(min(size, _CHUNK_BYTES))):
        size -= len(data)
        yield data


def _decompress_gzip(packed_pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(31)
    try:
        for data in packed_pieces:
            yield unpacker.decompress(data, _CHUNK_BYTES)
            while unpacker.unconsumed_tail:
                yield unpacker.decompress(unpacker.unconsumed_tail, _CHUNK_BYTES)
    except zlib.error as error:
        raise SourceError(format_message("{name} is damaged: {message}", name, str(error))) from error


def _expand_zero_runs(packed_pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Expand runs of zeros: a zero is followed by a byte that says how many more zeros there are."""
    pending_bytes = b""
    for data in packed_pieces:
        available_bytes = pending_bytes + data
        # a zero at the end waits for its count; of several zeros every second one is a count
        zeros = len(available_bytes) - len(available_bytes.rstrip(b"\0"))
        pending_bytes = b"\0" if zeros % 2 else b""
        complete_bytes = available_bytes[: len(available_bytes) - len(pending_bytes)]
        yield _ZERO_RUN_PATTERN.sub(lambda run: bytes(run[1][0] + 1), complete_bytes)
