"""What a reader takes home: the files behind the rows of a search, as scripts for wget and curl or as lists of links.

Addresses and names come from cells, so they are hostile until shown otherwise: only http, https and ftp, every byte that a shell, a
terminal or a file system might read in its own way is written in percent or left out, and each word stands in quotes.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from hven.adql import tree
from hven.formats import Format
from hven.model import units
from hven.portal._explore.cell_text import HOLE, kind_of
from hven.portal._explore.rows import key_is
from hven.portal._explore.search import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.formats import End, Head
    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

MOST = 100_000  # files of one script
KEYS = 5_000  # rows that may be named one by one
LONGEST = 150  # characters of a file's name
ADDRESS = 8_000  # characters of an address; longer ones no server takes
FIRST = ("access_url", "datalink_url", "file_url", "url")
SIZE = "access_estsize"
TEMPLATE = "template"  # a writer's option
_OPEN = re.compile(r"(?:https?|ftp)://[^/\s?#@\\]+", re.IGNORECASE)
_KEPT = "!$&()*+,/:;=?@[]~%#-._"  # stay as they are in an address; a quote, a blank or a backslash do not
_UNFIT = re.compile(r"[^\w.+=@,-]+|_{2,}")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # are no files on Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """Files of a search.

    Attributes
    ----------
    rows, files
        Rows found, and those that have a link.
    size
        Bytes as the table estimates them; None where it does not. `sized`: files that say their size.
    """

    column: Column
    rows: int
    files: int
    size: float | None = None
    sized: int = 0


def links(table: Table) -> list[Column]:
    """Return the columns whose addresses lead to files, the likeliest first; previews behind them, and links made by a template last."""
    found = [column for column in table.columns if not column.hidden and _leads(column, table)]
    return sorted(found, key=lambda column: (_rank(column, table), column.rank))


def _leads(column: Column, table: Table) -> bool:
    if column.link:
        return _OPEN.match(column.link) is not None and None not in _holes(column, table)
    return column.type.is_string and (column.name.lower() in FIRST or kind_of(column, table) in {"link", "picture"})


def _holes(column: Column, table: Table) -> list[str | None]:
    """Return the columns whose values a template wants; None for one that there is not, or that nobody is shown."""
    shown = {one.name for one in table.columns if not one.hidden}
    return [name if name in shown else None for name in HOLE.findall(column.link or "")]


def _rank(column: Column, table: Table) -> int:
    if column.link:
        return len(FIRST) + 2
    if column.name.lower() in FIRST:
        return FIRST.index(column.name.lower())
    return len(FIRST) + (kind_of(column, table) == "picture")


def size_of(table: Table) -> Column | None:
    """Return the column of the files' sizes: ObsCore's and EPN-TAP's ``access_estsize``, or what a UCD says is one."""
    for column in table.columns:
        plain_number = not column.hidden and column.type.is_numeric and not column.type.is_array
        named = column.name.lower() == SIZE or (column.ucd or "").lower().startswith("phys.size;meta.file")
        if plain_number and named and units.convertible(column.unit, "byte"):
            return column
    return None


def marked(search: Search, keys: Sequence[str]) -> Search:
    """Return the search of some rows, by their keys as `rows.Page.keys` writes them; keys of other tables find nothing."""
    tests = [test for test in (key_is(search, key) for key in keys[:KEYS]) if test is not None]
    primary = search.table.primary
    if len(primary) == 1 and tests:
        values = tuple(test.right for test in tests if isinstance(test, tree.Compare))
        test: tree.Expr = tree.In(ref(primary[0]), values)
    else:
        test = (
            tree.Or(tuple(tests))
            if len(tests) > 1
            else tests[0]
            if tests
            else tree.Compare("=", tree.Literal(1), tree.Literal(0))
        )
    return search.having(conditions=(("", ()),), tests=(test,), words="", near=None, inside="", faults=())


