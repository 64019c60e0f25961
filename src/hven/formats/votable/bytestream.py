"""Read the bytes of a file as UTF-8 chunks: decompress gzip, and convert other encodings to UTF-8."""

from __future__ import annotations

import codecs
import re
import zlib
from typing import TYPE_CHECKING, BinaryIO

from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 1 << 20
_ENCODING_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._\-]+)[\"']")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (b"\0<", "utf-16-be"),
    (b"<\0", "utf-16-le"),
)


def read_utf8_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Read a file chunk by chunk, as UTF-8.

    Raises
    ------
    SourceError
        The file is empty, its gzip data break off, or its bytes are not in the encoding that the document declares.
    """
    stream = _decompress_if_gzipped(file)
    start = b""
    for chunk in stream:
        start += chunk
        if len(start) >= 256:
            break
    if not start.strip():
        raise SourceError("the file is empty")
    encoding = _detect_encoding(start)
    if encoding in {"utf-8", "ascii"}:
        yield start
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        first = decoder.decode(start).lstrip("\ufeff")
        yield re.sub(r"(<\?xml[^>]*?\sencoding\s*=\s*[\"'])[^\"']*", r"\1UTF-8", first, count=1).encode()
        for chunk in stream:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        message = f"the document is not in the encoding that it declares ({encoding}): {error}"
        raise SourceError(message) from error


def _detect_encoding(start: bytes) -> str:
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name
    declared = _ENCODING_DECLARATION.match(start)
    if declared is None:
        return "utf-8"
    try:
        name = codecs.lookup(declared.group(1).decode()).name
    except LookupError:
        message = f"the document declares the encoding {declared.group(1).decode()!r}, which Hven does not know"
        raise SourceError(message) from None
    # a document in 8-bit text that declares UTF-16 is mistaken
    if not name.startswith("utf-16"):
        return name
    return "utf-8"


def _decompress_if_gzipped(file: BinaryIO) -> Iterator[bytes]:
    """Decompress gzip, member after member."""
    chunk = file.read(CHUNK_BYTES)
    if not chunk.startswith(b"\x1f\x8b"):
        while chunk:
            yield chunk
            chunk = file.read(CHUNK_BYTES)
        return
    decompressor = zlib.decompressobj(31)
    try:
        while chunk:
            data = decompressor.decompress(chunk, CHUNK_BYTES)
            if data:
                yield data
            if decompressor.eof:
                chunk = decompressor.unused_data or file.read(CHUNK_BYTES)
                if chunk and not chunk.startswith(b"\x1f"):
                    break  # padding after the last member
                decompressor = zlib.decompressobj(31)
            else:
                chunk = decompressor.unconsumed_tail or file.read(CHUNK_BYTES)
                if not chunk:
                    raise SourceError("the gzip stream is truncated")
    except zlib.error as error:
        message = f"the gzip stream is damaged: {error}"
        raise SourceError(message) from error
