"""Files of many rows as one archive, written while it is sent: ZIP or TAR, of a size that is known beforehand, in ranges; what is refused or missing is listed."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from array import array
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from starlette.responses import Response

from hven import __version__
from hven import services as dali
from hven.formats import End, Head
from hven.model import split_address
from hven.model.errors import HvenError, NotFound, ParamError, TooLarge, say
from hven.model.table import rooted
from hven.services import datalinks, elsewhere, filed, scripts
from hven.services._packing import Member, Packing, Tar, Zip
from hven.services._ranges import Flow, flowing
from hven.services._sums import Sums
from hven.services.address import bases
from hven.site import sends

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request

    from hven.formats import Format, Info
    from hven.model.resource import Resource
    from hven.model.table import Root, Table
    from hven.query import Result
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

KINDS: dict[str, tuple[Callable[[Sequence[Member], Sums], Packing], str]] = {
    "zip": (Zip, "application/zip"),
    "tar": (Tar, "application/x-tar"),
}
TEXTS = 3  # members before the files
HEAD = ("name", "bytes", "sha256", "status", "address", "reason")
HERE, REFUSED, MISSING, ELSEWHERE = "here", "refused", "missing", "elsewhere"
_FILE = r"/collections/([^/?#]+)/files/([^?#]+)"
_LINKS = r"/datalink/([^/?#]+)\?"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Entry(NamedTuple):
    """A file that was asked for.

    Attributes
    ----------
    address
        Of the file.
    status
        `HERE`, `REFUSED`, `MISSING` or `ELSEWHERE`.
    reason
        Why it is not here.
    member
        Of the archive; None: it is not here.
    """

    address: str
    status: str
    reason: str = ""
    member: Member | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an archive will have, told beforehand.

    Attributes
    ----------
    entries
        All that was asked for.
    bytes
        Of the files that are here.
    owners
        The collection of each file that is in it.
    collections
        From which they are.
    sums
        Of the site.
    files
        How many are in it.
    far
        Some lie on other servers.
    """

    entries: Sequence[Entry]
    bytes: int
    owners: Sequence[str]
    collections: Sequence[Resource]
    sums: Sums
    files: int
    far: bool = False


def leading(result: Result, named: str | None) -> str:
    """Choose the column of an answer that leads to files.

    Parameters
    ----------
    result
        The answer.
    named
        The column that was asked for; None: what says that it leads to files, else the identifier of rows that have links.

    Returns
    -------
    name
        Of the column.

    Raises
    ------
    ParamError
        There is none.
    """
    names = [column.name for column in result.columns]
    if named is not None:
        found = next((name for name in names if name.lower() == named.lower()), None)
    else:
        texts = [column for column in result.columns if column.type.is_string]
        ranked = {name: at for at, name in enumerate((*scripts.FIRST[:1], *scripts.FIRST[2:]))}
        said = [one for one in texts if one.name in ranked or (one.ucd or "").lower().startswith("meta.ref.url")]
        likely = min(said, key=lambda one: ranked.get(one.name, len(ranked)), default=None)
        found = likely.name if likely is not None else _identifying(result)
    if found is None:
        raise ParamError(
            say("{name}={value}: no column of that name leads to files", "COLUMN", (named or "")[:60]),
            name="COLUMN",
            remedy=say("there are: {names}", ", ".join(names)),
        )
    return found


def addresses(result: Result, column: str, base: str) -> list[str]:
    """Read where the rows of an answer lead to.

    Parameters
    ----------
    result
        Its rows are read.
    column
        As `leading` chose it.
    base
        Address of the site, without a final slash.

    Returns
    -------
    addresses
        As `planned` takes them.
    """
    at = next(at for at, one in enumerate(result.columns) if one.name == column)
    texts = [text for batch in result.batches() for text in batch.column(at).to_pylist() if text not in {None, ""}]
    if column != _identifying(result):
        return list(map(str, texts))
    links = links_of(result.tables[0], base)
    return [links + quote(str(text), safe="") for text in texts]


def links_of(table: Table, base: str) -> str:
    """Return the address of lists of links of a table's rows, up to the identifier.

    Parameters
    ----------
    table
        Whose rows they are.
    base
        Address of the site, without a final slash.
    """
    return f"{base}/datalink/{quote(table.qualified)}?ID="


def _identifying(result: Result) -> str | None:
    """Return the identifier of rows that have links, if the answer has it."""
    table = result.tables[0] if len(result.tables) == 1 else None
    key = table.identifier if table is not None and table.leads else None
    return next((one.name for one in result.columns if key is not None and one.name == key.name), None)


