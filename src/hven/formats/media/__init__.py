"""The files behind the rows: what is in them, read by windows. One file per medium, whose name is the file's.

A medium's module has `MEDIUM`, a :class:`Medium`. It opens a file as a `Product` of parts: arrays (`ArrayPart`), read a
window at a time, and tables (`TablePart`), read as Arrow batches; nothing is read before it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.formats.media import _cutout_params as cutout_params
from hven.formats.media import _rotated_copies as rotated_copies
from hven.formats.media._conversions import write_fits_file, write_votable_file
from hven.formats.media._cutouts import StreamedFile, cut_product
from hven.formats.media._external_tables import open_external_product
from hven.formats.media._file_samples import FileSamples
from hven.formats.media._flat_tables import open_text_table
from hven.formats.media._pixel_windows import Selection, find_window
from hven.formats.media._product import ArrayPart, Axis, HeaderCard, Part, Product, TablePart
from hven.formats.media._pvl_labels import MAX_LABEL_BYTES, parse_label
from hven.formats.media._rasters import open_raster
from hven.formats.media._remote_files import Place, RemoteFile
from hven.formats.media._spectral_axes import convert_to_mjd, convert_to_wavelengths
from hven.model import plugins
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hven.formats.media._external_tables import Ask


SIGNATURE_BYTES = 8192  # bytes by which a file's medium is told
_RASTER_NAME_PATTERN = re.compile(r"(?i).*\.(tiff?|gtiff?|jp2|j2k|jpx)")
MAX_PARTS = 1000  # parts of a file that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """A kind of product file: ``MEDIUM`` of its module.

    Attributes
    ----------
    name
        As its module's.
    title
        For people.
    media_types
        The usual one first.
    extensions
        Of files' names, in lower case: ``fits``.
    signature_pattern
        A regular expression for how files begin; empty: only their names tell.
    open
        Opens a file, on the disk or on another server (`RemoteFile`); raises `SourceError` where it is none or damaged.
    is_label
        It is read together with files beside it (a label): only files have that.
    refinement
        The medium whose files some of its are, and what makes a product of its own of an open one of that; None where
        it is none.
    read_cards
        Reads what is said of a file as a whole, where that is less work than to open it.
    """

    name: str
    title: str
    media_types: tuple[str, ...]
    extensions: tuple[str, ...]
    signature_pattern: bytes = b""
    open: Callable[[Place], Product]
    is_label: bool = False
    refinement: tuple[str, Callable[[Product], Product | None]] | None = None
    read_cards: Callable[[Place], Iterable[HeaderCard]] | None = None


def list_media() -> Mapping[str, Medium]:
    """List every medium, by name: built-in and plugged in.

    Returns
    -------
    media
        Those whose libraries are installed.
    """
    media_by_name: dict[str, Medium] = plugins.load_records("media")
    return media_by_name


def detect_medium(name: str, signature: bytes = b"") -> Medium | None:
    """Tell the medium of a file.

    Parameters
    ----------
    name
        Of the file.
    signature
        Its first `SIGNATURE_BYTES` bytes; empty: only its name is asked.

    Returns
    -------
    medium
        None: it is none that is known. What a file begins with counts for more than its name.
    """
    words = name.lower().rsplit("/", 1)[-1].split(".")[1:]
    candidates = []
    for medium in list_media().values():
        has_extension = any(".".join(words[position:]) in medium.extensions for position in range(len(words)))
        if medium.signature_pattern and signature:
            signature_match = re.match(medium.signature_pattern, signature, re.DOTALL)
        else:
            signature_match = None
        if signature_match or (has_extension and not (signature and medium.signature_pattern)):
            # of several, the one that says more of the beginning: OIFITS before FITS
            candidates.append(((signature_match.end() if signature_match else 0, has_extension), medium))
    if candidates:
        return max(candidates, key=lambda pair: pair[0])[1]
    return None


def read_label_cards(body: bytes) -> list[HeaderCard]:
    """Read a label of PDS3 or ISIS that stands for itself.

    Parameters
    ----------
    body
        In PVL or ODL, up to its END.

    Returns
    -------
    cards
        Keywords, those of groups with their names before them.

    Raises
    ------
    SourceError
        It is no label, or ends within one.
    """
    end_match = re.search(rb"^[ \t]*END[ \t]*\r?$", body, re.MULTILINE | re.IGNORECASE)
    if end_match is None or len(body) > MAX_LABEL_BYTES:
        raise SourceError(format_message("the label of {name} has no end", "the document"))
    cards = parse_label(body[: end_match.start()].decode("latin-1"), "the document").list_cards()
    return list(cards)


def _find_label(path: Place) -> Place | None:
    """Find the label that lies beside a file, if that is what describes it."""
    for extension in (".lbl", ".LBL", ".xml", ".lblx"):
        label_path = path.with_suffix(extension)
        if label_path != path and label_path.is_file() and not label_path.is_symlink():
            with label_path.open("rb") as file:
                medium = detect_medium(label_path.name, file.read(SIGNATURE_BYTES))
            if medium is not None and medium.is_label:
                return label_path
    return None


def open_product(
    path: Place,
    name: str | None = None,
    *,
    includes_text_tables: bool = False,
    read_rows: Ask | None = None,
    only_cards: bool = False,
    includes_rasters: bool = False,
) -> Product:
    """Open a file as what it is.

    Parameters
    ----------
    path
        Of a file.
    name
        By which readers know it; None: the file's own.
    includes_text_tables
        Parquet and delimited text are tables, too.
    read_rows
        What reads it for us, whatever it is: the path's columns of these names (None: all) from one row on, at most so
        many. The schema's metadata says how many `rows` there are, all else there are cards; a field's metadata its
        `unit`, `ucd`, `description`, and what its elements are as `bins`, in JSON: ``{"name": "frequency", "unit":
        "MHz", "centers": [10, 20]}``, or for `centers` the name of a column that has them for each row.
    only_cards
        What is said of it as a whole is all that is wanted: parts may be missing.
    includes_rasters
        GeoTIFF and JPEG 2000 are images, too, of which sizes, header and place are read, and no pixels.

    Returns
    -------
    product
        To be closed.

    Raises
    ------
    SourceError
        It is of no medium that is known, damaged, or empty.
    """
    name = name or path.name
    if read_rows is not None:
        return open_external_product(path, name, read_rows)
    if (
        includes_rasters
        and _RASTER_NAME_PATTERN.fullmatch(name)
        and (opened_product := open_raster(path, name)) is not None
    ):
        return opened_product
    if includes_text_tables and (opened_product := open_text_table(path, name)) is not None:
        return opened_product
    try:
        with path.open("rb") as file:
            signature = file.read(SIGNATURE_BYTES)
        medium = detect_medium(name, signature)
        if medium is None and signature and (label := _find_label(path)) is not None:
            product = open_product(label, only_cards=only_cards)
            product.companion_files = (
                label,
                *(known_medium for known_medium in product.companion_files if known_medium != path),
            )
            return product
        if not signature or medium is None:
            if not signature:
                reason = format_message("{name} is empty", name)
            else:
                reason = format_message("{name} is of no kind that can be looked into", name)
            raise SourceError(
                reason,
                remedy=format_message(
                    "known kinds: {kinds}", ", ".join(known_medium.title for known_medium in list_media().values())
                ),
            )
        if only_cards and medium.read_cards is not None:
            return Product(medium=medium.name, parts=(), cards=tuple(medium.read_cards(path)))
        product = medium.open(path)
    except OSError as error:
        raise SourceError(
            format_message("{name} cannot be read: {reason}", name, error.strerror or type(error).__name__)
        ) from None
    for known_medium in list_media().values():
        if known_medium.refinement is not None and known_medium.refinement[0] == product.medium:
            product = known_medium.refinement[1](product) or product
    return product


__all__ = [
    "SIGNATURE_BYTES",
    "ArrayPart",
    "Axis",
    "FileSamples",
    "HeaderCard",
    "Medium",
    "Part",
    "Place",
    "Product",
    "RemoteFile",
    "Selection",
    "StreamedFile",
    "TablePart",
    "convert_to_mjd",
    "convert_to_wavelengths",
    "cut_product",
    "cutout_params",
    "detect_medium",
    "find_window",
    "list_media",
    "open_product",
    "read_label_cards",
    "rotated_copies",
    "write_fits_file",
    "write_votable_file",
]
