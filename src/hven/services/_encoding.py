"""gzip and zstd of bodies, on request (RFC 9110 section 12.5.3)."""

from __future__ import annotations

import zlib
from typing import Any

GZIP_LEVEL = 1  # streams must not wait for the compressor
ZSTD_LEVEL = 3


def choose_encoding(accept_encoding: str) -> str | None:
    """Choose between zstd, gzip and none by the reader's Accept-Encoding."""
    if not accept_encoding:
        return None
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.strip().partition(";")
        weight = 1.0
        if "q=" in parameters:
            try:
                weight = float(parameters.partition("q=")[2])
            except ValueError:
                weight = 0.0
        weights[name.strip()] = weight
    offered = [name for name in ("zstd", "gzip") if weights.get(name, 0.0) > 0]
    if offered:
        return max(offered, key=lambda name: weights[name])
    return None


class StreamCompressor:
    """A streaming compressor that flushes what it is fed, so that readers see rows as they come."""

    def __init__(self, encoding: str) -> None:
        self._zstd: Any = None
        self._gzip: Any = None
        if encoding == "zstd":
            import zstandard  # noqa: PLC0415  (few files are packed so)

            self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
            self._flush_mode = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        else:
            self._gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def compress(self, data: bytes) -> bytes:
        """Compress a piece."""
        if self._gzip is not None:
            return bytes(self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH))
        return bytes(self._zstd.compress(data) + self._zstd.flush(self._flush_mode))

    def finish(self) -> bytes:
        """Close the stream."""
        if self._gzip is not None:
            return bytes(self._gzip.flush())
        return bytes(self._zstd.flush())
