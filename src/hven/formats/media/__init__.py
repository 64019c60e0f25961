"""Read the content of product files by windows. Each medium has one module, whose name is the medium's.

The module of a medium defines `MEDIUM`, a :class:`ProductFileFormat`. It opens a file as a `OpenProductFile` of parts:
arrays (`ArrayPart`), read a window at a time, and tables (`TablePart`), read as Arrow batches. Nothing is read before
it is requested.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.formats.media._external_tables import open_product_with_row_reader
from hven.formats.media._product import (
    ArrayPart,
    Axis,
    DataSetMetadata,
    HeaderCard,
    OpenProductFile,
    Part,
    TablePart,
)
from hven.formats.media._rasters import open_raster
from hven.formats.media._remote_files import Place, RemotePath
from hven.formats.media._sample_tables import open_parquet_or_delimited_table
from hven.formats.media._spectral_axes import convert_axis_times_to_mjd, convert_to_wavelengths
from hven.model import plugins
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hven.formats.media._external_tables import Ask
    from hven.model.errors import TranslatableMessage


SIGNATURE_BYTES = 8192  # bytes that identify the medium of a file
RASTER_NAME_PATTERN = re.compile(r"(?i).*\.(tiff?|gtiff?|jp2|j2k|jpx)")
MAX_PARTS = 1000  # parts of a file that are read


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFileFormat:
    """A kind of product file: ``MEDIUM`` of its module.

    Attributes
    ----------
    name
        Name of the medium and of its module.
    title
        Name for people.
    media_types
        Media types, the usual one first.
    extensions
        Extensions of file names, in lower case: ``fits``.
    signature_pattern
        Regular expression that the first bytes of a file match; empty: only the name of a file identifies it.
    open
        Open a file, on the disk or on another server (`RemotePath`). It raises `SourceError` if the file is of another
        kind or damaged.
    label_extensions
        Ends of the names of labels that describe a file beside them (``.lbl``), as they are tried in turn; empty: files
        of this kind describe no others.
    has_units_as_comments
        Whether comments of cards are units.
    product_types
        Kinds of product by extension, as DataLink names them (``#image``), where the extension tells the kind.
    refinement
        A medium of which some files are of this one, too, and the function that turns such an open product into one of
        this medium. The function returns None for any other product.
    read_cards
        Read the cards of a file as a whole, where that is less work than to open it.
    """

    name: str
    title: str
    media_types: tuple[str, ...]
    extensions: tuple[str, ...]
    signature_pattern: bytes = b""
    open: Callable[[Place], OpenProductFile]
    label_extensions: tuple[str, ...] = ()
    has_units_as_comments: bool = False
    product_types: Mapping[str, str] = field(default_factory=dict)
    refinement: tuple[str, Callable[[OpenProductFile], OpenProductFile | None]] | None = None
    read_cards: Callable[[Place], Iterable[HeaderCard]] | None = None

    @property
    def is_label(self) -> bool:
        """Whether the file is a label, which describes files beside it."""
        return bool(self.label_extensions)


def list_product_file_formats() -> Mapping[str, ProductFileFormat]:
    """List every medium by name, built-in and plugged in.

    Returns
    -------
    media
        Media whose libraries are installed.
    """
    media_by_name: dict[str, ProductFileFormat] = plugins.load_plugin_records("media")
    return media_by_name


def detect_product_file_format(file_name: str, signature: bytes = b"") -> ProductFileFormat | None:
    """Detect the medium of a file.

    Parameters
    ----------
    file_name
        Name of the file.
    signature
        First `SIGNATURE_BYTES` bytes of the file; empty: only the name decides.

    Returns
    -------
    medium
        The medium, or None if it is unknown. The first bytes of a file count for more than its name.
    """
    words = file_name.lower().rsplit("/", 1)[-1].split(".")[1:]
    name_endings = {".".join(words[position:]) for position in range(len(words))}
    candidates = []
    for medium in list_product_file_formats().values():
        has_extension = not name_endings.isdisjoint(medium.extensions)
        signature_match = None
        if medium.signature_pattern and signature:
            signature_match = re.match(medium.signature_pattern, signature, re.DOTALL)
        # the medium with the longest signature wins: OIFITS before FITS
        if signature_match:
            candidates.append(((signature_match.end(), has_extension), medium))
        elif has_extension and not (signature and medium.signature_pattern):
            candidates.append(((0, has_extension), medium))
    if candidates:
        return max(candidates, key=lambda pair: pair[0])[1]
    return None


def _find_detached_label(path: Place) -> Place | None:
    """Find the label that lies beside a file and describes it."""
    extensions = [extension for medium in list_product_file_formats().values() for extension in medium.label_extensions]
    for extension in extensions:
        label_path = path.with_suffix(extension)
        if label_path != path and label_path.is_file() and not label_path.is_symlink():
            with label_path.open("rb") as file:
                medium = detect_product_file_format(label_path.name, file.read(SIGNATURE_BYTES))
            if medium is not None and medium.is_label:
                return label_path
    return None


def open_product(
    path: Place,
    name: str | None = None,
    *,
    includes_text_tables: bool = False,
    read_rows: Ask | None = None,
    reads_only_cards: bool = False,
    includes_rasters: bool = False,
) -> OpenProductFile:
    """Open a file by its medium.

    Parameters
    ----------
    path
        Path of the file.
    name
        Name under which readers know the file; None: the file's own.
    includes_text_tables
        Whether Parquet and delimited text are opened as tables, too.
    read_rows
        Function that reads the file for us, whatever it is. It reads columns of these names (None: all) from one row
        on, at most a given number of rows. The metadata of the schema state how many `rows` there are, and cards; those
        of a field its `unit`, `ucd`, `description`, and the meaning of its elements as `bins`, in JSON:
        ``{"name": "frequency", "unit": "MHz", "centers": [10, 20]}``, or as `centers` the name of a column that has
        them for each row.
    reads_only_cards
        Whether only the cards of the file as a whole are needed; then parts may be missing.
    includes_rasters
        Whether GeoTIFF and JPEG 2000 are opened as images, too, with sizes, header and position, but without pixels.

    Returns
    -------
    product
        The open product, which the caller closes.

    Raises
    ------
    SourceError
        The file is of no known medium, damaged, or empty.
    """
    name = name or path.name
    if read_rows is not None:
        return open_product_with_row_reader(path, name, read_rows)
    opened_product = None
    if includes_rasters and RASTER_NAME_PATTERN.fullmatch(name):
        opened_product = open_raster(path, name)
    if includes_text_tables and opened_product is None:
        opened_product = open_parquet_or_delimited_table(path, name)
    if opened_product is not None:
        return opened_product
    try:
        with path.open("rb") as file:
            signature = file.read(SIGNATURE_BYTES)
        if not signature:
            raise _create_unknown_format_error(format_message("{name} is empty", name))
        medium = detect_product_file_format(name, signature)
        if medium is None:
            return _open_by_label(path, name, signature, reads_only_cards=reads_only_cards)
        if reads_only_cards and medium.read_cards is not None:
            cards = tuple(medium.read_cards(path))
            return OpenProductFile(medium=medium.name, parts=(), cards=cards)
        product = medium.open(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(format_message("{name} cannot be read: {reason}", name, reason)) from None
    for refining_medium in list_product_file_formats().values():
        if refining_medium.refinement is None:
            continue
        refined_medium, refine_product = refining_medium.refinement
        if refined_medium == product.medium:
            product = refine_product(product) or product
    return product


def _open_by_label(path: Place, name: str, signature: bytes, *, reads_only_cards: bool) -> OpenProductFile:
    """Open a file of no known medium by the label beside it."""
    label = _find_detached_label(path)
    if label is None:
        raise _create_unreadable_file_error(name, signature)
    product = open_product(label, reads_only_cards=reads_only_cards)
    other_files = [companion for companion in product.companion_files if companion != path]
    product.companion_files = (label, *other_files)
    return product


def _create_unreadable_file_error(name: str, signature: bytes) -> SourceError:
    """Create the error for a file that no medium opens; it names the package that the settings leave out, if any."""
    message = format_message("Hven cannot read the format of {name}", name)
    extension = name.lower().rpartition(".")[2]
    for package in plugins.list_disabled_packages():
        for files in package.files if package.media else ():
            begins_alike = files.leading_pattern and re.match(files.leading_pattern, signature)
            if begins_alike or extension in files.extensions:
                remedy = format_message(
                    "the plug-in package {package} opens such files, but it is not enabled on this site", package.name
                )
                return SourceError(message, remedy=remedy)
    return _create_unknown_format_error(message)


def _create_unknown_format_error(reason: TranslatableMessage) -> SourceError:
    titles = ", ".join(medium.title for medium in list_product_file_formats().values())
    return SourceError(reason, remedy=format_message("convert the file to one of these formats: {kinds}", titles))


__all__ = [
    "MAX_PARTS",
    "RASTER_NAME_PATTERN",
    "SIGNATURE_BYTES",
    "ArrayPart",
    "Axis",
    "DataSetMetadata",
    "HeaderCard",
    "OpenProductFile",
    "Part",
    "Place",
    "ProductFileFormat",
    "RemotePath",
    "TablePart",
    "convert_axis_times_to_mjd",
    "convert_to_wavelengths",
    "detect_product_file_format",
    "list_product_file_formats",
    "open_product",
]
