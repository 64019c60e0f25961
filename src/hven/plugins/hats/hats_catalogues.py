"""Read HATS catalogues: the properties of a catalogue, and the files of its partitions.

A catalogue lies in a directory or at an address. A collection stands for its main catalogue.
"""

from __future__ import annotations

import io
import os
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from hven.model.errors import SourceError, TextPlace, format_message
from hven.plugins.hats import hats_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
MOUNT_TIMEOUT_SECONDS = 20.0  # without any answer; then the mount of the directory counts as hung
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
_UNREADABLE_MESSAGE = "the catalogue cannot be read: {why}"


# --- properties ----------------------------------------------------------------------------------------------


def parse_catalogue_properties(data: bytes, file_name: str = hats_layout.PROPERTIES_FILE) -> dict[str, str]:
    """Read ``hats.properties``, or ``properties`` of older catalogues.

    Parameters
    ----------
    data
        Bytes of the file.
    file_name
        Name of the file in errors.

    Returns
    -------
    properties
        Properties by their present names, also those that older versions name otherwise (``catalog_name``,
        ``ra_column``).

    Raises
    ------
    SourceError
        The file is no properties file, or does not state the type of the catalogue.
    """
    properties = parse_property_lines(data)
    if "dataproduct_type" not in properties:
        raise SourceError(
            format_message("the file is not from a HATS catalogue: dataproduct_type is missing"),
            place=TextPlace(file=file_name),
            remedy=hats_layout.READ_NOTE_REMEDY,
        )
    return properties


def parse_property_lines(data: bytes) -> dict[str, str]:
    """Read lines ``name=value`` of a catalogue or of a collection.

    Parameters
    ----------
    data
        Bytes of the file.

    Returns
    -------
    properties
        Properties by their present names.
    """
    properties: dict[str, str] = {}
    text = re.sub(r"\\\r?\n[ \t]*", "", data.decode("utf-8", "replace"))
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        key, _, value = stripped.partition("=")
        old_name = key.strip()
        name = _OLD_PROPERTY_NAMES.get(old_name, old_name)
        properties[name] = _ESCAPE_PATTERN.sub(_unescape_character, value.strip())
    return properties


def _unescape_character(escape_match: re.Match[str]) -> str:
    if escape_match[1] == "n":
        return "\n"
    return escape_match[1]


# --- where a catalogue is ------------------------------------------------------------------------------------


class CatalogueFileAccess(Protocol):
    """Access to the files of a catalogue for `read_hats_catalogue_description`, in a directory or at an address."""

    def read_file(self, name: str) -> bytes | None:
        """Read a small file.

        Parameters
        ----------
        name
            Path below the folder.

        Returns
        -------
        body
            Bytes of the file; None if there is no such file.

        Raises
        ------
        SourceError
            The file cannot be read.
        """

    def can_have_file(self, name: str) -> bool:
        """Return whether a file exists; True where this is unknown without a request for each file.

        Parameters
        ----------
        name
            Path below the folder.
        """

    def list_parquet_files(self, partition_directory: str) -> list[str]:
        """List the Parquet files of a partition that is a directory; the list is empty if the directory is missing.

        Parameters
        ----------
        partition_directory
            Path of the directory below the folder.

        Returns
        -------
        names
            Paths below the folder.

        Raises
        ------
        SourceError
            The directory cannot be read.
        """