def planned(around: Surroundings, request: Request, addresses: Iterable[str], *, every: bool = False) -> Plan:
    """Look what there is behind addresses, and what of it a reader may take.

    Parameters
    ----------
    around
        The site.
    request
        Of the reader.
    addresses
        Of files of this site, of lists of links of its rows, or of files elsewhere.
    every
        As of `followed`.

    Returns
    -------
    plan
        Each file once, in the order of the addresses.

    Raises
    ------
    TooLarge
        More files, or bytes, than the limits of the site allow.
    """
    limits = around.site.settings.limits
    wanted = list(dict.fromkeys(addresses))
    if len(wanted) > limits.archive_files:
        raise too_large(around)
    who, here = around.reader(request), _bases(request, around)
    given, lost = followed(around, request, wanted, every=every)
    matches = zip(given, map(_matching(here, _FILE), given), strict=True)
    parts = {one: None if found is None else (unquote(found[1]), unquote(found[2])) for one, found in matches}
    of: dict[str, list[str]] = {}
    for found in parts.values():
        if found is not None:
            of.setdefault(found[0], []).append(found[1])
    taken = {name: _asked(around, who, name, paths) for name, paths in of.items()}
    names, entries, total = scripts.Names(), list(lost), 0
    folders: dict[str, bool] = {}
    plain: dict[str, str] = {}
    owners: list[str] = []
    distant = _distant(around, taken)
    direct = {name for name, known in taken.items() if known is not None and any(one.direct for one in _roots(known))}
    for address, found in parts.items():
        if found is None:
            entries.append(Entry(address, ELSEWHERE, "it is of another site: fetch it there"))
            continue
        name, path = found
        known = taken[name]
        if known is None or (path not in known.rows and path not in known.refused):
            entries.append(Entry(address, MISSING, f"the collection {name!r} has no file {path!r} here"))
            continue
        if path in known.refused:
            entries.append(Entry(address, REFUSED, _said(known.refused[path])))
            continue
        row = known.rows[path]
        if name in direct and rooted(path, row["roots"])[0].direct:
            entries.append(Entry(address, ELSEWHERE, "it is on another server: fetch it by its address"))
            continue
        try:
            row = distant.get(found, row)
            if isinstance(row, HvenError):
                raise row
            if found not in distant:
                filed.place_of(around.site.settings, row, folders)
        except HvenError as error:
            entries.append(Entry(address, MISSING, _said(error)))
            continue
        folder, _, last = f"{row['collection']}/{path}".rpartition("/")
        owners.append(row["collection"])
        if folder not in plain:
            plain[folder] = "/".join(map(scripts.plain, folder.split("/")))
        called = names.of(f"{plain[folder]}/{scripts.plain(last)}")
        read = filed.reading(around, row)
        taking = partial(known.note, "file taken", path)
        begin = elsewhere.build_read_ahead(around, row)
        entries.append(
            Entry(address, HERE, "", Member(called, row["bytes"], row["modified"], row["tag"], read, taking, begin))
        )
        total += row["bytes"]
    if total > limits.archive_bytes:
        raise too_large(around, total)
    resources = around.site.current().resources
    return Plan(
        entries=entries,
        bytes=total,
        owners=owners,
        sums=around.site.kept(Sums, around.site.settings.var / "crc32"),
        files=sum(one.member is not None for one in entries),
        far=bool(distant),
        collections=[resources[name] for name in dict.fromkeys(owners) if name in resources],
    )


def _distant(around: Surroundings, taken: Mapping[str, filed.Found | None]) -> dict[tuple[str, str], Any]:
    """Ask other servers for what the archive has of them, all at once: rows with size, time and state, or why there is none."""
    far_off = [
        (name, one) for name, one in taken.items() if one is not None and any(root.scheme for root in _roots(one))
    ]
    every = [(name, row) for name, one in far_off for row in one.rows.values()]
    far = [(name, row) for name, row in every if (there := elsewhere.root_of(row)) is not None and not there[0].direct]
    states = elsewhere.settled(around, [row for _, row in far])
    return {(name, row["path"]): state for (name, row), state in zip(far, states, strict=True)}


def _roots(found: filed.Found) -> list[Root]:
    """List the roots of files, those of each table once."""
    every = {id(row["roots"]): row["roots"] for row in found.rows.values()}
    return [root for roots in every.values() for root in roots]


