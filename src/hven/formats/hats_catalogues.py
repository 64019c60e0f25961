"""HATS catalogues as they are found.

What one says of itself, and the files of its partitions, in a directory or behind an address; one collection, its main
catalogue.
"""

from __future__ import annotations

import io
import os
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from hven.formats import hats_layout
from hven.model.errors import Place, SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
MOUNT_TIMEOUT_SECONDS = 20.0  # seconds without any answer after which a directory's mount hangs
MAX_READER_THREADS = 8  # threads that look at files
CATALOGUE_FILE_NAMES: Final = (
    hats_layout.PROPERTIES_FILE,
    hats_layout.COLLECTION_FILE,
    hats_layout.PARTITION_INFO_FILE,
)
"""Files that stand in the directory of a catalogue or of a collection of them."""
_PARQUET_EXTENSIONS = (".parquet", ".parq", ".pq")
_ESCAPE_PATTERN = re.compile(r"\\(.)")
_LINK_PATTERN = re.compile(rb"""\bhref\s*=\s*(?:"([^"?#]*)"|'([^'?#]*)'|([^\s"'>?#]+))""", re.IGNORECASE)
_TABLE_PRODUCT_TYPES = {"object", "source", "nested"}
_OLD_PROPERTY_NAMES: Final = {
    "catalog_name": "obs_collection",
    "catalog_type": "dataproduct_type",
    "total_rows": "hats_nrows",
    "ra_column": "hats_col_ra",
    "dec_column": "hats_col_dec",
    "primary_catalog": "hats_primary_table_url",
    "indexing_column": "hats_index_column",
}
_UNREADABLE_MESSAGE = "a catalogue cannot be read: {why}"


# --- properties ----------------------------------------------------------------------------------------------


def read_catalogue_properties(data: bytes, name: str = hats_layout.PROPERTIES_FILE) -> dict[str, str]:
    """Read ``hats.properties``, or ``properties`` of older catalogues.

    Parameters
    ----------
    data
        Its bytes.
    name
        How errors call it.

    Returns
    -------
    properties
        Those of older versions (``catalog_name``, ``ra_column``) by the names that they have now.

    Raises
    ------
    SourceError
        It is none; its type of catalogue is not said.
    """
    properties = read_property_lines(data)
    if "dataproduct_type" not in properties:
        raise SourceError(
            format_message("no HATS catalogue: dataproduct_type is not said"),
            place=Place(file=name),
            remedy=hats_layout.READ_NOTE_REMEDY,
        )
    return properties


def read_property_lines(data: bytes) -> dict[str, str]:
    """Read lines ``name=value``, of a catalogue or of a collection.

    Parameters
    ----------
    data
        Bytes of the file.

    Returns
    -------
    properties
        By the names that they have now.
    """
    properties: dict[str, str] = {}
    text = re.sub(r"\\\r?\n[ \t]*", "", data.decode("utf-8", "replace"))
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        key, _, value = stripped.partition("=")
        properties[_OLD_PROPERTY_NAMES.get(key.strip(), key.strip())] = _ESCAPE_PATTERN.sub(
            lambda escape_match: "\n" if escape_match[1] == "n" else escape_match[1], value.strip()
        )
    return properties


# --- where a catalogue is ------------------------------------------------------------------------------------


class CatalogueFolder(Protocol):
    """Where a catalogue is, as `open_catalogue` asks it: a directory, or an address."""

    def read_file(self, name: str) -> bytes | None:
        """Read a small file.

        Parameters
        ----------
        name
            Below the place.

        Returns
        -------
        body
            None: there is none.

        Raises
        ------
        SourceError
            It cannot be read.
        """

    def has_file(self, name: str) -> bool:
        """Return whether there is a file; True where nobody can tell without asking for each.

        Parameters
        ----------
        name
            Below the place.
        """

    def list_files(self, name: str) -> list[str]:
        """List the Parquet files of a partition that is a directory; none: there is no such directory.

        Parameters
        ----------
        name
            Of the directory, below the place.

        Returns
        -------
        names
            Below the place.

        Raises
        ------
        SourceError
            It cannot be read.
        """


