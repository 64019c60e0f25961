"""What files of collections a reader may take: one or thousands at once, by the road of all queries; and the bytes of one that is as it was published.

Common
------
around, settings
    The site's.
who
    The reader.
collection
    Its name, or the schema of a release.
path
    Of the file.
row
    As `asked` found it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as urlquote

import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.adql.text import literal
from hven.formats.media import HEAD, Distant, medium_of, open_product
from hven.model.errors import (
    Forbidden,
    Gone,
    HvenError,
    NotFound,
    SourceError,
    Unauthenticated,
    Unavailable,
    say,
)
from hven.model.table import FILES, Column, Hole, Table, rooted
from hven.model.types import STRING
from hven.services import elsewhere
from hven.services._far_blocks import FarRanges
from hven.services.address import SIGNS
from hven.site import sends
from hven.site.auth import OWNER, looks, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from hven.formats.media import Place
    from hven.model.settings import Settings
    from hven.model.table import Template
    from hven.services.face import Surroundings
    from hven.site import Holdings, Published
    from hven.site.auth import Reader
    from hven.site.store import Release

LISTED = ("path", "url", "bytes", "sha256", "title")
COLUMNS = ("path", "url", "media_type", "bytes", "sha256", "modified")
READ = 1  # changes with what media make of files, so that no copies are used that were made otherwise
PIECE = 256 * 1024  # bytes of what is made, or comes from elsewhere, that are given at once
# bytes that are read at once of a file that lies here: with what the server holds of them, they stay in the processor's own cache (benches.md)
STEP = 160 * 1024
LOOKED = 4 << 20  # bytes after which it is looked whether a file is still what was published
Piece = bytes | bytearray | None  # None: what comes next must be waited for
FEW = 4000  # paths that are asked for one by one: a look-up of each costs less than a join up to some thousands
_TOLD = 20  # locked files of which each is asked why
_NO_ROWS = pa.table({name: pa.nulls(0) for name in COLUMNS})
_WANTED = Table(schema="TAP_UPLOAD", name="wanted", columns=(Column(name="wanted_path", type=STRING),))


class Found(NamedTuple):
    """What a reader asked of files of one collection.

    Attributes
    ----------
    rows
        By path; those that are not there are in none of the two.
    refused
        Why the reader may not take a file, by path.
    reach
        Who may keep the answer.
    note
        Writes down that a file was asked about or taken.
    collection
        Its name.
    """

    rows: dict[str, dict[str, Any]]
    refused: dict[str, HvenError]
    reach: str
    note: Callable[[str, str], None]
    collection: str

    def one(self, path: str) -> dict[str, Any]:
        """Return the row of a file.

        Parameters
        ----------
        path
            As it was asked for.

        Raises
        ------
        NotFound
            There is none that the reader may know of.
        HvenError
            The reader may not take it.
        """
        if path in self.refused:
            raise self.refused[path]
        if path not in self.rows:
            message = say("the collection {name!r} has no file {path!r} here", self.collection, path[:200])
            raise NotFound(message, remedy=say("collections/{name}/files lists them", self.collection))
        return self.rows[path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The file of a row, that its reader may take.

    Attributes
    ----------
    name
        By which readers know it.
    path
        Where it is: on the disk, or on another server, where it is read by ranges.
    etag
        Of its content, and of what it is read with.
    public
        Everybody may take it.
    copies
        Where rotated copies of its cubes are, if there are any.
    collection
        Whose file it is.
    """

    name: str
    path: Place
    etag: str
    public: bool
    copies: Path
    collection: str


def listed(around: Surroundings, who: Reader, name: str) -> list[dict[str, Any]]:
    """List a collection's files, as far as their list is for a reader.

    Parameters
    ----------
    name
        Of the collection.

    Returns
    -------
    rows
        `LISTED`, and ``direct``: where a file is taken without us, or None.

    Raises
    ------
    NotFound
        There are none that they may know of.
    """
    holdings = around.site.current()
    files = _files(around, who, name, holdings)
    text = f"SELECT {', '.join(LISTED)} FROM {_named(files)} ORDER BY path"
    rows = _answered(around, text, who, holdings).to_pylist()
    return [{**row, "direct": rooted(row["path"], files.roots)[0].direct} for row in rows]


