"""HATS catalogues as they are found: what one says of itself, and the files of its partitions, in a directory or behind an address; one collection, its main catalogue."""

from __future__ import annotations

import io
import os
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from hven.formats import hats_layout as layout
from hven.model.errors import Place, SourceError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
PATIENCE = 20.0  # seconds without any answer after which a directory's mount hangs
READERS = 8  # threads that look at files
MARKS: Final = (layout.PROPERTIES, layout.COLLECTION, layout.PARTITIONS)
"""Files that stand in the directory of a catalogue or of a collection of them."""
_PARQUET = (".parquet", ".parq", ".pq")
_ESCAPE = re.compile(r"\\(.)")
_LINK = re.compile(rb"""\bhref\s*=\s*(?:"([^"?#]*)"|'([^'?#]*)'|([^\s"'>?#]+))""", re.IGNORECASE)
_ROWS = {"object", "source", "nested"}
_OLD: Final = {
    "catalog_name": "obs_collection",
    "catalog_type": "dataproduct_type",
    "total_rows": "hats_nrows",
    "ra_column": "hats_col_ra",
    "dec_column": "hats_col_dec",
    "primary_catalog": "hats_primary_table_url",
    "indexing_column": "hats_index_column",
}
_UNREAD = "a catalogue cannot be read: {why}"


# --- properties ----------------------------------------------------------------------------------------------


def read_properties(data: bytes, name: str = layout.PROPERTIES) -> dict[str, str]:
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
    found = read_lines(data)
    if "dataproduct_type" not in found:
        raise SourceError(
            say("no HATS catalogue: dataproduct_type is not said"), place=Place(file=name), remedy=layout.READ
        )
    return found


def read_lines(data: bytes) -> dict[str, str]:
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
    found: dict[str, str] = {}
    text = re.sub(r"\\\r?\n[ \t]*", "", data.decode("utf-8", "replace"))
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        key, _, value = stripped.partition("=")
        found[_OLD.get(key.strip(), key.strip())] = _ESCAPE.sub(
            lambda one: "\n" if one[1] == "n" else one[1], value.strip()
        )
    return found


# --- where a catalogue is ------------------------------------------------------------------------------------


class Folder(Protocol):
    """Where a catalogue is, as `opened` asks it: a directory, or an address."""

    def read(self, name: str) -> bytes | None:
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

    def has(self, name: str) -> bool:
        """Return whether there is a file; True where nobody can tell without asking for each.

        Parameters
        ----------
        name
            Below the place.
        """

    def files(self, name: str) -> list[str]:
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
class Directory:
    """A directory of this machine (`Folder`).

    Attributes
    ----------
    path
        Of the directory.
    """

    path: Path

    def read(self, name: str) -> bytes | None:
        """Read a small file; see `Folder.read`.

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
                say(_UNREAD, error.strerror or str(error)), place=Place(file=str(self.path / name)), remedy=layout.ANEW
            ) from error

    def has(self, name: str) -> bool:
        """See `Folder.has`."""
        return (self.path / name).is_file()

    def files(self, name: str) -> list[str]:
        """See `Folder.files`; those below are in it, too."""
        found = []
        for here, inner, names in os.walk(self.path / name):
            inner[:] = [one for one in inner if one[0] not in "._"]
            found += [os.path.join(here, one)[len(str(self.path)) + 1 :] for one in names if _parquet(one)]  # noqa: PTH118  (of many files)
        return sorted(found)


def _parquet(name: str) -> bool:
    return name[0] not in "._" and name.endswith(_PARQUET)


def linked(page: bytes, directory: str) -> list[str]:
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
    found = set()
    for pieces in _LINK.findall(page):
        link = unquote(b"".join(pieces).decode("utf-8", "replace")).removeprefix("./")
        before, slash, name = link.rpartition("/")
        if name and _parquet(name) and (not slash or before.endswith(f"/{directory.strip('/')}")):
            found.add(f"{directory}/{name}")
    return sorted(found)


# --- opening -------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """What a catalogue says of itself.

    Attributes
    ----------
    said
        Properties, by their names of today.
    base
        What names in it begin with, below the place that was asked: empty, or the main catalogue of a collection, with a slash behind it.
    partitions
        Order, pixel, and the name of a file below that place, in the order of their cells; of partitions that are directories, a line for each file.
    collection
        Properties of the collection; none: it was asked for by itself.
    """

    said: dict[str, str]
    base: str
    partitions: list[tuple[int, int, str]]
    collection: dict[str, str]

    def key(self, folder: Folder) -> str | None:
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
        listed = re.split(r"[;,\s]+", self.collection.get("all_indexes", ""))
        if found := self.collection.get("default_index") or listed[0]:
            return found
        index = folder.read(f"{self.base}index/{layout.PROPERTIES}")  # where Hven itself has it
        return None if index is None else read_lines(index).get("hats_index_column")


def recognised(place: str, folder: Folder) -> bool:
    """Return whether there is a catalogue, or a collection of them, by what stands in its directory: it may lack something, or be no table's.

    Parameters
    ----------
    place
        Directory or address, as errors call it.
    folder
        What is there.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    wanted = {
        layout.PROPERTIES: "dataproduct_type",
        layout.COLLECTION: "hats_primary_table_url",
        layout.PARTITIONS: "Norder,",
    }
    read = _Asked(place, folder).read
    return any(word.encode() in (read(name) or b"") for name, word in wanted.items())