@dataclass(frozen=True, slots=True)
class LocalCatalogueFolder:
    """A directory of this machine (`CatalogueFolder`).

    Attributes
    ----------
    path
        Of the directory.
    """

    path: Path

    def read_file(self, name: str) -> bytes | None:
        """Read a small file; see `CatalogueFolder.read_file`.

        Raises
        ------
        SourceError
            It cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(
                format_message(_UNREADABLE_MESSAGE, error.strerror or str(error)),
                place=Place(file=str(self.path / name)),
                remedy=hats_layout.REWRITE_REMEDY,
            ) from error

    def has_file(self, name: str) -> bool:
        """See `CatalogueFolder.has_file`."""
        return (self.path / name).is_file()

    def list_files(self, name: str) -> list[str]:
        """See `CatalogueFolder.list_files`; those below are in it, too."""
        file_names = []
        for directory, inner, names in os.walk(self.path / name):
            inner[:] = [file_name for file_name in inner if file_name[0] not in "._"]
            file_names += [
                os.path.join(directory, file_name)[len(str(self.path)) + 1 :]  # noqa: PTH118  (of many files)
                for file_name in names
                if _is_parquet_name(file_name)
            ]
        return sorted(file_names)


def _is_parquet_name(name: str) -> bool:
    return name[0] not in "._" and name.endswith(_PARQUET_EXTENSIONS)


def list_linked_files(page: bytes, directory: str) -> list[str]:
    """List the Parquet files of a directory by the links of its page, as web servers write it.

    Parameters
    ----------
    page
        HTML.
    directory
        Its path, as far as it is known: names that begin with a slash end with it.

    Returns
    -------
    names
        With the directory before each, sorted.
    """
    file_names = set()
    for pieces in _LINK_PATTERN.findall(page):
        link = unquote(b"".join(pieces).decode("utf-8", "replace")).removeprefix("./")
        directory_part, slash, name = link.rpartition("/")
        if name and _is_parquet_name(name) and (not slash or directory_part.endswith(f"/{directory.strip('/')}")):
            file_names.add(f"{directory}/{name}")
    return sorted(file_names)


# --- opening -------------------------------------------------------------------------------------------------


class CatalogueDescription(NamedTuple):
    """What a catalogue says of itself.

    Attributes
    ----------
    properties
        Properties, by their names of today.
    base
        What names in it begin with, below the place that was asked: empty, or the main catalogue of a collection, with
        a slash behind it.
    partitions
        Order, pixel, and the name of a file below that place, in the order of their cells; of partitions that are
        directories, a line for each file.
    collection
        Properties of the collection; none: it was asked for by itself.
    """

    properties: dict[str, str]
    base: str
    partitions: list[tuple[int, int, str]]
    collection: dict[str, str]

    def find_index_column(self, folder: CatalogueFolder) -> str | None:
        """Name the column that the catalogue has an index of.

        Parameters
        ----------
        folder
            What is there.

        Returns
        -------
        name
            As the collection, or the index within the catalogue, says it; None: there is no index.
        """
        index_names = re.split(r"[;,\s]+", self.collection.get("all_indexes", ""))
        index_name = self.collection.get("default_index") or index_names[0]
        if index_name:
            return index_name
        index = folder.read_file(f"{self.base}index/{hats_layout.PROPERTIES_FILE}")  # where Hven itself has it
        if index is None:
            return None
        return read_property_lines(index).get("hats_index_column")


def is_catalogue(location: str, folder: CatalogueFolder) -> bool:
    """Return whether there is a catalogue, or a collection of them, by what stands in its directory.

    It may lack something, or be no table's.

    Parameters
    ----------
    location
        Directory or address, as errors call it.
    folder
        What is there.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    marker_texts = {
        hats_layout.PROPERTIES_FILE: "dataproduct_type",
        hats_layout.COLLECTION_FILE: "hats_primary_table_url",
        hats_layout.PARTITION_INFO_FILE: "Norder,",
    }
    read = _TimedFolder(location, folder).read_file
    return any(word.encode() in (read(name) or b"") for name, word in marker_texts.items())