def own_paths(table: Table) -> Iterator[tuple[Template, Template]]:
    """Yield the paths of rows' own files, and what is said of these.

    Parameters
    ----------
    table
        Of files, or whose rows lead to some.

    Yields
    ------
    path, description
        In templates over the row.
    """
    if table.utype == FILES:
        yield (Hole('target."path"'),), (Hole('target."title"'),)
    for link in table.own_files:
        yield link.address, link.description
    for path in table.sample_files:
        yield path, ()


def states(around: Surroundings, who: Reader, collection: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a collection with what tells their states, as far as these were published.

    Yields
    ------
    path, state
        In the order of the paths.

    Raises
    ------
    NotFound
        There are none that the reader may know of.
    """
    holdings = around.site.current()
    files = _named(_files(around, who, collection, holdings))
    text = f"SELECT path, bytes, modified, sha256 FROM {files} ORDER BY path"
    with query.run(text, who, site=around.site, policies=around.policies, holdings=holdings) as result:
        for batch in result.batches():
            for path, *state in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield path, str(state)


def named(around: Surroundings, who: Reader, collection: str, last: str) -> list[str]:
    """List paths of files by their name, as far as the list of files is for a reader.

    Parameters
    ----------
    collection
        Its name.
    last
        What stands behind the last slash.

    Returns
    -------
    paths
        In their order.

    Raises
    ------
    NotFound
        There are none that they may know of.
    """
    holdings = around.site.current()
    files = _named(_files(around, who, collection, holdings))
    text = f"SELECT path FROM {files} WHERE path = {literal(last)} OR path LIKE {literal(f'%/{last}')} ORDER BY path"
    paths: list[str] = _answered(around, text, who, holdings)["path"].to_pylist()
    return paths


def asked(around: Surroundings, who: Reader, name: str, paths: Sequence[str]) -> Found:
    """Ask for files of a collection by the road of all queries.

    A file that rows of the collection name is known and taken as their levels have it; one row that is locked locks it.

    Parameters
    ----------
    name
        Of the collection, or of the schema of a release.
    paths
        Of the files.

    Returns
    -------
    found
        What there is of them for this reader.

    Raises
    ------
    NotFound
        The collection has no files that they may know of.
    """
    holdings = around.site.current()
    known = told(around, who, name, paths, holdings)
    if not known.listed and not known.named:
        raise _none(name)
    rows: dict[str, dict[str, Any]] = {}
    for table, found in known.listed:
        where = _where(around, holdings.published[table.qualified])
        for row in _in_seconds(found).to_pylist():
            row.update(where, tag=row["sha256"] or _state(row, where["collection"]))
            rows[row["path"]] = row

    def note(what: str, path: str) -> None:
        if known.listed:
            files = known.listed[0][0]
            looks.looked(around.site.store, who, what, path, files, known.named, around.policies)

    reach = holdings.reach(OWNER if known.named and not whole(who, name) else who, around.policies)
    return Found(rows, _refused(known.shut, who), reach, note, name)


class Told(NamedTuple):
    """Whether files of one collection may be had: what both their addresses and whatever leads to these ask (`told`).

    Attributes
    ----------
    listed
        Its tables of files, first the one of now, each with its rows of those that the reader may take: `COLUMNS`.
    shut
        Path -> the table whose row locks it: the reader may know of the file, and not take it.
    unseen
        Paths of which the reader may not know whether there is a file.
    named
        The tables whose policies say of their rows who takes the files that these name.
    """

    listed: list[tuple[Table, pa.Table]]
    shut: dict[str, Table]
    unseen: set[str]
    named: list[Table]


def told(around: Surroundings, who: Reader, name: str, paths: Sequence[str], holdings: Holdings) -> Told:
    """Ask which files of a collection a reader may take, and of which others they may know. This alone decides it.

    Parameters
    ----------
    name, paths
        As of `asked`.
    holdings
        The state that is asked.

    Returns
    -------
    told
        Files that are neither listed nor shut are not there, or not for this reader.
    """
    wanted, catalogue = list(dict.fromkeys(paths)), holdings.catalogue(who, around.policies)
    shut, unseen = dict[str, Table](), set[str]()
    # a file of a release is locked by what is published now, too
    of = {name, *(item.release.collection for item in holdings.published.values() if item.release and item.release.schema == name)}  # fmt: skip
    named = [table for table in holdings.guarded if table.schema in of and table.policy and table.policy.path]
    if named and not whole(who, name):
        known = {table.qualified for table in catalogue.tables()}
        seen = {
            path
            for table in named
            if table.schema == name and table.qualified in known
            for path in _seen(around, table, wanted, who, holdings)
        }
        unseen = {path for path in wanted if path not in seen}
        wanted = [path for path in wanted if path in seen]
        shut = _locked(named, wanted, who)
        wanted = [path for path in wanted if path not in shut]
        who = OWNER  # the list of all files is private
        catalogue = holdings.catalogue(who, around.policies)
    files = next((one for one in catalogue.tables() if one.schema == name and one.utype == FILES), None)
    if files is None or (not wanted and named):
        return Told([], shut, unseen.union(wanted), named)
    # what is published no more stays at its address as long as a release has it
    older = {item.table.qualified for item in holdings.releases.get(files.qualified, ())}
    listed = []
    for one in (files, *(table for table in catalogue.tables() if table.qualified in older)):
        found = _rows(around, one, wanted, COLUMNS, "path", who, holdings) if wanted else _NO_ROWS
        listed.append((one, found))
        if found.num_rows == len(wanted):
            break
        have = {*found["path"].to_pylist()}
        wanted = [path for path in wanted if path not in have]
    return Told(listed, shut, unseen, named)


def taken(around: Surroundings, who: Reader, collection: str, path: str) -> Original:
    """Find a file of a collection, as its reader may take it; that it is taken is on record.

    Returns
    -------
    file
        As it was published.

    Raises
    ------
    NotFound
        There is none that they may know of.
    Forbidden, Unauthenticated, Unavailable, Gone
        As of the file itself.
    """
    found = asked(around, who, collection, [path])
    made = original(around, who, found, path)
    found.note("file taken", path)
    sends(files=[collection])
    return made


def original(around: Surroundings, who: Reader, found: Found, path: str) -> Original:
    """Open one of the files that were asked for.

    Parameters
    ----------
    found
        As `asked` found it.

    Returns
    -------
    file
        As it was published.

    Raises
    ------
    HvenError
        As of `taken`.
    """
    row = found.one(path)
    place = opened_at(around, who, found.collection, row)
    tag = " ".join([elsewhere.state_of(around, row), *look_beside(around, who, found.collection, path, place)])
    kept = hashlib.sha256(f"{READ} {tag}".encode()).hexdigest()
    copies = around.site.settings.var / "cubes" / found.collection / kept
    name, public = path.rpartition("/")[2], found.reach == "public"
    return Original(name=name, path=place, etag=tag, public=public, copies=copies, collection=found.collection)


def look_beside(around: Surroundings, who: Reader, collection: str, path: str, place: Place) -> list[str]:
    """See that a reader may take what is read together with a file: the data that a label points to, or the label of data.

    Parameters
    ----------
    place
        Where it is.

    Returns
    -------
    tags
        Of these: what is made of the file changes with them.

    Raises
    ------
    NotFound
        One of these is none of the collection's files, as far as the reader may know.
    HvenError
        The reader may not take one, or it was changed since it was published.
    """
    with place.open("rb") as file:
        medium = medium_of(path, file.read(HEAD))
    if medium is not None and not medium.beside:
        return []
    try:
        with open_product(place, path.rpartition("/")[2]) as product:
            others = product.beside
    except SourceError:  # of no kind that can be read: who opens it says so
        return []
    folder = path.removesuffix(place.name)
    paths = [f"{folder}{other.name}" if other.parent == place.parent else str(other.name) for other in others]
    if not paths:
        return []
    found = asked(around, who, collection, paths)
    rows = [found.one(one) for one in paths]
    for row in rows:
        if elsewhere.root_of(row) is None:
            place_of(around.site.settings, row)
    return [elsewhere.state_of(around, row) for row in rows]


def successor(around: Surroundings, url: str, release: Release, who: Reader) -> str | None:
    """Find the file that is named now by the row which named this one in a release.

    Parameters
    ----------
    url
        Of the file.
    release
        That has it.

    Returns
    -------
    url
        As a header has it; None: there is none for this reader.
    """
    holdings = around.site.current()
    known = {table.qualified: table for table in holdings.catalogue(who, around.policies).tables()}
    for old in known.values():
        new = known.get(f"{release.collection}.{old.name}")
        if old.schema != release.schema or new is None or not old.primary:
            continue
        names = {*new.arrow.names}
        for column in old.columns:
            if not (column.ucd or "").startswith("meta.ref.url") or not names.issuperset((*old.primary, column.name)):
                continue
            shown, key, value = adql.quote(column.name), ", ".join(map(adql.quote, old.primary)), literal(url)
            text = f"SELECT TOP 1 b.{shown} AS url FROM {_named(old)} AS a JOIN {_named(new)} AS b USING ({key})"
            found = _answered(around, f"{text} WHERE a.{shown} = {value} AND b.{shown} <> {value}", who, holdings)
            if found.num_rows:
                return urlquote(str(found["url"][0].as_py()), safe=SIGNS)  # nothing else goes into a header
    return None


def _state(row: dict[str, Any], owner: str) -> str:
    """Name what is in a file without checksum: others may have its size and time, so its path counts."""
    said = f"{owner}/{row['path']} {row['bytes']} {row['modified']}"
    return hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()


def _files(around: Surroundings, who: Reader, name: str, holdings: Holdings) -> Table:
    tables = holdings.catalogue(who, around.policies).tables()
    files = next((one for one in tables if one.schema == name and one.utype == FILES), None)
    if files is None:
        raise _none(name)
    return files


def _none(name: str) -> NotFound:
    return NotFound(f"the collection {name!r} has no files here", remedy="the first page lists what is here")


def _seen(around: Surroundings, table: Table, paths: Sequence[str], who: Reader, holdings: Holdings) -> set[str]:
    """Return which of the paths a row has that the reader sees."""
    column = str(table.policy and table.policy.path)
    return {*_rows(around, table, paths, (column,), column, who, holdings)[column].to_pylist()} if paths else set()


def _locked(named: Sequence[Table], paths: Sequence[str], who: Reader) -> dict[str, Table]:
    found: dict[str, Table] = {}
    for table in named:
        if table.rights is not None and table.policy is not None:
            found |= {
                path: table for path in table.rights.shut(who, str(table.policy.path), paths) if path not in found
            }
    return found


def _refused(shut: dict[str, Table], who: Reader) -> dict[str, HvenError]:
    """Say why files cannot be taken."""
    found: dict[str, HvenError] = {}
    many = Counter(table.qualified for table in shut.values())
    kind = Unauthenticated if who.anonymous else Forbidden
    for path, table in shut.items():
        # why is a question of its own for each
        rights, policy = table.rights, table.policy
        assert rights is not None and policy is not None  # noqa: S101, PT018  (by which it is locked)
        locked = rights.locked(who, {str(policy.path): path}) if many[table.qualified] <= _TOLD else None
        until = (locked and locked.until) or say("somebody opens it")
        message = say("the file {path} is locked until {until}", path, until)
        whom = (locked and locked.contact) or policy.contact or say("its owner")
        found[path] = kind(message, remedy=say("ask {whom}", whom))
    return found


def _rows(
    around: Surroundings,
    table: Table,
    paths: Sequence[str],
    columns: Sequence[str],
    column: str,
    who: Reader,
    holdings: Holdings,
) -> pa.Table:
    """Ask for the rows of paths: of some as everybody asks, of many by a table of them."""
    path = adql.quote(column)
    if len(paths) <= FEW:
        top = "" if len(columns) > 1 else "TOP 1 " if len(paths) == 1 else "DISTINCT "
        said = f"= {literal(paths[0])}" if len(paths) == 1 else f"IN ({', '.join(map(literal, paths))})"
        listed = ", ".join(map(adql.quote, columns))
        return _answered(around, f"SELECT {top}{listed} FROM {_named(table)} WHERE {path} {said}", who, holdings)
    listed = ", ".join(f"f.{adql.quote(one)}" for one in columns)
    distinct = "DISTINCT " if len(columns) == 1 else ""
    text = (
        f"SELECT {distinct}{listed} FROM {_named(table)} AS f JOIN {_WANTED.qualified} AS w ON f.{path} = w.wanted_path"
    )
    return _answered(around, text, who, holdings, pa.table({"wanted_path": pa.array(paths, pa.string())}))


def _named(table: Table) -> str:
    return f"{adql.quote(table.schema)}.{adql.quote(table.name)}"


def _answered(
    around: Surroundings, text: str, who: Reader, holdings: Holdings, wanted: pa.Table | None = None
) -> pa.Table:
    uploads = None if wanted is None else {_WANTED.qualified: (_WANTED, wanted)}
    with query.run(text, who, site=around.site, policies=around.policies, holdings=holdings, uploads=uploads) as result:
        batches = [*result.batches()]
        return pa.Table.from_batches(batches, None if batches else pa.schema([one.arrow for one in result.columns]))


def _in_seconds(rows: pa.Table) -> pa.Table:
    """Write when files were changed as seconds since 1970: as objects of Python, thousands of times take long."""
    at = rows.schema.get_field_index("modified")
    seconds = pc.divide(rows.column(at).cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    return rows.set_column(at, "modified", seconds)


def opened_at(around: Surroundings, who: Reader, collection: str, row: dict[str, Any]) -> Place:
    """Find where media read a file: on the disk, or by ranges from another server.

    Parameters
    ----------
    who
        The reader; what a file elsewhere is read with is asked for as they may take it.
    collection
        As it was asked for.

    Returns
    -------
    place
        Of the file as it was published.

    Raises
    ------
    FarFault, Unavailable, Gone
        It is gone, or was changed since.
    """
    there = elsewhere.far_file(around, row, read=True)
    if there is None:
        return Path(place_of(around.site.settings, row))
    known: dict[str, FarRanges | None] = {str(row["path"]): FarRanges(elsewhere.far_blocks(around), there)}

    def look(path: str) -> FarRanges | None:
        if path not in known:
            found = asked(around, who, collection, [path])
            there = path in found.rows or path in found.refused
            file = elsewhere.far_file(around, found.one(path), read=True) if there else None
            known[path] = None if file is None else FarRanges(elsewhere.far_blocks(around), file)
        return known[path]

    return Distant(PurePosixPath(row["path"]), look)


def place_of(settings: Settings, row: dict[str, Any], folders: dict[str, bool] | None = None) -> str:
    """Find a file, and see that it is the one whose checksum was published.

    Parameters
    ----------
    folders
        Whether a folder leads out of the site, for who asks for many of its files.

    Returns
    -------
    place
        Absolute.

    Raises
    ------
    Unavailable
        It is gone, or was changed since.
    Gone
        It is of a release, and was replaced.
    """
    place, seen = _found(settings, row, folders)
    other = not _same(seen, row)
    if other and row["release"] is not None:
        raise Gone(
            f"the file {row['path']} of {row['release'].label} was replaced",
            remedy=f"collections/{row['collection']}/files/{row['path']} is what stands for it now, if it is published",
        )
    if other:
        raise elsewhere.changed(row)
    return place


def lying(around: Surroundings, files: Published, path: str) -> Path | None:
    """Find where a file of a collection lies, whether or not it is as it was published.

    Parameters
    ----------
    files
        The collection's table of files.

    Returns
    -------
    place
        None: on another server, gone, or out of the site.
    """
    try:
        return Path(_found(around.site.settings, {"path": path, **_where(around, files)})[0])
    except Unavailable:
        return None


def _where(around: Surroundings, files: Published) -> dict[str, Any]:
    """Return what places the files of a collection, or of a release of it."""
    owner = files.table.schema if files.release is None else files.release.collection
    home = str(around.site.settings.collections / owner)
    return {"release": files.release, "collection": owner, "home": home, "roots": files.table.roots}


def _found(
    settings: Settings, row: dict[str, Any], folders: dict[str, bool] | None = None
) -> tuple[str, os.stat_result]:
    place = f"{row['home']}/{row['path']}"  # for thousands, paths are texts
    if row["roots"]:
        root, below = rooted(row["path"], row["roots"])
        if root.scheme is not None:
            raise Unavailable(
                say("the file {path} lies on another server", row["path"]), remedy=say("take it as a whole")
            )
        if root.address:
            place = os.path.join(row["home"], os.path.expanduser(root.address), below)  # noqa: PTH111, PTH118
    try:
        seen = os.lstat(place)
        linked = stat.S_ISLNK(seen.st_mode)
        folder = place.rpartition("/")[0]
        inside = None if folders is None or linked else folders.get(folder)
        if inside is None:
            real = os.path.realpath(place, strict=True)
            # where no link is on the way, its name tells
            inside = real == place and any(real.startswith(f"{root}/") for root in settings.grounds)
            inside = inside or any(Path(real).is_relative_to(root.resolve()) for root in settings.grounds)
            seen = os.stat(place)  # noqa: PTH116
            if folders is not None and not linked:
                folders[folder] = inside
    except (OSError, ValueError):
        raise Unavailable(
            f"the file {row['path']} is not there now",
            remedy="its owner must put it back, or ingest the collection again",
        ) from None
    if not inside:
        raise Unavailable(
            f"the file {row['path']} is not there now",
            remedy="its owner must put it back: a link leads out of the site",
        )
    return place, seen


def reading(
    around: Surroundings, row: dict[str, Any], place: str | None = None
) -> Callable[[int, int], Generator[Piece]]:
    """Return what reads bytes of a file, from one to before another: the one place where the bytes of files come from that leave in archives and ranges.

    Parameters
    ----------
    place
        Where `place_of` has just found it; None: that is asked as soon as it is read.

    Returns
    -------
    read
        Gives None before what must be waited for: what is in memory is read at once. Raises `Unavailable` or `FarFault` as soon as the file is not
        what was published, and before its last bytes are given.
    """
    return (
        partial(_read, around.site.settings, row, place)
        if elsewhere.root_of(row) is None
        else partial(_read_far, around, row)
    )


def _read_far(around: Surroundings, row: dict[str, Any], start: int, stop: int) -> Generator[Piece]:
    yield None
    file = elsewhere.far_file(around, row)
    assert file is not None  # noqa: S101  (it was asked whether it lies here)
    places = range(start, min(stop, file.bytes), PIECE)
    with elsewhere.told(row):
        for place in places:
            yield None
            # a whole piece each, for these are cut off at the file's end alone
            (part,) = elsewhere.far_blocks(around).spans(
                file, min(PIECE, stop - place), [place], going_on=stop - place > PIECE
            )
            yield part


def _read(settings: Settings, row: dict[str, Any], place: str | None, start: int, stop: int) -> Generator[Piece]:
    yield None
    try:
        file = os.open(place or place_of(settings, row), os.O_RDONLY)
    except OSError:
        raise elsewhere.changed(row) from None
    try:
        looked = start
        while start < stop:
            if start >= looked:
                looked = start + LOOKED
                if not _same(os.fstat(file), row):
                    raise elsewhere.changed(row)
            wanted = min(STEP, stop - start)
            piece: bytes | bytearray = at_once(file, wanted, start)
            if not piece:
                yield None
                piece = os.pread(file, wanted, start)
            start += len(piece)
            # looked at after it was read, too: what stands in its place was not published
            if not piece or (start >= stop and not _same(os.fstat(file), row)):
                raise elsewhere.changed(row)
            yield piece
    finally:
        os.close(file)


def at_once(file: int, wanted: int, start: int) -> bytearray:
    """Read what is in memory.

    Parameters
    ----------
    file
        Its descriptor.
    wanted, start
        Bytes, and from which.

    Returns
    -------
    piece
        Empty, if nothing is, or the machine cannot tell.
    """
    room = bytearray(wanted)
    try:
        del room[os.preadv(file, [room], start, os.RWF_NOWAIT) :]
    except (OSError, AttributeError):
        room.clear()
    return room


def _same(seen: os.stat_result, row: dict[str, Any]) -> bool:
    return stat.S_ISREG(seen.st_mode) and seen.st_size == row["bytes"] and abs(seen.st_mtime - row["modified"]) <= 1e-3
