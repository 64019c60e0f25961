"""Read typed and strided numbers from a file by spans, so that a window costs what it contains."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.formats.media._window_reads import read_window
from hven.model.errors import HvenError, SourceError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    Window = Sequence[slice]
    from hven.formats.media._remote_files import Place

# bytes that a file may unpack to, and of a file on another server that is copied to the disk
MAX_UNPACKED_BYTES = 1 << 30


class ArrayLayout(NamedTuple):
    """The place and the type of an array in a file.

    Attributes
    ----------
    offset
        Bytes before the first value.
    dtype
        Type of the stored values.
    shape
        Shape, in the order in which the array is shown.
    strides
        Bytes from one value to the next along each axis; empty: contiguous.
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()


def read_window_values(path: Place, layout: ArrayLayout, window: Window) -> npt.NDArray[Any]:
    """Read a window as spans of the file with little between its values.

    Parameters
    ----------
    path
        Path of the file.
    layout
        Place of the array, with its strides.
    window
        A slice with two ends for each axis.

    Returns
    -------
    values
        Stored values, of the shape of the window.

    Raises
    ------
    SourceError
        The file ends before the window does.
    """
    with path.open("rb", buffering=0) as file:
        try:
            return read_window(file, layout.offset, layout.strides, layout.dtype, window)
        except OSError:
            raise SourceError(format_message("{name} is truncated: it ends before its last value", path.name)) from None


@contextmanager
def convert_library_errors(name: str, title: str) -> Iterator[None]:
    """Convert what a library raises for a bad file to an error with the name of the file.

    Parameters
    ----------
    name
        Name of the file.
    title
        Title of its medium.

    Raises
    ------
    SourceError
        The library raised an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (HvenError, FileNotFoundError, PermissionError, GeneratorExit):
            raise
        except Exception as fault:  # noqa: BLE001  (libraries meet bad bytes with whatever comes up)
            words = str(fault).split()
            reason = " ".join(words)[:200] or type(fault).__name__
            raise SourceError(
                format_message("{name} is damaged, or not a valid {title} file: {reason}", name, title, reason)
            ) from None


def create_unpacked_size_error(name: str, max_bytes: int, remedy: str = "") -> TooLargeError:
    """Create the error for a file that unpacks to more than a limit.

    Parameters
    ----------
    name
        Name of the file, or a description of the part that is too large.
    max_bytes
        The limit.
    remedy
        What to do about it.

    Returns
    -------
    error
        The error, to be raised.
    """
    message = format_message("after decompression, {name} is larger than the limit of {most} MB", name, max_bytes >> 20)
    return TooLargeError(message, remedy=remedy)


def copy_remote_file_to_disk(file: Place) -> tuple[Path, Callable[[], None]]:
    """Return a path on the disk for readers that need one.

    Parameters
    ----------
    file
        File; one on another server is copied.

    Returns
    -------
    path
        Path of the file or of its copy.
    closing
        Function that removes the copy.

    Raises
    ------
    TooLargeError
        The file is larger than the limit of copies.
    """
    if isinstance(file, Path):
        return file, lambda: None
    folder = Path(tempfile.mkdtemp(prefix="hven-"))
    path = folder / "file"
    try:
        with path.open("wb") as copy, file.open("rb") as source:
            while chunk := source.read(1 << 20):
                copy.write(chunk)
                if copy.tell() > MAX_UNPACKED_BYTES:
                    raise TooLargeError(  # noqa: TRY301
                        format_message(
                            "Hven reads files of more than {most} MB only from the local disk", MAX_UNPACKED_BYTES >> 20
                        )
                    )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path, lambda: shutil.rmtree(folder, ignore_errors=True)
