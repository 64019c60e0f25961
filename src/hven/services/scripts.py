"""Files that a reader takes home, as scripts for wget and curl or as lists of links; and what they may be called.

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

from hven.formats import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import End, Head

FIRST = ("access_url", "datalink_url", "file_url", "url")  # columns of addresses, the likeliest first
MOST = 100_000  # files of one script
LONGEST = 150  # characters of a file's name
ADDRESS = 8_000  # characters of an address; longer ones no server takes
TEMPLATE = "template"  # a writer's option
HOLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
OPEN = re.compile(r"(?:https?|ftp)://[^/\s?#@\\]+", re.IGNORECASE)
_KEPT = "!$&()*+,/:;=?@[]~%#-._"  # stay as they are in an address; a quote, a blank or a backslash do not
_FIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+=@,-]*(?:_[A-Za-z0-9.+=@,-]+)*")  # most names are: nothing is to be done
_UNFIT = re.compile(r"[^\w.+=@,-]+|_{2,}")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # are no files on Windows


def address(text: str) -> str:
    """Write a cell's address so that nothing but its server reads more into it; empty if it is none.

    Blanks, quotes, backslashes and whatever is not ASCII are written in percent; control characters are refused.

    Parameters
    ----------
    text
        Of a cell.

    Returns
    -------
    address
        In ASCII.
    """
    text = text.strip()
    if (
        not 8 <= len(text) <= ADDRESS
        or OPEN.match(text) is None
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
    """Convert any text to a file's name: letters, digits and few marks; never a path, hidden, an option, or a device.

    Parameters
    ----------
    text
        Any.

    Returns
    -------
    name
        Of at most `LONGEST` characters.
    """
    if len(text) <= LONGEST and _FIT.fullmatch(text) and not _DEVICES.fullmatch(text):
        return text
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
    """Name the file behind an address: the last part of its path; of a script that takes parameters, their last value.

    Parameters
    ----------
    found
        The address.

    Returns
    -------
    name
        As `plain` makes it.
    """
    parts = urlsplit(found)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2], errors="replace")
    if parts.query and "." not in last:
        value = unquote(parts.query.rpartition("=")[2].rpartition("&")[2], errors="replace")
        last = f"{last}_{value.rpartition('/')[2]}" if value else last
    return plain(last)


@dataclass(slots=True)
class Names:
    """File names, each once: a second ``a.fits`` is ``a-2.fits``; names that differ in case alone are one on some disks.

    Attributes
    ----------
    taken
        Without case, with the last number that was given.
    """

    taken: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return the name, with a number if it is taken.

        Parameters
        ----------
        name
            That is wanted.
        """
        found = name
        while (known := found.casefold()) in self.taken:
            self.taken[name.casefold()] = number = self.taken.get(name.casefold(), 1) + 1
            stem, dot, ending = name.rpartition(".")
            found = f"{stem}-{number}.{ending}" if dot and stem else f"{name}-{number}"
        self.taken[known] = self.taken.get(known, 1)
        return found


def files(
    batches: Iterator[pa.RecordBatch], left_out: list[str], template: str = ""
) -> Iterator[list[tuple[str, str]]]:
    """List addresses and names of the files of rows, by batches.

    Parameters
    ----------
    batches
        A column of addresses, and perhaps one of names; or what a template takes.
    left_out
        Gets the texts that are no address.
    template
        Makes addresses of the rows; empty: they have them.

    Returns
    -------
    files
        Address and name, which no other file has.
    """
    names = Names()
    for batch in batches:
        texts = written(batch, template) if template else batch.column(0).to_pylist()
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


def written(batch: pa.RecordBatch, template: str) -> list[str | None]:
    """Write a template's links; a row that lacks a value has none.

    Parameters
    ----------
    batch
        The column's own values first, and those that the template takes.
    template
        With names of columns in braces.

    Returns
    -------
    links
        One for each row.
    """
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


def _said(text: str) -> str:
    """Write a text so that it stays on its line of comment."""
    return " ".join("".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in text).split())


def _writer(
    top: str, line: Callable[[str, str], str], bottom: str, comment: str = "# ", *, sign: Callable[[str], str] = str
) -> Callable[[Head, Iterator[pa.RecordBatch], Callable[[], End], Mapping[str, str]], Iterator[bytes]]:
    def write(
        head: Head, batches: Iterator[pa.RecordBatch], end: Callable[[], End], options: Mapping[str, str]
    ) -> Iterator[bytes]:
        told = "".join(f"{comment}{_said(info.name)}: {_said(info.value)}\n" for info in head.infos) if comment else ""
        begin, rest = top.partition("\n")[::2] if top.startswith("#!") else ("", top)
        left_out: list[str] = []
        yield f"{begin}\n{told}{rest}".encode() if begin else f"{told}{rest}".encode()
        for some in files(batches, left_out, options.get(TEMPLATE, "")):
            yield "".join(line(sign(where), name) for where, name in some).encode()
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
    """Return the writers of scripts and lists; `sign` is what becomes of each address.

    Parameters
    ----------
    sign
        Makes an address of an address.

    Returns
    -------
    formats
        By name.
    """
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