def answer(
    request: Request, plan: Plan, *, kind: str, called: str, title: str, about: Sequence[tuple[str, str]]
) -> Response:
    """Make the response: the archive, or a range of it.

    Parameters
    ----------
    request
        GET, HEAD or POST.
    plan
        What is in it.
    kind
        One of `KINDS`.
    called
        The archive, without an ending, and the folder in it.
    title
        Of the site.
    about
        Lines of the README.

    Returns
    -------
    response
        With its length; 304 and 416 as RFC 9110 has them.
    """
    sends(files=plan.owners)
    members = _members(plan, called, title, about)
    packing, media_type = KINDS[kind]
    packed = packing(members, plan.sums)
    # the texts before the files say all of these but when they were changed
    facts = [__version__, kind, *(f"{one.name} {one.sha256}" for one in members[:TEXTS])]
    facts += (one.sha256 for one in members if not one.summed)
    times = array("d", (one.modified for one in members)).tobytes()
    tag = f'"{hashlib.sha256(" ".join(facts).encode() + times).hexdigest()[:32]}"'
    headers = {
        "etag": tag,
        "cache-control": "private, no-cache",
        "vary": "authorization, cookie",
        "accept-ranges": "bytes",
        "content-type": media_type,
        "content-disposition": f'attachment; filename="{called}.{kind}"',
        "content-length": str(packed.size),
        "x-content-type-options": "nosniff",
        "hven-files": str(plan.files),
        "hven-missing": str(len(plan.entries) - plan.files),
    }
    if dali.unchanged(request, tag):
        del headers["content-length"]
        return Response(status_code=304, headers=headers)
    status, start, stop = 200, 0, packed.size
    asked = request.headers.get("range", "")
    if request.method in {"GET", "HEAD"} and asked and request.headers.get("if-range", tag) == tag:
        found = _ranged(asked, packed.size)
        if found is not None:
            status, (start, stop) = 206, found
            headers["content-length"] = str(stop - start)
            headers["content-range"] = f"bytes {start}-{stop - 1}/{packed.size}"
            if start >= stop:
                headers |= {"content-range": f"bytes */{packed.size}", "content-length": "0"}
                return Response(status_code=416, headers=headers)
    if request.method == "HEAD":
        return Response(None, status, headers)
    return Flow(request, status, headers, flowing(packed.part(start, stop), far=plan.far))


def _members(plan: Plan, called: str, title: str, about: Sequence[tuple[str, str]]) -> list[Member]:
    """List the members: a README, the manifest and checksums before the files."""
    files = [
        Member(f"{called}/files/{one.member.name}", *one.member[1:]) for one in plan.entries if one.member is not None
    ]
    latest = max((one.modified for one in files), default=0.0)
    lines = [f"{one.sha256}  {one.name.removeprefix(f'{called}/')}\n" for one in files if one.summed]
    texts = {"README.txt": _readme(plan, title, about), "MANIFEST.csv": _manifest(plan), "SHA256SUMS": "".join(lines)}
    made = []
    for name, text in texts.items():
        body = text.encode()
        made.append(Member(f"{called}/{name}", len(body), latest, hashlib.sha256(body).hexdigest(), _bytes(body)))
    return [*made, *files]


def _bytes(body: bytes) -> Callable[[int, int], Iterator[bytes]]:
    return lambda start, stop: iter((body[start:stop],))


def _manifest(plan: Plan) -> str:
    made = io.StringIO()
    rows = csv.writer(made, lineterminator="\n")
    rows.writerow(HEAD)
    rows.writerows(
        ("", "", "", one.status, one.address, one.reason)
        if one.member is None
        else (
            f"files/{one.member.name}",
            one.member.size,
            one.member.sha256 if one.member.summed else "",
            one.status,
            one.address,
            one.reason,
        )
        for one in plan.entries
    )
    return made.getvalue()


def _readme(plan: Plan, title: str, about: Sequence[tuple[str, str]]) -> str:
    lost = len(plan.entries) - plan.files
    lines = [
        f"Files of {title}",
        "",
        *(f"{name}: {' '.join(text.split())}" for name, text in about),
        f"Files: {plan.files:,} of {plan.bytes:,} bytes",
        *([f"Not in this archive: {lost:,} that were asked for; MANIFEST.csv says why"] if lost else []),
        "",
        "MANIFEST.csv lists all files with sizes, checksums and where they come from.",
        "To check what you have: sha256sum -c SHA256SUMS",
        "",
    ]
    for one in plan.collections:
        facts = [
            ("Cite", one.citation),
            ("Bibcode", one.bibcode),
            ("DOI", one.doi),
            ("See", one.reference_url),
            ("Acknowledge", one.acknowledgement),
        ]
        licence = " ".join(text for text in (one.licence, one.licence_url) if text)
        facts.append(("Licence", licence))
        lines += [one.title, *(f"  {name}: {' '.join(text.split())}" for name, text in facts if text), ""]
    return "\n".join(lines)


