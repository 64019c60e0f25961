"""Values of tables in files that all processes of a site map: what one has counted no other one counts again, and memory holds it once."""

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

OLD = 30 * 86_400.0  # seconds after which a file that nobody opened goes
BYTES = 1 << 30  # of all files: those that were not opened for longest go
_FAULTS = (OSError, pa.ArrowException, ValueError, KeyError)


class Files:
    """A directory of such files. Where it cannot be written, each process counts for itself."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def turn(self, seconds: float) -> Iterator[bool]:
        """Wait for other processes that count at this moment, so long at most (below 0: as long as it takes); False: one still does."""
        until = time.monotonic() + seconds
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield True
            return
        try:
            got = seconds < 0
            if got:
                fcntl.flock(lock, fcntl.LOCK_EX)
            while not got:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    got = True
                except OSError:
                    if time.monotonic() > until:
                        break
                    time.sleep(0.02)
            yield got
        finally:
            os.close(lock)

    def get(self, owner: Hashable, state: Hashable) -> tuple[Sequence[str], Mapping[str, Any]] | None:
        """Map what was kept.

        Parameters
        ----------
        owner
            Names the table, and who sees the same of it.
        state
            Names all that the values were made from.

        Returns
        -------
        names, arrays
            Of the columns; texts as Arrow has them, the others as numpy has. None: nothing was kept, or it cannot be read.
        """
        path = self._path(owner, state)
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
            os.utime(path)
            names = json.loads(batch.schema.metadata[b"names"])
            return names, {name: _array(batch.column(name).flatten()) for name in batch.schema.names}
        except _FAULTS:
            return None

    def put(self, owner: Hashable, state: Hashable, names: Sequence[str], arrays: Mapping[str, Any]) -> None:
        """Keep values, in the place of those of states of before."""
        path = self._path(owner, state)
        part = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            made = {name: _list(one) for name, one in arrays.items()}
            batch = pa.record_batch(list(made.values()), names=list(made)).replace_schema_metadata({"names": json.dumps(list(names))})  # fmt: skip
            with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            part.replace(path)
            self._sweep(path)
        except _FAULTS:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _sweep(self, newest: Path) -> None:
        """Remove what is of states of before, old, or too much; who has mapped a file keeps it."""
        there = sorted(((one, one.stat()) for one in self._directory.glob("*.arrow")), key=lambda one: -one[1].st_mtime)
        total = 0
        for path, facts in there:
            total += facts.st_size
            same = path.name.partition("-")[0] == newest.name.partition("-")[0] and path != newest
            if same or total > BYTES or facts.st_mtime < time.time() - OLD:
                path.unlink(missing_ok=True)

    def _path(self, owner: Hashable, state: Hashable) -> Path:
        whose, which = (hashlib.sha256(repr(one).encode()).hexdigest()[:24] for one in (owner, (owner, state, __version__)))  # fmt: skip
        return self._directory / f"{whose}-{which}.arrow"


def _list(one: pa.Array | npt.NDArray[Any]) -> pa.ListArray:
    if isinstance(one, np.ndarray):
        if one.dtype.kind == "S":
            kind, data = pa.binary(one.dtype.itemsize), pa.py_buffer(np.ascontiguousarray(one))
            one = pa.FixedSizeBinaryArray.from_buffers(kind, len(one), [None, data])
        else:
            one = pa.array(one)
    return pa.ListArray.from_arrays(pa.array([0, len(one)], pa.int32()), one)


def _array(one: pa.Array) -> Any:
    if pa.types.is_fixed_size_binary(one.type):
        width = one.type.byte_width
        return np.frombuffer(one.buffers()[1] or b"", f"S{width}", len(one), one.offset * width)
    return one if pa.types.is_string(one.type) else one.to_numpy(zero_copy_only=True)