def open_catalogue(location: str, folder: CatalogueFolder) -> CatalogueDescription:
    """Read what a catalogue says of itself; of a collection, its main catalogue.

    Parameters
    ----------
    location
        Directory or address, as errors call it.
    folder
        What is there.

    Returns
    -------
    opened
        Its properties and partitions.

    Raises
    ------
    SourceError
        No catalogue; one whose rows are not those of a table (a margin, an index); a partition without a file; a
        directory whose mount hangs.
    """
    base = ""
    collection = {}
    read = _TimedFolder(location, folder).read_file
    properties_file = _read_properties_file(read, base)
    if properties_file is None and (data := read(hats_layout.COLLECTION_FILE)) is not None:
        collection = read_property_lines(data)
        main_catalogue = collection.get("hats_primary_table_url", "").strip("/")
        if not main_catalogue or ".." in main_catalogue.split("/") or "://" in main_catalogue:
            raise SourceError(
                format_message(
                    "{name} does not say which catalogue below it is the main one", hats_layout.COLLECTION_FILE
                ),
                place=Place(file=f"{location}/{hats_layout.COLLECTION_FILE}"),
                remedy="name the directory of the catalogue itself",
            )
        base = f"{main_catalogue}/"
        properties_file = _read_properties_file(read, base)
    if properties_file is None:
        raise SourceError(
            format_message(
                "{directory} is no HATS catalogue: there is no hats.properties", f"{location}/{base}".rstrip("/")
            ),
            remedy="name the directory that has hats.properties and dataset/ in it",
        )
    name, data = properties_file
    properties = read_catalogue_properties(data, f"{location}/{name}")
    if properties["dataproduct_type"] not in _TABLE_PRODUCT_TYPES:
        main_catalogue = properties.get("hats_primary_table_url", "").rstrip("/").rpartition("/")[2].strip(".")
        raise SourceError(
            format_message(
                "the catalogue is of the type {type!r}, whose rows are not those of a table",
                properties["dataproduct_type"],
            ),
            place=Place(file=f"{location}/{name}"),
            remedy=f"name the catalogue of objects or sources "
            f"itself{f': {main_catalogue}, ' if main_catalogue else '; it lies '}beside it",
        )
    partition_info = read(base + hats_layout.PARTITION_INFO_FILE)
    if partition_info is None:
        raise SourceError(
            format_message(_UNREADABLE_MESSAGE, "it is not there"),
            place=Place(file=f"{location}/{base}{hats_layout.PARTITION_INFO_FILE}"),
            remedy=hats_layout.REWRITE_REMEDY,
        )
    pixels = hats_layout.read_partition_info(partition_info, f"{location}/{base}{hats_layout.PARTITION_INFO_FILE}")
    partition_files = _list_partition_files(location, folder, base, properties, pixels)
    return CatalogueDescription(properties, base, partition_files, collection)


@dataclass(frozen=True, slots=True)
class _TimedFolder:
    """A folder that answers in time, or not at all."""

    location: str
    folder: CatalogueFolder

    def read_file(self, name: str) -> bytes | None:
        return call_in_threads(self.folder.read_file, [name], f"{self.location}/{{}}".format)[0]


def _read_properties_file(read: Callable[[str], bytes | None], base: str) -> tuple[str, bytes] | None:
    """Read the properties, by the name of today or that of older catalogues."""
    names = (base + hats_layout.PROPERTIES_FILE, base + hats_layout.OLD_PROPERTIES_FILE)
    return next(((name, data) for name in names if (data := read(name)) is not None), None)