def count(search: Search, column: Column, asking: Asking) -> Cart:
    """Count the files of a search and add up their sizes."""
    size = size_of(search.table)

    def counted(*arguments: tree.Expr, name: str, function: str = "COUNT") -> tree.SelectItem:
        return tree.SelectItem(tree.Function(function, arguments, star=not arguments), tree.Ident(name))

    items = [counted(name="n"), counted(ref(column.name), name="files")]
    if size is not None:
        items += [counted(ref(size.name), name="size", function="SUM"), counted(ref(size.name), name="sized")]
    found = asking.table(tree.Query(tree.Select(tuple(items), search.source(), where=search.where()))).to_pylist()[0]
    total = found.get("size")
    return Cart(
        column=column,
        rows=int(found["n"]),
        files=int(found["files"]),
        size=None if size is None or total is None else float(total) * units.factor(size.unit, "byte"),
        sized=int(found.get("sized") or 0),
    )


def query(search: Search, column: Column) -> tree.Query:
    """Ask for the links of a search, in its order, for what a template makes them of, and for what files may be called."""
    holes = [name for name in _holes(column, search.table) if name is not None]
    named = next(
        (
            one.name
            for one in search.table.columns
            if one.name.lower() == "file_name" and one.type.is_string and not one.hidden
        ),
        "",
    )
    asked = search.having(order=search.order or tuple((name, False) for name in search.table.primary))
    return asked.query(columns=list(dict.fromkeys([column.name, *holes, *([named] if named and not holes else [])])))


def options(column: Column) -> dict[str, str]:
    """Return what a script's writer must know of a column: the template of its links."""
    return {TEMPLATE: column.link} if column.link else {}


def address(text: str) -> str:
    """Write a cell's address so that nothing but its server reads more into it; empty if it is none.

    Blanks, quotes, backslashes and whatever is not ASCII are written in percent; control characters are refused.
    """
    text = text.strip()
    if (
        not 8 <= len(text) <= ADDRESS
        or _OPEN.match(text) is None
        or any(unicodedata.category(letter) in {"Cc", "Cf", "Cs"} for letter in text)
    ):
        return ""
    try:
        found = urlsplit(text)
        _ = found.port
    except ValueError:
        return ""
    if not found.hostname or found.username is not None:  # names and passwords in a script that is passed on
        return ""
    return quote(text, safe=_KEPT)


def plain(text: str) -> str:
    """Convert any text to a file's name: letters, digits and few marks; never a path, hidden, an option, or a device."""
    text = unicodedata.normalize("NFC", text.replace("\\", "/").rpartition("/")[2])
    text = _UNFIT.sub("_", text).strip("_").lstrip(".-")
    if len(text) > LONGEST:
        stem, dot, ending = text.rpartition(".")
        text = f"{stem[: LONGEST - 13]}.{ending}" if dot and len(ending) <= 12 else text[:LONGEST]
    while len(text.encode()) > 240:  # file systems count bytes
        text = text[1:]
    if not text.strip("._"):
        return "file"
    return f"_{text}" if _DEVICES.fullmatch(text) else text


def name_in(found: str) -> str:
    """Name the file behind an address: the last part of its path; of a script that takes parameters, their last value."""
    parts = urlsplit(found)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2], errors="replace")
    if parts.query and "." not in last:
        value = unquote(parts.query.rpartition("=")[2].rpartition("&")[2], errors="replace")
        last = f"{last}_{value.rpartition('/')[2]}" if value else last
    return plain(last)


@dataclass(slots=True)
class Names:
    """File names, each once: a second ``a.fits`` is ``a-2.fits``; names that differ in case alone are one on some disks."""

    taken: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return the name, with a number if it is taken."""
        found = name
        while (known := found.casefold()) in self.taken:
            self.taken[name.casefold()] = number = self.taken.get(name.casefold(), 1) + 1
            stem, dot, ending = name.rpartition(".")
            found = f"{stem}-{number}.{ending}" if dot and stem else f"{name}-{number}"
        self.taken[known] = self.taken.get(known, 1)
        return found


def _files(
    batches: Iterator[pa.RecordBatch], left_out: list[str], template: str = ""
) -> Iterator[list[tuple[str, str]]]:
    names = Names()
    for batch in batches:
        texts = _made(batch, template) if template else batch.column(0).to_pylist()
        given = batch.column(1).to_pylist() if batch.num_columns > 1 and not template else [None] * batch.num_rows
        found = []
        for text, called in zip(texts, given, strict=True):
            if text is None or not text.strip():
                continue
            where = address(text)
            if not where:
                left_out.append(text)
                continue
            found.append((where, names.of(plain(called) if called else name_in(where))))
        yield found


def _made(batch: pa.RecordBatch, template: str) -> list[str | None]:
    """Write a template's links; a row that lacks a value has none."""
    names = list(dict.fromkeys(HOLE.findall(template)))
    values = [batch.column(name).to_pylist() for name in names]
    rows = zip(*values, strict=True) if values else ((),) * batch.num_rows
    found: list[str | None] = []
    for own, row in zip(batch.column(0).to_pylist(), rows, strict=True):
        given = dict(zip(names, row, strict=True))
        whole = own is not None and None not in row
        found.append(
            HOLE.sub(lambda hole, given=given: quote(str(given[hole[1]]), safe=""), template) if whole else None  # type: ignore[misc]
        )
    return found