def followed(
    around: Surroundings, request: Request, addresses: Sequence[str], *, every: bool = False
) -> tuple[list[str], list[Entry]]:
    """Follow lists of links to the rows' own files.

    Parameters
    ----------
    around
        The site.
    request
        Of the reader.
    addresses
        Of files, or of lists of links of this site.
    every
        All of the site's files that a list leads to, not the rows' own alone.

    Returns
    -------
    addresses
        Of files, each once.
    lost
        Lists that lead to none.
    """
    who, here = around.reader(request), _bases(request, around)
    ids: dict[str, list[tuple[str, str]]] = {}
    match, file = _matching(here, _LINKS), _matching(here, _FILE)
    for address in addresses:
        found = match(address)
        if found is not None:
            given = [value for name, value in parse_qsl(split_address(address).query) if name.upper() == "ID"]
            ids.setdefault(unquote(found[1]), []).extend((one, address) for one in given)
    led: dict[str, list[str]] = {}
    lost: list[Entry] = []
    holdings = around.site.current()
    for name, asked in ids.items():
        try:
            table = dali.table_named(name, holdings.catalogue(who, around.policies))
            rows = datalinks.rows(
                table, [one for one, _ in asked], who=who, site=around.site, policies=around.policies,
                holdings=holdings, base=here[0],
            ).to_pylist()  # fmt: skip
        except HvenError as error:
            lost += [Entry(address, MISSING, _said(error)) for _, address in asked]
            continue
        known = dict(asked)
        for row in rows:
            own = row["semantics"] == datalinks.THIS
            if row["access_url"] is not None and (own or (every and file(row["access_url"]))):
                led.setdefault(known[row["ID"]], []).append(row["access_url"])
            elif row["access_url"] is None and row["error_message"] is not None and (own or every):
                lost.append(Entry(known[row["ID"]], MISSING, str(row["error_message"])))
    listed = {address for asked in ids.values() for _, address in asked}
    told = {one.address for one in lost} | {*led}
    lost += [
        Entry(one, MISSING, "it leads to no file that is here for you")
        for one in dict.fromkeys(addresses)
        if one in listed and one not in told
    ]
    files = (one for address in addresses for one in (led.get(address, ()) if address in listed else (address,)))
    return list(dict.fromkeys(files)), lost


def _bases(request: Request, around: Surroundings) -> list[str]:
    """List the site's addresses, with those that it had when rows were written: a server at another port has the same files."""
    return list(dict.fromkeys([*bases(request, around.site.settings), *sorted(around.site.current().written)]))


def _matching(here: Sequence[str], what: str) -> Callable[[str], re.Match[str] | None]:
    """Return what finds the parts of an address of this site."""
    return re.compile(f"(?:{'|'.join(map(re.escape, here))}){what}").match


def _asked(around: Surroundings, who: Reader, name: str, paths: Sequence[str]) -> filed.Found | None:
    try:
        return filed.asked(around, who, name, paths)
    except NotFound:
        return None


def _ranged(text: str, size: int) -> tuple[int, int] | None:
    """Read a range of bytes; None: several, or none that is understood: then everything is sent."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return (max(size - int(last), 0), size) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return min(int(first), size), min(int(last) + 1, size) if last else size


def _said(error: HvenError) -> str:
    return str(error).replace("\n", " ")


def listed(
    request: Request,
    fmt: Format,
    batches: Iterator[pa.RecordBatch],
    infos: Sequence[Info],
    headers: Mapping[str, str],
) -> Response:
    """Make the response of a script, or a list, of the files of several tables, written while it is sent.

    Parameters
    ----------
    request
        GET or POST.
    fmt
        As `scripts.scripts` makes it.
    batches
        Addresses, and names or nulls; `scripts.MOST` rows of them are taken. The first one is read before anything is sent.
    infos
        What stands at the beginning.
    headers
        Of the answer.

    Returns
    -------
    response
        Without its length; what fails on its way cuts the connection.

    Raises
    ------
    HvenError
        The first batch cannot be had.
    """
    begun = list(itertools.islice(batches, 1))
    ended = {"overflow": False}

    def counted() -> Iterator[pa.RecordBatch]:
        left = scripts.MOST
        for batch in itertools.chain(begun, batches):
            yield batch.slice(0, left)
            if batch.num_rows > left:
                ended["overflow"] = True
                return
            left -= batch.num_rows

    def pieces() -> Generator[bytes | None]:
        yield None  # from here on a thread waits for rows
        head = Head(columns=(), infos=infos)
        yield from fmt.write(head, counted(), lambda: End(rows=scripts.MOST, overflow=ended["overflow"]), {})

    return Flow(request, 200, headers, flowing(pieces()))


def too_large(around: Surroundings, size: int | None = None) -> TooLarge:
    """Make the error of an archive that the site does not write.

    Parameters
    ----------
    around
        The site.
    size
        Bytes of the files; None: there are too many.

    Returns
    -------
    error
        To be raised.
    """
    limits = around.site.settings.limits
    if size is None:
        message = say("an archive of this site has at most {most:,} files", limits.archive_files)
    else:
        message = say(
            "these files have {size:,} bytes; an archive of this site has at most {most:,}", size, limits.archive_bytes
        )
    return TooLarge(
        message, remedy="narrow the search, or take the files one by one, by a script for wget, curl or aria2"
    )
