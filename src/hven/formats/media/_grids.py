"""Numbers as they lie in a file: typed, strided, read by spans, so that a window costs what it holds."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media._plain import in_order, read_plain
from hven.model.errors import HvenError, SourceError, TooLarge, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    Window = Sequence[slice]
    from hven.formats.media._distant import Place

LARGEST = 1 << 30  # bytes that a file may unpack to, or be fetched of one that its reader must have on the disk


class Layout(NamedTuple):
    """Where an array lies in a file.

    Attributes
    ----------
    offset
        Bytes before its first value.
    dtype
        Of its values as they are stored; ``vax`` says that they are VAX's reals.
    shape
        In the order in which it is shown.
    strides
        Bytes from one value to the next along each axis; empty: without gaps.
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    vax: bool = False


class Scale(NamedTuple):
    """What stored values mean: value * factor + zero; nulls, and what lies outside of the valid range, are NaN.

    Attributes
    ----------
    factor, zero
        Of all values.
    nulls
        As they are stored.
    least
        The lowest valid one as stored.
    mask
        Bits that count; None: all.
    """

    factor: float = 1.0
    zero: float = 0.0
    nulls: tuple[float, ...] = ()
    least: float | None = None
    mask: int | None = None


EXACT = Scale()


def spans(path: Place, layout: Layout, window: Window) -> npt.NDArray[Any]:
    """Read a window: spans of the file with little between its values.

    Parameters
    ----------
    path
        Of the file.
    layout
        Where the array lies, with its strides.
    window
        A slice with two ends for each axis.

    Returns
    -------
    values
        As they are stored, of the window's shape.

    Raises
    ------
    SourceError
        The file ends before.
    """
    with path.open("rb", buffering=0) as file:
        try:
            return read_plain(file, layout.offset, layout.strides, layout.dtype, window)
        except OSError:
            raise SourceError(say("{name} ends where its values should be", path.name)) from None


def mapped(path: Place, layout: Layout, scale: Scale = EXACT) -> tuple[np.dtype[Any], Callable[[Window], npt.NDArray[Any]]]:  # fmt: skip
    """Make what reads windows of an array.

    Parameters
    ----------
    path
        Of a file.
    layout
        Where the array lies in it.
    scale
        What its values mean.

    Returns
    -------
    dtype
        Of what is read.
    read
        Reads a window.

    Raises
    ------
    SourceError
        The file is too short for it, or the array has no size.
    """
    shape = layout.shape
    if min(shape, default=0) < 1:
        raise SourceError(say("an array of {name} has no size", path.name))
    strides = layout.strides or in_order(shape, layout.dtype)
    end = layout.offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + layout.dtype.itemsize  # fmt: skip
    there = path.stat().st_size
    if layout.offset < 0 or min(strides) < 1 or end > there:
        raise SourceError(
            say("{name} has {there} bytes, and its label promises {end}", path.name, there, end),
            remedy=say("it was cut off, or the label is another file's"),
        )
    stored = layout.dtype
    plain = stored.newbyteorder("=")
    exact = scale.factor == 1.0 and scale.zero == 0.0 and not scale.nulls and scale.least is None
    if layout.vax:
        plain = np.dtype("f4")
    meant = plain if exact or plain.kind == "f" else np.dtype("f4" if plain.itemsize <= 2 else "f8")
    if not exact and (scale.factor, scale.zero) != (1.0, 0.0) and plain.itemsize > 2:
        meant = np.dtype("f8")

    def read(window: Window) -> npt.NDArray[Any]:
        values = np.ascontiguousarray(spans(path, layout._replace(strides=strides), window))
        if layout.vax:
            values = vax(values)
        values = values.astype(plain, copy=False)
        if scale.mask is not None:
            values &= plain.type(scale.mask)
        if exact:
            return values
        made = values.astype(meant)
        if (scale.factor, scale.zero) != (1.0, 0.0):
            made = made * meant.type(scale.factor) + meant.type(scale.zero)
        for null in scale.nulls:
            made[values == null] = np.nan
        if scale.least is not None:
            made[values < scale.least] = np.nan
        return made

    return meant, read


