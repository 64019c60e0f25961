"""A file in memory from which writers take the bytes that libraries have written."""

from __future__ import annotations


class MemoryPipe:
    """A file that holds what was written until `take_bytes` takes it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the number of bytes that were written."""
        return self._size

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def take_bytes(self) -> bytes:
        """Take the bytes that were written since the last call."""
        data = b"".join(self._parts)
        self._parts = []
        return data
