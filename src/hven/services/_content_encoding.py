"""Compress bodies with gzip or zstd, as the client accepts (RFC 9110 section 12.5.3)."""

from __future__ import annotations

import zlib
from typing import Any

GZIP_LEVEL = 1  # the fastest level: a stream must not wait for the compressor
ZSTD_LEVEL = 3


def choose_encoding(accept_encoding: str) -> str | None:
    """Choose the compression of a response.

    Parameters
    ----------
    accept_encoding
        Accept-Encoding of the client.

    Returns
    -------
    encoding
        ``zstd``, ``gzip``, or None for no compression.
    """
    if not accept_encoding:
        return None
    weights: dict[str, float] = {}
    for accepted_encoding in accept_encoding.lower().split(","):
        name, _, parameters = accepted_encoding.strip().partition(";")
        weight = 1.0
        if "q=" in parameters:
            try:
                weight = float(parameters.partition("q=")[2])
            except ValueError:
                weight = 0.0
        weights[name.strip()] = weight
    usable_encodings = [name for name in ("zstd", "gzip") if weights.get(name, 0.0) > 0]
    if usable_encodings:
        return max(usable_encodings, key=lambda name: weights[name])
    return None


class StreamCompressor:
    """A streaming compressor that flushes each piece, so that clients receive rows as soon as they exist."""

    def __init__(self, encoding: str) -> None:
        self._zstd: Any = None
        self._gzip: Any = None
        if encoding == "zstd":
            import zstandard  # noqa: PLC0415  (few clients ask for it)

            self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
            self._flush_mode = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        else:
            self._gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def compress(self, data: bytes) -> bytes:
        """Compress a piece and return all bytes of it."""
        if self._gzip is not None:
            compressed = self._gzip.compress(data)
            flushed = self._gzip.flush(zlib.Z_SYNC_FLUSH)
        else:
            compressed = self._zstd.compress(data)
            flushed = self._zstd.flush(self._flush_mode)
        return bytes(compressed + flushed)

    def finish(self) -> bytes:
        """Return the bytes that end the stream."""
        if self._gzip is not None:
            return bytes(self._gzip.flush())
        return bytes(self._zstd.flush())