def beside(folder: Place, name: str) -> Place:
    """Find a file that a label names: in the label's own folder, whatever its case.

    Parameters
    ----------
    folder
        Where the label lies.
    name
        As the label has it.

    Returns
    -------
    path
        Of a plain file.

    Raises
    ------
    SourceError
        It lies elsewhere, or is not there.
    """
    plain = re.fullmatch(r"[\w .+~()-]+", name) and name not in {".", ".."}
    if not plain:
        raise SourceError(
            say("the label points to {name!r}", name[:100]), remedy=say("only files beside the label are read")
        )
    home = folder.resolve()
    for path in (home / name, home / name.lower(), home / name.upper()):
        if path.is_file():
            if path.resolve().parent != home:
                raise SourceError(say("the label points to {name!r}", name[:100]), remedy=say("only files beside the label are read"))  # fmt: skip
            return path
    raise SourceError(say("the label points to {name}, which is not there", name))


def vax(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Turn VAX's reals of 4 bytes (F) into IEEE's: words swapped, and 4 times as large."""
    words = values.view(np.uint32)
    turned = (words >> np.uint32(16)) | (words << np.uint32(16))
    found = turned.view(np.float32) / np.float32(4.0)
    found[(turned & np.uint32(0x7F800000)) == 0] = 0.0
    return np.asarray(found, np.float32)


class BitPattern(int):
    """A whole number that a label writes with its radix (``16#8001#``, ``0x8001``): the bits of a value, whatever its type."""


def bits(value: object, dtype: np.dtype[Any]) -> float | None:
    """Read a constant of a label for values of a type: a number, or the bits of one.

    Parameters
    ----------
    value
        As the label has it. A `BitPattern` (``16#FF7FFFFB#``) holds the bits of a real, or of a signed number in two's complement; so does a whole number that the type cannot hold.
    dtype
        Of the values.

    Returns
    -------
    constant
        In the file's own unit; None: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    size = 8 * dtype.itemsize
    if isinstance(value, int) and 0 <= value < 1 << size:
        if dtype.kind == "f" and size in {32, 64} and (isinstance(value, BitPattern) or value >= 1 << (size - 1)):
            return float(np.array(value, f"u{dtype.itemsize}").view(f"f{dtype.itemsize}"))
        if dtype.kind == "i" and value >= 1 << (size - 1):
            return float(value - (1 << size))
    if dtype.kind == "f" and size == 32 and abs(value) <= float(np.finfo(np.float32).max):
        return float(np.float32(value))  # as the values are: labels write seven or eight digits of it
    return float(value)


@contextmanager
def guarded(name: str, title: str) -> Iterator[None]:
    """Turn what a library raises of a bad file into a fault with its name.

    Parameters
    ----------
    name
        Of the file.
    title
        Of its medium.

    Raises
    ------
    SourceError
        Whatever it raised.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (HvenError, FileNotFoundError, PermissionError, GeneratorExit):
            raise
        except Exception as fault:  # noqa: BLE001  (libraries meet bad bytes with whatever comes up)
            why = " ".join(str(fault).split())[:200] or type(fault).__name__
            raise SourceError(say("{name} is damaged, or no {title} file: {reason}", name, title, why)) from None


def on_disk(file: Place) -> tuple[Path, Callable[[], None]]:
    """Have a file on the disk, for readers that need its path.

    Parameters
    ----------
    file
        One on another server is copied.

    Returns
    -------
    path
        Of the file or its copy.
    closing
        Removes the copy.

    Raises
    ------
    TooLarge
        There is more of it than is fetched.
    """
    if isinstance(file, Path):
        return file, lambda: None
    folder = Path(tempfile.mkdtemp(prefix="hven-"))
    path = folder / "file"
    try:
        with path.open("wb") as copy, file.open("rb") as source:
            while chunk := source.read(1 << 20):
                copy.write(chunk)
                if copy.tell() > LARGEST:
                    raise TooLarge(  # noqa: TRY301
                        say("files of more than {most} MB are read where they lie alone", LARGEST >> 20)
                    )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path, lambda: shutil.rmtree(folder, ignore_errors=True)


__all__ = ["LARGEST", "BitPattern", "Layout", "Scale", "beside", "bits", "guarded", "mapped", "on_disk", "spans", "vax"]