@dataclass(frozen=True, slots=True)
class LocalCatalogueFolder:
    """A directory of this machine (`CatalogueFileAccess`).

    Attributes
    ----------
    path
        Path of the directory.
    """

    path: Path

    def read_file(self, name: str) -> bytes | None:
        """Read a small file; see `CatalogueFileAccess.read_file`.

        Raises
        ------
        SourceError
            The file cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            message = format_message(_UNREADABLE_MESSAGE, error.strerror or str(error))
            place = TextPlace(file=str(self.path / name))
            raise SourceError(message, place=place, remedy=hats_layout.REWRITE_REMEDY) from error

    def can_have_file(self, name: str) -> bool:
        """See `CatalogueFileAccess.can_have_file`."""
        return (self.path / name).is_file()

    def list_parquet_files(self, partition_directory: str) -> list[str]:
        """List files as `CatalogueFileAccess.list_parquet_files` does, also those in directories below."""
        file_names = []
        root_characters = len(str(self.path)) + 1
        for directory, inner, names in os.walk(self.path / partition_directory):
            inner[:] = [file_name for file_name in inner if file_name[0] not in "._"]
            for file_name in names:
                if _is_parquet_name(file_name):
                    path = os.path.join(directory, file_name)  # noqa: PTH118  (faster where there are many files)
                    file_names.append(path[root_characters:])
        return sorted(file_names)


def _is_parquet_name(name: str) -> bool:
    return name[0] not in "._" and name.endswith(_PARQUET_EXTENSIONS)


def list_linked_parquet_files(html_page: bytes, directory: str) -> list[str]:
    """List the Parquet files of a directory from the links of the page that a web server shows for it.

    Parameters
    ----------
    html_page
        HTML of the page.
    directory
        Path of the directory as far as it is known. Links that begin with a slash must end with it.

    Returns
    -------
    names
        File names with the directory before each, sorted.
    """
    file_names = set()
    for pieces in _LINK_PATTERN.findall(html_page):
        link_text = b"".join(pieces).decode("utf-8", "replace")
        link = unquote(link_text).removeprefix("./")
        directory_part, slash, name = link.rpartition("/")
        if name and _is_parquet_name(name) and (not slash or directory_part.endswith(f"/{directory.strip('/')}")):
            file_names.add(f"{directory}/{name}")
    return sorted(file_names)


# --- opening -------------------------------------------------------------------------------------------------


class HatsCatalogueDescription(NamedTuple):
    """What a catalogue states about itself.

    Attributes
    ----------
    properties
        Properties by their present names.
    base
        Prefix of paths in the catalogue, below the folder that was opened: empty, or the main catalogue of a
        collection and a slash.
    partitions
        Order, pixel, and path of a file below that folder, in the order of their cells. A partition that is a directory
        has an entry for each file.
    collection
        Properties of the collection; empty if the catalogue was opened by itself.
    """

    properties: dict[str, str]
    base: str
    partitions: list[tuple[int, int, str]]
    collection: dict[str, str]

    def find_index_column(self, folder: CatalogueFileAccess) -> str | None:
        """Return the name of the column that the catalogue has an index for.

        Parameters
        ----------
        folder
            Folder of the catalogue.

        Returns
        -------
        name
            Name that the collection, or the index within the catalogue, states; None if there is no index.
        """
        index_names = re.split(r"[;,\s]+", self.collection.get("all_indexes", ""))
        index_name = self.collection.get("default_index") or index_names[0]
        if index_name:
            return index_name
        index = folder.read_file(f"{self.base}index/{hats_layout.PROPERTIES_FILE}")  # where Hven itself writes it
        if index is None:
            return None
        return parse_property_lines(index).get("hats_index_column")


def is_hats_catalogue(location: str, folder: CatalogueFileAccess) -> bool:
    """Return whether a folder holds a catalogue or a collection, judging by the files in it.

    The catalogue may be incomplete, or may not hold a table.

    Parameters
    ----------
    location
        Directory or address, for errors.
    folder
        Folder to look into.

    Raises
    ------
    SourceError
        The folder cannot be read.
    """
    marker_texts = {
        hats_layout.PROPERTIES_FILE: "dataproduct_type",
        hats_layout.COLLECTION_FILE: "hats_primary_table_url",
        hats_layout.PARTITION_INFO_FILE: "Norder,",
    }
    read = _TimeLimitedFolder(location, folder).read_file
    for name, marker_text in marker_texts.items():
        data = read(name) or b""
        if marker_text.encode() in data:
            return True
    return False


def read_hats_catalogue_description(location: str, folder: CatalogueFileAccess) -> HatsCatalogueDescription:
    """Read what a catalogue states about itself; of a collection, read its main catalogue.

    Parameters
    ----------
    location
        Directory or address, for errors.
    folder
        Folder of the catalogue.

    Returns
    -------
    opened
        Properties and partitions of the catalogue.

    Raises
    ------
    SourceError
        There is no catalogue, its rows are not those of a table (a margin, an index), a partition has no file, or the
        mount of the directory hangs.
    """
    base = ""
    collection = {}
    read = _TimeLimitedFolder(location, folder).read_file
    properties_file = _read_properties_file(read, base)
    if properties_file is None and (data := read(hats_layout.COLLECTION_FILE)) is not None:
        collection = parse_property_lines(data)
        main_catalogue = collection.get("hats_primary_table_url", "").strip("/")
        if not main_catalogue or ".." in main_catalogue.split("/") or "://" in main_catalogue:
            message = format_message(
                "{name} does not state the directory of the main catalogue", hats_layout.COLLECTION_FILE
            )
            place = TextPlace(file=f"{location}/{hats_layout.COLLECTION_FILE}")
            raise SourceError(message, place=place, remedy="give the directory of the main catalogue")
        base = f"{main_catalogue}/"
        properties_file = _read_properties_file(read, base)
    if properties_file is None:
        raise SourceError(
            format_message(
                "{directory} is not a HATS catalogue: there is no hats.properties", f"{location}/{base}".rstrip("/")
            ),
            remedy="give the directory that contains hats.properties and dataset/",
        )
    name, data = properties_file
    properties = parse_catalogue_properties(data, f"{location}/{name}")
    if properties["dataproduct_type"] not in _TABLE_PRODUCT_TYPES:
        raise _create_catalogue_type_error(properties, f"{location}/{name}")
    partition_info_place = f"{location}/{base}{hats_layout.PARTITION_INFO_FILE}"
    partition_info = read(base + hats_layout.PARTITION_INFO_FILE)
    if partition_info is None:
        message = format_message(_UNREADABLE_MESSAGE, "the file is missing")
        raise SourceError(message, place=TextPlace(file=partition_info_place), remedy=hats_layout.REWRITE_REMEDY)
    pixels = hats_layout.parse_partition_info(partition_info, partition_info_place)
    partition_files = _list_partition_files(location, folder, base, properties, pixels)
    return HatsCatalogueDescription(properties, base, partition_files, collection)


def _create_catalogue_type_error(properties: Mapping[str, str], properties_place: str) -> SourceError:
    """Create the error about a catalogue that does not hold a table, with the main catalogue if it is known."""
    message = format_message(
        "the catalogue has the type {type!r}, so its rows do not form a table", properties["dataproduct_type"]
    )
    main_address = properties.get("hats_primary_table_url", "").rstrip("/")
    main_catalogue = main_address.rpartition("/")[2].strip(".")
    remedy = "give the catalogue of objects or sources, which is in a directory next to this one"
    if main_catalogue:
        remedy = (
            f"give the catalogue of objects or sources, which is in the directory {main_catalogue} next to this one"
        )
    return SourceError(message, place=TextPlace(file=properties_place), remedy=remedy)


@dataclass(frozen=True, slots=True)
class _TimeLimitedFolder:
    """A folder whose answers have a time limit."""

    location: str
    folder: CatalogueFileAccess

    def read_file(self, name: str) -> bytes | None:
        return call_in_threads(self.folder.read_file, [name], f"{self.location}/{{}}".format)[0]


def _read_properties_file(read: Callable[[str], bytes | None], base: str) -> tuple[str, bytes] | None:
    """Read the properties under the present file name or that of older catalogues; return name and bytes."""
    for name in (base + hats_layout.PROPERTIES_FILE, base + hats_layout.OLD_PROPERTIES_FILE):
        data = read(name)
        if data is not None:
            return name, data
    return None


def _list_partition_files(
    location: str,
    folder: CatalogueFileAccess,
    base: str,
    properties: Mapping[str, str],
    pixels: Sequence[tuple[int, int]],
) -> list[tuple[int, int, str]]:
    """List order, pixel and path of the files of partitions."""
    suffix = properties.get("hats_npix_suffix", ".parquet")
    directories = suffix in {"/", "\\"}
    paths = []
    for pixel_address in pixels:
        stem = hats_layout.format_partition_path(*pixel_address).removesuffix(".parquet")
        paths.append(base + stem + suffix.rstrip("/\\"))
    format_place = f"{location}/{{}}".format
    if directories:
        if hats_layout.is_web_address(location):
            files_by_directory = _list_files_from_metadata(folder, base)
        else:
            files_by_directory = None
        if files_by_directory is None:
            names = call_in_threads(folder.list_parquet_files, paths, format_place)
        else:
            names = [files_by_directory.get(path, []) for path in paths]
    else:
        file_exists = call_in_threads(folder.can_have_file, paths, format_place)
        names = []
        for path, exists in zip(paths, file_exists, strict=True):
            if exists:
                names.append([path])
            else:
                names.append(folder.list_parquet_files(path))
    partition_files = []
    for (order, pixel), path, file_names in zip(pixels, paths, names, strict=True):
        if not file_names:
            message = format_message("the partition Norder={order} Npix={pixel} has no file", order, pixel)
            raise SourceError(message, place=TextPlace(file=format_place(path)), remedy=hats_layout.REWRITE_REMEDY)
        partition_files += [(order, pixel, name) for name in file_names]
    return partition_files


def _list_files_from_metadata(folder: CatalogueFileAccess, base: str) -> dict[str, list[str]] | None:
    """List the files by directory from the metadata of all of them, so that the server need not list directories.

    Return None if there are no such metadata, or if they are too large.
    """
    import pyarrow as pa  # noqa: PLC0415  (few catalogues need it)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        data = folder.read_file(base + hats_layout.METADATA_FILE)
        if data is None:
            return None
        footer: Any = pq.read_metadata(io.BytesIO(data))
    except (SourceError, pa.ArrowException):
        return None
    if not footer.num_row_groups:
        return None
    files_by_directory: dict[str, dict[str, None]] = {}
    for number in range(footer.num_row_groups):
        name = footer.row_group(number).column(0).file_path
        if not name or ".." in name.split("/"):
            return None
        path = f"{base}{hats_layout.DATASET_DIRECTORY}/{name}"
        directory = path.rpartition("/")[0]
        files_by_directory.setdefault(directory, {})[path] = None
    return {path: sorted(names) for path, names in files_by_directory.items()}


# --- what may hang -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _ThreadedCalls:
    """Calls that threads take one by one, and their results."""

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
    """Call a function with each of several arguments, in threads that nobody waits for at the end.

    On a mount that hangs such calls never return.

    Parameters
    ----------
    function
        Function that looks at a file; for files at an address it has its own timeout.
    arguments
        Arguments of the calls.
    format_place
        Return the name of the file of an argument, for errors.
    thread_limit
        Maximum number of threads; few if the function computes more than it waits.

    Returns
    -------
    found
        Results in the order of `arguments`.

    Raises
    ------
    SourceError
        No call returned for `MOUNT_TIMEOUT_SECONDS`.
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
                ):  # the caller is not woken for each file
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
                message = format_message("the file system has not responded for {seconds:g} s", MOUNT_TIMEOUT_SECONDS)
                slow_argument = next(iter(work.running.values()), arguments[0])
                place = TextPlace(file=format_place(slow_argument))
                raise SourceError(message, place=place, remedy="check the mount, then try again")
        if work.error is not None:
            raise work.error
    return [work.results[number] for number in range(len(arguments))]
