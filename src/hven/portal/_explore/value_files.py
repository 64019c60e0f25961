"""Values of tables in files that all processes of a site map.

What one has counted no other one counts again, and memory holds it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven import __version__

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

MAX_AGE_SECONDS = 30 * 86_400.0  # seconds after which a file that nobody opened goes
MAX_TOTAL_BYTES = 1 << 30  # of all files: those that were not opened for longest go
_READ_ERRORS = (OSError, pa.ArrowException, ValueError, KeyError)


class ValueFiles:
    """A directory of such files. Where it cannot be written, each process counts for itself."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def lock_counting(self, timeout_seconds: float) -> Iterator[bool]:
        """Wait for other processes that count at this moment, so long at most (below 0: as long as it takes); False.

        One still does.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield True
            return
        try:
            is_locked = timeout_seconds < 0
            if is_locked:
                fcntl.flock(lock, fcntl.LOCK_EX)
            while not is_locked:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    is_locked = True
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)
            yield is_locked
        finally:
            os.close(lock)

    def read_arrays(self, owner: Hashable, page_context: Hashable) -> tuple[Sequence[str], Mapping[str, Any]] | None:
        """Map what was kept.

        Parameters
        ----------
        owner
            Names the table, and who sees the same of it.
        page_context
            Names all that the values were made from.

        Returns
        -------
        names, arrays
            Of the columns; texts as Arrow has them, the others as numpy has. None: nothing was kept, or it cannot be
            read.
        """
        path = self._build_path(owner, page_context)
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
            os.utime(path)
            names = json.loads(batch.schema.metadata[b"names"])
            return names, {name: _to_numpy(batch.column(name).flatten()) for name in batch.schema.names}
        except _READ_ERRORS:
            return None

    def write_arrays(
        self, owner: Hashable, page_context: Hashable, column_names: Sequence[str], arrays: Mapping[str, Any]
    ) -> None:
        """Keep values, in the place of those of states of before."""
        path = self._build_path(owner, page_context)
        partial_file = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            lists = {name: _to_list_array(values) for name, values in arrays.items()}
            batch = pa.record_batch(list(lists.values()), names=list(lists)).replace_schema_metadata(
                {"names": json.dumps(list(column_names))}
            )
            with pa.OSFile(str(partial_file), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            partial_file.replace(path)
            self._remove_old_files(path)
        except _READ_ERRORS:
            with suppress(OSError):
                partial_file.unlink(missing_ok=True)

    def _remove_old_files(self, newest_file: Path) -> None:
        """Remove what is of states of before, old, or too much; who has mapped a file keeps it."""
        stored_files = sorted(
            ((arrow_file, arrow_file.stat()) for arrow_file in self._directory.glob("*.arrow")),
            key=lambda arrow_file: -arrow_file[1].st_mtime,
        )
        total = 0
        for path, facts in stored_files:
            total += facts.st_size
            is_superseded = path.name.partition("-")[0] == newest_file.name.partition("-")[0] and path != newest_file
            if is_superseded or total > MAX_TOTAL_BYTES or facts.st_mtime < time.time() - MAX_AGE_SECONDS:
                path.unlink(missing_ok=True)

    def _build_path(self, owner: Hashable, page_context: Hashable) -> Path:
        owner_digest, state_digest = (
            hashlib.sha256(repr(identity).encode()).hexdigest()[:24]
            for identity in (owner, (owner, page_context, __version__))
        )
        return self._directory / f"{owner_digest}-{state_digest}.arrow"


def _to_list_array(values: pa.Array | npt.NDArray[Any]) -> pa.ListArray:
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "S":
            kind = pa.binary(values.dtype.itemsize)
            data = pa.py_buffer(np.ascontiguousarray(values))
            values = pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, data])
        else:
            values = pa.array(values)
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _to_numpy(values: pa.Array) -> Any:
    if pa.types.is_fixed_size_binary(values.type):
        width = values.type.byte_width
        return np.frombuffer(values.buffers()[1] or b"", f"S{width}", len(values), values.offset * width)
    if pa.types.is_string(values.type):
        return values
    return values.to_numpy(zero_copy_only=True)
