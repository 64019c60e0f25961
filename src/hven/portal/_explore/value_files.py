"""Store counted values of tables in files, which all processes of a site map into memory.

Each table is counted by one process only, and its values are in memory once.
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

MAX_AGE_SECONDS = 30 * 86_400.0  # a file that was not opened for so long is removed
MAX_TOTAL_BYTES = 1 << 30  # of all files; the least recently opened ones are removed first
_READ_ERRORS = (OSError, pa.ArrowException, ValueError, KeyError)


class SharedArrayFileCache:
    """A directory of such files. If it is not writable, each process counts for itself."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def wait_for_counting_lock(self, timeout_seconds: float) -> Iterator[bool]:
        """Wait until no other process counts; yield False if one still does after `timeout_seconds`.

        A negative timeout waits without limit.

        Parameters
        ----------
        timeout_seconds
            Seconds to wait.

        Returns
        -------
        has_lock
            A context: True unless another process still counts.
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

    def read_arrays(self, owner: Hashable, content_key: Hashable) -> tuple[Sequence[str], Mapping[str, Any]] | None:
        """Map stored arrays.

        Parameters
        ----------
        owner
            Identifies the table and the access of its readers.
        content_key
            Identifies everything that the values depend on.

        Returns
        -------
        names, arrays
            The names of columns, and the arrays: texts as Arrow arrays, others as numpy arrays. None if there is no
            readable file.
        """
        path = self._build_path(owner, content_key)
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
            os.utime(path)
            names = json.loads(batch.schema.metadata[b"names"])
            return names, {name: _to_numpy(batch.column(name).flatten()) for name in batch.schema.names}
        except _READ_ERRORS:
            return None

    def write_arrays_and_remove_old_files(
        self, owner: Hashable, content_key: Hashable, column_names: Sequence[str], arrays: Mapping[str, Any]
    ) -> None:
        """Store arrays in place of those of earlier states.

        Parameters
        ----------
        owner
            Identifies the table and the access of its readers.
        content_key
            Identifies everything that the values depend on.
        column_names
            Names of the columns.
        arrays
            Arrays of Arrow or numpy, by name.
        """
        path = self._build_path(owner, content_key)
        partial_file = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            lists = {name: _to_list_array(values) for name, values in arrays.items()}
            metadata = {"names": json.dumps(list(column_names))}
            batch = pa.record_batch(list(lists.values()), names=list(lists)).replace_schema_metadata(metadata)
            with pa.OSFile(str(partial_file), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            partial_file.replace(path)
            self._remove_old_files(path)
        except _READ_ERRORS:
            with suppress(OSError):
                partial_file.unlink(missing_ok=True)

    def _remove_old_files(self, newest_file: Path) -> None:
        """Remove files that are superseded, too old or too many; processes that have mapped them keep them."""
        files_with_status = [(arrow_file, arrow_file.stat()) for arrow_file in self._directory.glob("*.arrow")]
        stored_files = sorted(files_with_status, key=lambda pair: -pair[1].st_mtime)
        total = 0
        for path, facts in stored_files:
            total += facts.st_size
            has_same_owner = path.name.partition("-")[0] == newest_file.name.partition("-")[0]
            is_superseded = has_same_owner and path != newest_file
            is_too_old = facts.st_mtime < time.time() - MAX_AGE_SECONDS
            if is_superseded or is_too_old or total > MAX_TOTAL_BYTES:
                path.unlink(missing_ok=True)

    def _build_path(self, owner: Hashable, content_key: Hashable) -> Path:
        owner_digest, state_digest = (
            hashlib.sha256(repr(identity).encode()).hexdigest()[:24]
            for identity in (owner, (owner, content_key, __version__))
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