def opened(place: str, folder: Folder) -> Opened:
    """Read what a catalogue says of itself; of a collection, its main catalogue.

    Parameters
    ----------
    place
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
        No catalogue; one whose rows are not those of a table (a margin, an index); a partition without a file; a directory whose mount hangs.
    """
    base, collection = "", {}
    read = _Asked(place, folder).read
    found = _first(read, base)
    if found is None and (data := read(layout.COLLECTION)) is not None:
        collection = read_lines(data)
        main = collection.get("hats_primary_table_url", "").strip("/")
        if not main or ".." in main.split("/") or "://" in main:
            raise SourceError(
                say("{name} does not say which catalogue below it is the main one", layout.COLLECTION),
                place=Place(file=f"{place}/{layout.COLLECTION}"),
                remedy="name the directory of the catalogue itself",
            )
        base = f"{main}/"
        found = _first(read, base)
    if found is None:
        raise SourceError(
            say("{directory} is no HATS catalogue: there is no hats.properties", f"{place}/{base}".rstrip("/")),
            remedy="name the directory that has hats.properties and dataset/ in it",
        )
    name, data = found
    said = read_properties(data, f"{place}/{name}")
    if said["dataproduct_type"] not in _ROWS:
        main = said.get("hats_primary_table_url", "").rstrip("/").rpartition("/")[2].strip(".")
        raise SourceError(
            say("the catalogue is of the type {type!r}, whose rows are not those of a table", said["dataproduct_type"]),
            place=Place(file=f"{place}/{name}"),
            remedy=f"name the catalogue of objects or sources itself{f': {main}, ' if main else '; it lies '}beside it",
        )
    listed = read(base + layout.PARTITIONS)
    if listed is None:
        raise SourceError(
            say(_UNREAD, "it is not there"), place=Place(file=f"{place}/{base}{layout.PARTITIONS}"), remedy=layout.ANEW
        )
    pixels = layout.read_partitions(listed, f"{place}/{base}{layout.PARTITIONS}")
    return Opened(said, base, _files(place, folder, base, said, pixels), collection)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A folder that answers in time, or not at all."""

    place: str
    folder: Folder

    def read(self, name: str) -> bytes | None:
        return abreast(self.folder.read, [name], f"{self.place}/{{}}".format)[0]


def _first(read: Callable[[str], bytes | None], base: str) -> tuple[str, bytes] | None:
    """Read the properties, by the name of today or that of older catalogues."""
    names = (base + layout.PROPERTIES, base + layout.PROPERTIES_TOO)
    return next(((name, data) for name in names if (data := read(name)) is not None), None)


def _files(
    place: str, folder: Folder, base: str, said: Mapping[str, str], pixels: Sequence[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    """Name the files of partitions."""
    suffix = said.get("hats_npix_suffix", ".parquet")
    directories = suffix in {"/", "\\"}
    paths = [base + layout.partition_path(*one).removesuffix(".parquet") + suffix.rstrip("/\\") for one in pixels]
    called = f"{place}/{{}}".format
    if directories:
        known = _in_metadata(folder, base) if layout.on_web(place) else None
        names = abreast(folder.files, paths, called) if known is None else [known.get(path, []) for path in paths]
    else:
        there = abreast(folder.has, paths, called)
        names = [[path] if has else folder.files(path) for path, has in zip(paths, there, strict=True)]
    for (order, pixel), path, some in zip(pixels, paths, names, strict=True):
        if not some:
            raise SourceError(
                say("the partition Norder={order} Npix={pixel} has no file", order, pixel),
                place=Place(file=called(path)),
                remedy=layout.ANEW,
            )
    return [(order, pixel, name) for (order, pixel), some in zip(pixels, names, strict=True) for name in some]


def _in_metadata(folder: Folder, base: str) -> dict[str, list[str]] | None:
    """List files by the metadata of all of them, which a server need not list then; None: there are none, or they are too many."""
    import pyarrow as pa  # noqa: PLC0415  (few catalogues are read so)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        data = folder.read(base + layout.METADATA)
        footer: Any = None if data is None else pq.read_metadata(io.BytesIO(data))
    except (SourceError, pa.ArrowException):
        return None
    if footer is None or not footer.num_row_groups:
        return None
    found: dict[str, dict[str, None]] = {}
    for number in range(footer.num_row_groups):
        name = footer.row_group(number).column(0).file_path
        if not name or ".." in name.split("/"):
            return None
        path = f"{base}{layout.DATASET}/{name}"
        found.setdefault(path.rpartition("/")[0], {})[path] = None
    return {path: sorted(names) for path, names in found.items()}


# --- what may hang -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Work:
    """Calls that threads take one by one, and what came of them."""

    left: list[tuple[int, Any]]
    done: dict[int, Any] = field(default_factory=dict)
    under_way: dict[int, Any] = field(default_factory=dict)
    fault: BaseException | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)


def abreast(
    call: Callable[[Any], T], given: Sequence[Any], called: Callable[[Any], str], threads: int = READERS
) -> list[T]:
    """Call a function with each of some values, in threads that nobody waits for: on a mount that hangs they never return.

    Parameters
    ----------
    call
        Looks at a file; what is behind an address has its own patience.
    given
        What it is called with.
    called
        Names the file, of what it is called with.
    threads
        At most; few, where more is computed than waited for.

    Returns
    -------
    found
        In the order of `given`.

    Raises
    ------
    SourceError
        For `PATIENCE` none of them returned.
    """
    work = _Work(list(enumerate(given))[::-1])

    def run() -> None:
        while True:
            with work.changed:
                if not work.left or work.fault is not None:
                    return
                number, one = work.left.pop()
                work.under_way[number] = one
            try:
                found, fault = call(one), None
            except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
                found, fault = None, error
            with work.changed:
                del work.under_way[number]
                work.done[number] = found
                work.fault = work.fault or fault
                if work.fault is not None or len(work.done) == len(given):  # who waits is not woken for each file
                    work.changed.notify()

    patience = None if given and layout.on_web(called(given[0])) else PATIENCE
    for _ in range(min(threads, len(given))):
        threading.Thread(target=run, name="hats-look", daemon=True).start()
    with work.changed:
        while len(work.done) < len(given) and work.fault is None:
            known = len(work.done)
            if not work.changed.wait(patience) and len(work.done) == known:
                work.left.clear()
                raise SourceError(
                    say("its file system does not answer for {seconds:g} s", PATIENCE),
                    place=Place(file=called(next(iter(work.under_way.values()), given[0]))),
                    remedy="look at the mount, then try again",
                )
        if work.fault is not None:
            raise work.fault
    return [work.done[number] for number in range(len(given))]


__all__ = [
    "MARKS",
    "Directory",
    "Folder",
    "Opened",
    "abreast",
    "linked",
    "opened",
    "read_lines",
    "read_properties",
    "recognised",
]
