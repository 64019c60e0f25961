"""Files that a reader takes home, as scripts for wget and curl or as lists of links; and what they may be called.

Addresses and names come from cells, so they are hostile until shown otherwise: only http, https and ftp, every byte
that a shell, a terminal or a file system might read in its own way is written in percent or left out, and each word
stands in quotes.
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

    from hven.formats import ResultStatus, TableMetadata

ADDRESS_COLUMNS = ("access_url", "datalink_url", "file_url", "url")  # columns of addresses, the likeliest first
MAX_SCRIPT_FILES = 100_000  # files of one script
MAX_NAME_CHARACTERS = 150  # characters of a file's name
MAX_ADDRESS_CHARACTERS = 8_000  # characters of an address; longer ones no server takes
TEMPLATE_OPTION = "template"  # a writer's option
PLACEHOLDER_PATTERN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
ADDRESS_PATTERN = re.compile(r"(?:https?|ftp)://[^/\s?#@\\]+", re.IGNORECASE)
_SAFE_CHARACTERS = "!$&()*+,/:;=?@[]~%#-._"  # stay as they are in an address; a quote, a blank or a backslash do not
_SAFE_NAME_PATTERN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9.+=@,-]*(?:_[A-Za-z0-9.+=@,-]+)*"
)  # most names are: nothing is to be done
_UNSAFE_CHARACTERS_PATTERN = re.compile(r"[^\w.+=@,-]+|_{2,}")
_DEVICE_NAME_PATTERN = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # are no files on Windows


def escape_address(text: str) -> str:
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
        not 8 <= len(text) <= MAX_ADDRESS_CHARACTERS
        or ADDRESS_PATTERN.match(text) is None
        or any(unicodedata.category(letter) in {"Cc", "Cf", "Cs"} for letter in text)
    ):
        return ""
    try:
        url_parts = urlsplit(text)
        _ = url_parts.port
    except ValueError:
        return ""
    if not url_parts.hostname or url_parts.username is not None:  # names and passwords in a script that is passed on
        return ""
    return quote(text, safe=_SAFE_CHARACTERS)


def make_safe_name(text: str) -> str:
    """Convert any text to a file's name: letters, digits and few marks; never a path, hidden, an option, or a device.

    Parameters
    ----------
    text
        Any.

    Returns
    -------
    name
        Of at most `MAX_NAME_CHARACTERS` characters.
    """
    if (
        len(text) <= MAX_NAME_CHARACTERS
        and _SAFE_NAME_PATTERN.fullmatch(text)
        and not _DEVICE_NAME_PATTERN.fullmatch(text)
    ):
        return text
    text = unicodedata.normalize("NFC", text.replace("\\", "/").rpartition("/")[2])
    text = _UNSAFE_CHARACTERS_PATTERN.sub("_", text).strip("_").lstrip(".-")
    if len(text) > MAX_NAME_CHARACTERS:
        stem, dot, ending = text.rpartition(".")
        if dot and len(ending) <= 12:
            text = f"{stem[: MAX_NAME_CHARACTERS - 13]}.{ending}"
        else:
            text = text[:MAX_NAME_CHARACTERS]
    while len(text.encode()) > 240:  # file systems count bytes
        text = text[1:]
    if not text.strip("._"):
        return "file"
    if _DEVICE_NAME_PATTERN.fullmatch(text):
        return f"_{text}"
    return text


def make_name_from_address(address: str) -> str:
    """Name the file behind an address: the last part of its path; of a script that takes parameters, their last value.

    Parameters
    ----------
    address
        The address.

    Returns
    -------
    name
        As `make_safe_name` makes it.
    """
    parts = urlsplit(address)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2], errors="replace")
    if parts.query and "." not in last:
        value = unquote(parts.query.rpartition("=")[2].rpartition("&")[2], errors="replace")
        if value:
            last = f"{last}_{value.rpartition('/')[2]}"
    return make_safe_name(last)


@dataclass(slots=True)
class UniqueNames:
    """File names, each once: a second ``a.fits`` is ``a-2.fits``.

    Names that differ in case alone are one on some disks.

    Attributes
    ----------
    used_names
        Without case, with the last number that was given.
    """

    used_names: dict[str, int] = field(default_factory=dict)

    def make_unique(self, name: str) -> str:
        """Return the name, with a number if it is taken.

        Parameters
        ----------
        name
            That is wanted.
        """
        unique_name = name
        while (folded_name := unique_name.casefold()) in self.used_names:
            self.used_names[name.casefold()] = number = self.used_names.get(name.casefold(), 1) + 1
            stem, dot, ending = name.rpartition(".")
            if dot and stem:
                unique_name = f"{stem}-{number}.{ending}"
            else:
                unique_name = f"{name}-{number}"
        self.used_names[folded_name] = self.used_names.get(folded_name, 1)
        return unique_name


def list_files(
    batches: Iterator[pa.RecordBatch], rejected_addresses: list[str], template: str = ""
) -> Iterator[list[tuple[str, str]]]:
    """List addresses and names of the files of rows, by batches.

    Parameters
    ----------
    batches
        A column of addresses, and perhaps one of names; or what a template takes.
    rejected_addresses
        Gets the texts that are no address.
    template
        Makes addresses of the rows; empty: they have them.

    Returns
    -------
    files
        Address and name, which no other file has.
    """
    names = UniqueNames()
    for batch in batches:
        if template:
            texts = fill_link_template(batch, template)
        else:
            texts = batch.column(0).to_pylist()
        if batch.num_columns > 1 and not template:
            name_texts = batch.column(1).to_pylist()
        else:
            name_texts = [None] * batch.num_rows
        named_addresses = []
        for text, called in zip(texts, name_texts, strict=True):
            if text is None or not text.strip():
                continue
            where = escape_address(text)
            if not where:
                rejected_addresses.append(text)
                continue
            named_addresses.append(
                (where, names.make_unique(make_safe_name(called) if called else make_name_from_address(where)))
            )
        yield named_addresses


def fill_link_template(batch: pa.RecordBatch, template: str) -> list[str | None]:
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
    names = list(dict.fromkeys(PLACEHOLDER_PATTERN.findall(template)))
    values = [batch.column(name).to_pylist() for name in names]
    if values:
        rows = zip(*values, strict=True)
    else:
        rows = ((),) * batch.num_rows
    filled_links: list[str | None] = []
    for own_value, row in zip(batch.column(0).to_pylist(), rows, strict=True):
        if own_value is None or None in row:
            filled_links.append(None)
            continue
        quoted_values = {name: quote(str(value), safe="") for name, value in zip(names, row, strict=True)}

        def get_value(placeholder: re.Match[str], quoted_values: dict[str, str] = quoted_values) -> str:
            return quoted_values[placeholder[1]]

        filled_links.append(PLACEHOLDER_PATTERN.sub(get_value, template))
    return filled_links


def _clean_comment(text: str) -> str:
    """Write a text so that it stays on its line of comment."""
    return " ".join("".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in text).split())


def _create_writer(
    opening: str,
    write_line: Callable[[str, str], str],
    closing: str,
    comment_prefix: str = "# ",
    *,
    sign: Callable[[str], str] = str,
) -> Callable[
    [TableMetadata, Iterator[pa.RecordBatch], Callable[[], ResultStatus], Mapping[str, str]], Iterator[bytes]
]:
    def write_script(
        metadata: TableMetadata,
        batches: Iterator[pa.RecordBatch],
        finish: Callable[[], ResultStatus],
        options: Mapping[str, str],
    ) -> Iterator[bytes]:
        if comment_prefix:
            info_comments = "".join(
                f"{comment_prefix}{_clean_comment(info.name)}: {_clean_comment(info.value)}\n"
                for info in metadata.infos
            )
        else:
            info_comments = ""
        if opening.startswith("#!"):
            begin, opening_rest = opening.partition("\n")[::2]
        else:
            begin, opening_rest = ("", opening)
        left_out: list[str] = []
        yield f"{begin}\n{info_comments}{opening_rest}".encode() if begin else f"{info_comments}{opening_rest}".encode()
        for named_addresses in list_files(batches, left_out, options.get(TEMPLATE_OPTION, "")):
            yield "".join(write_line(sign(where), name) for where, name in named_addresses).encode()
        ended = finish()
        if comment_prefix and left_out:
            yield (
                f"{comment_prefix}{len(left_out)} rows have an address that is no http, https or ftp link: left out\n"
            ).encode()
        if comment_prefix and ended.overflow:
            yield (
                f"{comment_prefix}There are more files: a script has {ended.row_count} at most; narrow the search "
                f"and take the rest with another.\n"
            ).encode()
        yield closing.encode()

    return write_script


_SHELL_TEMPLATE = """#!/bin/sh
# Run it in a directory of its own. What is there already is not fetched again; what broke off is gone on with.
failed=0
get() {
  [ -e "$2" ] && return
  echo "$2"
  if %s; then mv -- "$2.part" "$2"; else failed=$((failed + 1)); echo "could not be fetched: $1" >&2; fi
}
"""
_FAILURE_CHECK = '[ "$failed" -eq 0 ] || { echo "$failed files could not be fetched: run this again" >&2; exit 1; }\n'


def _write_download_line(address: str, name: str) -> str:
    return f"get {shlex.quote(address)} {shlex.quote(name)}\n"


def _create_format(name: str, extension: str, media_type: str, write: Callable[..., Iterator[bytes]]) -> Format:
    return Format(name=name, media_types=(media_type,), extension=extension, write=write)


def create_script_formats(sign: Callable[[str], str] = str) -> dict[str, Format]:
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
    wget = _SHELL_TEMPLATE % 'wget -q -c -O "$2.part" -- "$1"'
    curl = _SHELL_TEMPLATE % 'curl -fsSL --globoff --proto =http,https,ftp --retry 2 -C - -o "$2.part" -- "$1"'
    shell, text = "text/x-shellscript; charset=utf-8", "text/plain; charset=utf-8"
    writer = _create_writer(wget, _write_download_line, _FAILURE_CHECK, sign=sign)
    return {
        "wget": _create_format("wget", ".sh", shell, writer),
        "curl": _create_format(
            "curl", ".sh", shell, _create_writer(curl, _write_download_line, _FAILURE_CHECK, sign=sign)
        ),
        "aria2": _create_format(
            "aria2", ".txt", text, _create_writer("", lambda where, name: f"{where}\n  out={name}\n", "", sign=sign)
        ),
        "links": _create_format(
            "links", ".txt", text, _create_writer("", lambda where, _: f"{where}\n", "", comment_prefix="", sign=sign)
        ),
    }


SCRIPT_FORMATS = create_script_formats()
