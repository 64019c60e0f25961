"""Release pages of libraries that a process has read once: when it was started, or for a task that has ended."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from pathlib import Path

DONT_NEED_ADVICE = 4  # MADV_DONTNEED of madvise(2)
_MAPPING_PATTERN = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ \d+ +(\S.*)")
_LIBRARY_PATTERN = re.compile(r"\.so(\.[0-9.]+)?$")
_UNCHANGED_LINE = re.compile(r"^Anonymous: +0 kB$", re.MULTILINE)


def release_library_pages() -> None:
    """Release the pages of libraries that this process has mapped and cannot change, such as their code.

    Linking and importing the libraries of a server reads 90 MB of their files. The process that forks the workers needs
    hardly any of it again, and the forks map what they use anew. A worker that has counted values with DuckDB has 30 MB
    of its code. The system keeps the files in memory as long as there is room, so that a page which is needed again is
    there at once. Other threads may run meanwhile: libraries stay mapped, whereas other files may make room for memory
    of which nothing may be released.
    """
    with suppress(OSError, AttributeError):  # raised by systems without this file or call
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in _list_unchanged_mappings(Path("/proc/self/smaps").read_text(encoding="utf-8")):
            madvise(start, end - start, DONT_NEED_ADVICE)


def _list_unchanged_mappings(smaps_text: str) -> list[tuple[int, int]]:
    """List the addresses of libraries that cannot be written, and that nothing was written into before."""
    addresses: list[tuple[int, int]] = []
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps_text, flags=re.MULTILINE)
    for part in parts:
        match = _MAPPING_PATTERN.match(part)
        if match is None:
            continue
        start, end, permissions, path = match.groups()
        is_library = _LIBRARY_PATTERN.search(path.rstrip()) is not None
        if is_library and "w" not in permissions and _UNCHANGED_LINE.search(part) is not None:
            addresses.append((int(start, 16), int(end, 16)))
    return addresses