def said(text: str) -> str:
    """Write a text so that it stays on its line of comment."""
    return " ".join("".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in text).split())


def _writer(
    top: str, line: Callable[[str, str], str], bottom: str, comment: str = "# ", *, sign: Callable[[str], str] = str
) -> Callable[[Head, Iterator[pa.RecordBatch], Callable[[], End], Mapping[str, str]], Iterator[bytes]]:
    def write(
        head: Head, batches: Iterator[pa.RecordBatch], end: Callable[[], End], options: Mapping[str, str]
    ) -> Iterator[bytes]:
        told = "".join(f"{comment}{said(info.name)}: {said(info.value)}\n" for info in head.infos) if comment else ""
        begin, rest = top.partition("\n")[::2] if top.startswith("#!") else ("", top)
        left_out: list[str] = []
        yield f"{begin}\n{told}{rest}".encode() if begin else f"{told}{rest}".encode()
        for files in _files(batches, left_out, options.get(TEMPLATE, "")):
            yield "".join(line(sign(where), name) for where, name in files).encode()
        ended = end()
        if comment and left_out:
            yield f"{comment}{len(left_out)} rows have an address that is no http, https or ftp link: left out\n".encode()
        if comment and ended.overflow:
            yield f"{comment}There are more files: a script has {ended.rows} at most; narrow the search and take the rest with another.\n".encode()
        yield bottom.encode()

    return write


_SHELL = """#!/bin/sh
# Run it in a directory of its own. What is there already is not fetched again; what broke off is gone on with.
failed=0
get() {
  [ -e "$2" ] && return
  echo "$2"
  if %s; then mv -- "$2.part" "$2"; else failed=$((failed + 1)); echo "could not be fetched: $1" >&2; fi
}
"""
_SUM = '[ "$failed" -eq 0 ] || { echo "$failed files could not be fetched: run this again" >&2; exit 1; }\n'


def _call(where: str, name: str) -> str:
    return f"get {shlex.quote(where)} {shlex.quote(name)}\n"


def _format(name: str, extension: str, media_type: str, write: Callable[..., Iterator[bytes]]) -> Format:
    return Format(name=name, media_types=(media_type,), extension=extension, write=write)


def scripts(sign: Callable[[str], str] = str) -> dict[str, Format]:
    """Return the writers of scripts and lists; `sign` is what becomes of each address."""
    wget, curl = (
        _SHELL % 'wget -q -c -O "$2.part" -- "$1"',
        _SHELL % 'curl -fsSL --globoff --proto =http,https,ftp --retry 2 -C - -o "$2.part" -- "$1"',
    )
    shell, text = "text/x-shellscript; charset=utf-8", "text/plain; charset=utf-8"
    return {
        "wget": _format("wget", ".sh", shell, _writer(wget, _call, _SUM, sign=sign)),
        "curl": _format("curl", ".sh", shell, _writer(curl, _call, _SUM, sign=sign)),
        "aria2": _format(
            "aria2", ".txt", text, _writer("", lambda where, name: f"{where}\n  out={name}\n", "", sign=sign)
        ),
        "links": _format("links", ".txt", text, _writer("", lambda where, _: f"{where}\n", "", comment="", sign=sign)),
    }


SCRIPTS = scripts()
