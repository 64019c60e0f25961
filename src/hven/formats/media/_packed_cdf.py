"""CDF files that are compressed as a whole (CDF Internal Format Description 3.9, sections 2.1 and 2.3: CCR and CPR): unpacked into a temporary file, within a bound."""

from __future__ import annotations

import contextlib
import re
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from hven.formats.media._grids import LARGEST
from hven.model.errors import SourceError, TooLarge, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO

PLAIN = b"\0\0\xff\xff"  # the second word of a file that is not compressed
RLE, GZIP = 1, 5  # numbers of the compressions
CCR, CPR = 10, 11  # numbers of the records
_CHUNK = 1 << 20
_RUN = re.compile(rb"\x00(.)", re.DOTALL)  # a zero, and how many more follow


def unpack(path: Path, name: str) -> Path:
    """Unpack a file into a temporary one, which the caller removes.

    Parameters
    ----------
    path
        A file whose second word is not `PLAIN`.
    name
        For messages.

    Returns
    -------
    path
        Of the file without compression.

    Raises
    ------
    SourceError
        It breaks off, or is compressed in a way that nobody writes any more (Huffman).
    TooLarge
        It unpacks to more than `LARGEST` bytes.
    """
    with path.open("rb") as packed:
        magic = packed.read(4)
        wide = 8 if magic == b"\xcd\xf3\x00\x01" else 4  # bytes of sizes and offsets: versions 3 and 2
        packed.seek(8)
        size, kind = _number(packed, wide), _number(packed, 4)
        parameters, promised = _number(packed, wide), _number(packed, wide)
        packed.read(4)
        begin = packed.tell()
        packed.seek(parameters + wide)
        record, compression = _number(packed, 4), _number(packed, 4)
        if kind != CCR or record != CPR or size < begin - 8:
            raise SourceError(say("{name} is a damaged CDF: the record of its compression is none", name))
        if compression not in {RLE, GZIP}:
            raise SourceError(
                say("{name} is compressed in a way that is not read: {number}", name, compression),
                remedy=say("unpack it with cdfconvert -compression none"),
            )
        if promised > LARGEST:
            raise _too_large(name)
        packed.seek(begin)
        pieces = (_inflated if compression == GZIP else _expanded)(packed, size - (begin - 8), name)
        with tempfile.NamedTemporaryFile(prefix="hven-cdf-", suffix=".cdf", delete=False) as plain:
            try:
                plain.write(magic + PLAIN)
                _write(pieces, plain, promised, name)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(plain.name).unlink()
                raise
    return Path(plain.name)


def _write(pieces: Iterator[bytes], plain: IO[bytes], promised: int, name: str) -> None:
    """Write what was unpacked, not more than the bound and not less than was promised."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > LARGEST:
            raise _too_large(name)
        plain.write(piece)
    if size < promised:
        raise SourceError(
            say("{name} has {there} bytes, and its label promises {end}", name, size, promised),
            remedy=say("it was cut off"),
        )


def _number(file: BinaryIO, size: int) -> int:
    return int.from_bytes(file.read(size), "big")


def _too_large(name: str) -> TooLarge:
    return TooLarge(say("{name} unpacks to more than {most} MB", name, LARGEST >> 20))


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (data := file.read(min(size, _CHUNK))):
        size -= len(data)
        yield data


def _inflated(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(31)
    try:
        for data in _pieces(file, size):
            yield unpacker.decompress(data, _CHUNK)
            while unpacker.unconsumed_tail:
                yield unpacker.decompress(unpacker.unconsumed_tail, _CHUNK)
    except zlib.error as error:
        raise SourceError(say("{name} is damaged: {message}", name, str(error))) from error


def _expanded(file: BinaryIO, size: int, _name: str) -> Iterator[bytes]:
    """Write runs of zeros out: a zero is followed by a byte that says how many more there are."""
    rest = b""
    for data in _pieces(file, size):
        whole = rest + data
        # a zero at the end waits for its count; of several zeros every second one is a count
        zeros = len(whole) - len(whole.rstrip(b"\0"))
        rest = b"\0" if zeros % 2 else b""
        yield _RUN.sub(lambda run: bytes(run[1][0] + 1), whole[: len(whole) - len(rest)])


__all__ = ["PLAIN", "unpack"]