def _list_partition_files(
    location: str, folder: CatalogueFolder, base: str, properties: Mapping[str, str], pixels: Sequence[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    """Name the files of partitions."""
    suffix = properties.get("hats_npix_suffix", ".parquet")
    directories = suffix in {"/", "\\"}
    paths = [
        base + hats_layout.format_partition_path(*pixel_address).removesuffix(".parquet") + suffix.rstrip("/\\")
        for pixel_address in pixels
    ]
    format_place = f"{location}/{{}}".format
    if directories:
        if hats_layout.is_web_address(location):
            files_by_directory = _list_files_in_metadata(folder, base)
        else:
            files_by_directory = None
        if files_by_directory is None:
            names = call_in_threads(folder.list_files, paths, format_place)
        else:
            names = [files_by_directory.get(path, []) for path in paths]
    else:
        file_exists = call_in_threads(folder.has_file, paths, format_place)
        names = [[path] if exists else folder.list_files(path) for path, exists in zip(paths, file_exists, strict=True)]
    for (order, pixel), path, file_names in zip(pixels, paths, names, strict=True):
        if not file_names:
            raise SourceError(
                format_message("the partition Norder={order} Npix={pixel} has no file", order, pixel),
                place=Place(file=format_place(path)),
                remedy=hats_layout.REWRITE_REMEDY,
            )
    return [
        (order, pixel, name) for (order, pixel), file_names in zip(pixels, names, strict=True) for name in file_names
    ]


def _list_files_in_metadata(folder: CatalogueFolder, base: str) -> dict[str, list[str]] | None:
    """List files by the metadata of all of them, which a server need not list then; None.

    There are none, or they are too many.
    """
    import pyarrow as pa  # noqa: PLC0415  (few catalogues are read so)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        data = folder.read_file(base + hats_layout.METADATA_FILE)
        footer: Any = None if data is None else pq.read_metadata(io.BytesIO(data))
    except (SourceError, pa.ArrowException):
        return None
    if footer is None or not footer.num_row_groups:
        return None
    files_by_directory: dict[str, dict[str, None]] = {}
    for number in range(footer.num_row_groups):
        name = footer.row_group(number).column(0).file_path
        if not name or ".." in name.split("/"):
            return None
        path = f"{base}{hats_layout.DATASET_DIRECTORY}/{name}"
        files_by_directory.setdefault(path.rpartition("/")[0], {})[path] = None
    return {path: sorted(names) for path, names in files_by_directory.items()}


# --- what may hang -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _ThreadedCalls:
    """Calls that threads take one by one, and what came of them."""

    waiting: list[tuple[int, Any]]
    results: dict[int, Any] = field(default_factory=dict)
    running: dict[int, Any] = field(default_factory=dict)
    error: BaseException | None = None
    condition: threading.Condition = field(default_factory=threading.Condition)


def call_in_threads(
    function: Callable[[Any], T],
    arguments: Sequence[Any],
    format_place: Callable[[Any], str],
    thread_limit: int = MAX_READER_THREADS,
) -> list[T]:
    """Call a function with each of some values, in threads that nobody waits for.

    On a mount that hangs they never return.

    Parameters
    ----------
    function
        Looks at a file; what is behind an address has its own patience.
    arguments
        What it is called with.
    format_place
        Names the file, of what it is called with.
    thread_limit
        At most; few, where more is computed than waited for.

    Returns
    -------
    found
        In the order of `arguments`.

    Raises
    ------
    SourceError
        For `MOUNT_TIMEOUT_SECONDS` none of them returned.
    """
    work = _ThreadedCalls(list(enumerate(arguments))[::-1])

    def run_calls() -> None:
        while True:
            with work.condition:
                if not work.waiting or work.error is not None:
                    return
                number, argument = work.waiting.pop()
                work.running[number] = argument
            try:
                call_result = function(argument)
                fault = None
            except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
                call_result, fault = None, error
            with work.condition:
                del work.running[number]
                work.results[number] = call_result
                work.error = work.error or fault
                if work.error is not None or len(work.results) == len(
                    arguments
                ):  # who waits is not woken for each file
                    work.condition.notify()

    if arguments and hats_layout.is_web_address(format_place(arguments[0])):
        timeout_seconds = None
    else:
        timeout_seconds = MOUNT_TIMEOUT_SECONDS
    for _ in range(min(thread_limit, len(arguments))):
        threading.Thread(target=run_calls, name="hats-look", daemon=True).start()
    with work.condition:
        while len(work.results) < len(arguments) and work.error is None:
            result_count = len(work.results)
            if not work.condition.wait(timeout_seconds) and len(work.results) == result_count:
                work.waiting.clear()
                raise SourceError(
                    format_message("its file system does not answer for {seconds:g} s", MOUNT_TIMEOUT_SECONDS),
                    place=Place(file=format_place(next(iter(work.running.values()), arguments[0]))),
                    remedy="look at the mount, then try again",
                )
        if work.error is not None:
            raise work.error
    return [work.results[number] for number in range(len(arguments))]


__all__ = [
    "CATALOGUE_FILE_NAMES",
    "CatalogueDescription",
    "CatalogueFolder",
    "LocalCatalogueFolder",
    "call_in_threads",
    "is_catalogue",
    "list_linked_files",
    "open_catalogue",
    "read_catalogue_properties",
    "read_property_lines",
]
