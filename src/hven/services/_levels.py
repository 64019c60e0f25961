"""Reductions on disk: levels of wider and wider bins, each made from the one before; a window of one is read without the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.services import _reductions as reductions
from hven.services._reductions import Bins, Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

CELLS = 262_144  # values that are written as one piece


@dataclass(frozen=True, slots=True)
class Level:
    """Bins of one width on disk.

    Attributes
    ----------
    width
        Microseconds.
    path
        Arrow, its pieces packed.
    firsts
        Number of the first bin of each piece.
    """

    width: int
    path: Path
    firsts: np.ndarray[Any, np.dtype[np.int64]]

    def bins(self, names: Sequence[str], start: int, stop: int) -> Iterator[Bins]:
        """Read the bins that a span touches.

        Parameters
        ----------
        names
            Of parameters.
        start, stop
            Microseconds since 1970.
        """
        first = max(int(np.searchsorted(self.firsts, start // self.width, "right")) - 1, 0)
        last = int(np.searchsorted(self.firsts, -(-stop // self.width)))
        with pa.memory_map(str(self.path)) as file:
            order = [field.name for field in pa.ipc.open_file(file).schema]
            columns = [order.index(each) for each in order if each == "number" or each[2:] in names]
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=columns))
            for at in range(first, last):
                found = _read(reader.get_batch(at), self.width, names).between(start, stop)
                if len(found):
                    yield found


def build(place: Path, batches: Iterable[pa.RecordBatch], names: Sequence[str], widths: Sequence[int]) -> list[Level]:
    """Make the levels of samples, each from the one before.

    Parameters
    ----------
    place
        A directory for them.
    batches
        In the order of time, as `samples` yields them.
    names
        Of parameters that are numbers.
    widths
        Of bins, each dividing the next.

    Returns
    -------
    levels
        The narrowest bins first.
    """
    levels: list[Level] = []
    for width in widths:
        if levels:
            parts = reductions.coarser(levels[-1].bins(names, -(2**62), 2**62), width)
        else:
            parts = reductions.binned(batches, width, names)
        path = place / f"{width}.arrow"
        levels.append(Level(width, path, _write(path, parts, names)))
    said = [{"width": one.width, "firsts": one.firsts.tolist()} for one in levels]
    (place / "levels.json").write_text(json.dumps(said))
    return levels


def _write(path: Path, parts: Iterable[Bins], names: Sequence[str]) -> Any:
    """Write bins, some thousand values a piece."""
    firsts: list[int] = []
    writer: pa.RecordBatchFileWriter | None = None
    waiting: list[Bins] = []
    rows = 0
    with path.open("wb") as file:

        def flush(least: int) -> None:
            nonlocal writer, waiting
            whole = reductions.concatenated(waiting)
            each = sum(one.count.shape[1] for one in whole.fields.values())
            step = max(CELLS // max(each, 1), 64)
            at = 0
            while len(whole) - at > least:
                batch = _arrow(whole[at : at + step], names)
                if writer is None:
                    writer = pa.ipc.new_file(file, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
                firsts.append(int(whole.number[at]))
                writer.write_batch(batch)
                at += step
            waiting = [whole[at:]] if at < len(whole) else []

        for part in parts:
            waiting.append(part)
            rows += len(part)
            each = sum(one.count.shape[1] for one in part.fields.values())
            if rows * max(each, 1) >= 4 * CELLS:
                flush(max(CELLS // max(each, 1), 64))
                rows = sum(map(len, waiting))
        if waiting:
            flush(0)
        if writer is None:
            writer = pa.ipc.new_file(file, pa.schema([("number", pa.int64())]))
        writer.close()
    return np.array(firsts, np.int64)


def _arrow(bins: Bins, names: Sequence[str]) -> pa.RecordBatch:
    """Turn bins into columns: of each parameter how many, their mean in the type of its values, peak, and lowest of lines."""
    columns: dict[str, pa.Array] = {"number": pa.array(bins.number)}
    for name in names:
        one = bins.fields[name]
        parts = {"n": one.count, "m": one.mean.astype(one.high.dtype), "h": one.high}
        if one.count.shape[1] == 1:
            parts["l"] = one.low
        for letter, values in parts.items():
            flat = pa.array(np.ascontiguousarray(values).ravel())
            columns[f"{letter} {name}"] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.RecordBatch.from_pydict(columns)


def _read(batch: pa.RecordBatch, width: int, names: Sequence[str]) -> Bins:
    def values(letter: str, name: str) -> Any:
        column = batch.column(f"{letter} {name}")
        return column.values.to_numpy().reshape(len(column), -1)

    fields = {}
    for name in names:
        count, mean, high = values("n", name), values("m", name), values("h", name)
        low = values("l", name) if count.shape[1] == 1 else np.broadcast_to(np.array(np.nan, high.dtype), high.shape)
        total = np.where(count > 0, mean.astype(np.float64) * count, 0.0)
        fields[name] = Values(count, total, low, high)
    return Bins(width, batch.column("number").to_numpy(), fields)


def kept(place: Path) -> list[Level]:
    """List the levels of a directory, the narrowest bins first; none: it has none.

    Parameters
    ----------
    place
        As `build` was given it.
    """
    try:
        said = json.loads((place / "levels.json").read_bytes())
    except (OSError, ValueError):
        return []
    return [Level(one["width"], place / f"{one['width']}.arrow", np.array(one["firsts"], np.int64)) for one in said]


__all__ = ["Level", "build", "kept"]
