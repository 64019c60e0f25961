"""Write scripts for wget and curl, and lists of links, that download the files of a result; make safe file names.

Addresses and names come from cells and may be hostile. Only http, https and ftp are allowed. Each byte that a shell, a
terminal or a file system could interpret is percent-encoded or left out, and each word is quoted.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from hven.formats import TableFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import ResultStatus, TableMetadata

ADDRESS_COLUMNS = ("access_url", "datalink_url", "file_url", "url")  # columns of addresses, the likeliest first
MAX_SCRIPT_FILES = 100_000
MAX_NAME_CHARACTERS = 150
MAX_NAME_BYTES = 240  # file systems have a limit of 255 bytes
MAX_EXTENSION_CHARACTERS = 12  # a longer ending of a name is not kept as its extension
MIN_ADDRESS_CHARACTERS = 8
MAX_ADDRESS_CHARACTERS = 8_000  # no server accepts longer addresses
TEMPLATE_OPTION = "template"  # name of a writer's option
PLACEHOLDER_PATTERN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
ADDRESS_PATTERN = re.compile(r"(?:https?|ftp)://[^/\s?#@\\]+", re.IGNORECASE)
_CONTROL_CATEGORIES = {"Cc", "Cf", "Cs"}  # Unicode categories: control, format, surrogate
_SAFE_CHARACTERS = "!$&()*+,/:;=?@[]~%#-._"  # stay as they are in an address; a quote, a blank or a backslash do not
# most names match this pattern and need no change
_SAFE_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+=@,-]*(?:_[A-Za-z0-9.+=@,-]+)*")
_UNSAFE_CHARACTERS_PATTERN = re.compile(r"[^\w.+=@,-]+|_{2,}")
_DEVICE_NAME_PATTERN = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # devices of Windows


def escape_address_if_allowed(text: str) -> str:
    """Escape the address of a cell so that only its server interprets it; return an empty text if it is not allowed.

    Blanks, quotes, backslashes and characters outside ASCII are percent-encoded. Control characters are not allowed.

    Parameters
    ----------
    text
        Value of the cell.

    Returns
    -------
    address
        Address in ASCII.
    """
    text = text.strip()
    has_valid_length = MIN_ADDRESS_CHARACTERS <= len(text) <= MAX_ADDRESS_CHARACTERS
    if not has_valid_length or ADDRESS_PATTERN.match(text) is None:
        return ""
    if any(unicodedata.category(letter) in _CONTROL_CATEGORIES for letter in text):
        return ""
    try:
        url_parts = urlsplit(text)
        _ = url_parts.port
    except ValueError:
        return ""
    if not url_parts.hostname or url_parts.username is not None:  # people pass scripts on: no passwords in them
        return ""
    return quote(text, safe=_SAFE_CHARACTERS)


def make_safe_name(text: str) -> str:
    """Convert a text to a safe file name of letters, digits and few marks.

    The name is never a path, a hidden file, an option of a command, or a device.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    name
        Name with at most `MAX_NAME_CHARACTERS` characters.
    """
    has_safe_characters = len(text) <= MAX_NAME_CHARACTERS and _SAFE_NAME_PATTERN.fullmatch(text)
    if has_safe_characters and not _DEVICE_NAME_PATTERN.fullmatch(text):
        return text
    last_part = text.replace("\\", "/").rpartition("/")[2]
    name = unicodedata.normalize("NFC", last_part)
    name = _UNSAFE_CHARACTERS_PATTERN.sub("_", name).strip("_").lstrip(".-")
    if len(name) > MAX_NAME_CHARACTERS:
        stem, dot, extension = name.rpartition(".")
        if dot and len(extension) <= MAX_EXTENSION_CHARACTERS:
            max_stem_characters = MAX_NAME_CHARACTERS - MAX_EXTENSION_CHARACTERS - 1
            name = f"{stem[:max_stem_characters]}.{extension}"
        else:
            name = name[:MAX_NAME_CHARACTERS]
    while len(name.encode()) > MAX_NAME_BYTES:
        name = name[1:]
    if not name.strip("._"):
        return "file"
    if _DEVICE_NAME_PATTERN.fullmatch(name):
        return f"_{name}"
    return name


def make_name_from_address(address: str) -> str:
    """Make a file name from an address: the last part of its path, followed by the last value of its query.

    A part that has an extension is the name without the query.

    Parameters
    ----------
    address
        Address of the file.

    Returns
    -------
    name
        Safe name, as from `make_safe_name`.
    """
    url_parts = urlsplit(address)
    last_path_part = url_parts.path.rstrip("/").rpartition("/")[2]
    name = unquote(last_path_part, errors="replace")
    if url_parts.query and "." not in name:
        last_value = url_parts.query.rpartition("=")[2].rpartition("&")[2]
        value = unquote(last_value, errors="replace")
        if value:
            name = f"{name}_{value.rpartition('/')[2]}"
    return make_safe_name(name)


@dataclass(slots=True)
class UniqueFileNameRegistry:
    """Make file names unique: a second ``a.fits`` becomes ``a-2.fits``.

    Names that differ only in case are equal, as on some file systems.

    Attributes
    ----------
    used_names
        Used names in lower case (`str.casefold`), each with its last number.
    """

    used_names: dict[str, int] = field(default_factory=dict)

    def make_unique(self, name: str) -> str:
        """Return the name, with a number if it is used already.

        Parameters
        ----------
        name
            Preferred name.
        """
        folded_name = name.casefold()
        unique_name = name
        while unique_name.casefold() in self.used_names:
            number = self.used_names.get(folded_name, 1) + 1
            self.used_names[folded_name] = number
            stem, dot, extension = name.rpartition(".")
            if dot and stem:
                unique_name = f"{stem}-{number}.{extension}"
            else:
                unique_name = f"{name}-{number}"
        self.used_names[unique_name.casefold()] = 1
        return unique_name


def list_file_addresses_and_names(
    batches: Iterator[pa.RecordBatch], rejected_addresses: list[str], template: str = ""
) -> Iterator[list[tuple[str, str]]]:
    """List addresses and names of the files of rows, batch by batch.

    Parameters
    ----------
    batches
        Rows with a column of addresses and optionally one of names, or with the columns that a template needs.
    rejected_addresses
        List to which texts are appended that are no allowed address.
    template
        Template of addresses; empty if the rows have addresses.

    Returns
    -------
    files
        Address and unique name of each file.
    """
    unique_names = UniqueFileNameRegistry()
    for batch in batches:
        name_texts: list[str | None] = [None] * batch.num_rows
        if template:
            address_texts = fill_link_template(batch, template)
        else:
            address_texts = batch.column(0).to_pylist()
            if batch.num_columns > 1:
                name_texts = batch.column(1).to_pylist()
        named_addresses = []
        for address_text, name_text in zip(address_texts, name_texts, strict=True):
            if address_text is None or not address_text.strip():
                continue
            address = escape_address_if_allowed(address_text)
            if not address:
                rejected_addresses.append(address_text)
                continue
            if name_text:
                name = make_safe_name(name_text)
            else:
                name = make_name_from_address(address)
            named_addresses.append((address, unique_names.make_unique(name)))
        yield named_addresses


def fill_link_template(batch: pa.RecordBatch, template: str) -> list[str | None]:
    """Fill a link template for each row; a row that lacks a value has no link.

    Parameters
    ----------
    batch
        Rows whose first column is the one with the template, with the columns that the template names.
    template
        Template with names of columns in braces.

    Returns
    -------
    links
        One link or None for each row.
    """
    names = list(dict.fromkeys(PLACEHOLDER_PATTERN.findall(template)))
    columns = [batch.column(name).to_pylist() for name in names]
    if columns:
        rows = zip(*columns, strict=True)
    else:
        rows = ((),) * batch.num_rows
    links: list[str | None] = []
    for own_value, row in zip(batch.column(0).to_pylist(), rows, strict=True):
        if own_value is None or None in row:
            links.append(None)
            continue
        quoted_values = {name: quote(str(value), safe="") for name, value in zip(names, row, strict=True)}

        def get_value(placeholder: re.Match[str], quoted_values: dict[str, str] = quoted_values) -> str:
            return quoted_values[placeholder[1]]

        links.append(PLACEHOLDER_PATTERN.sub(get_value, template))
    return links


def _clean_comment(text: str) -> str:
    """Replace control characters by blanks and join words by one blank, so that a text stays on its comment line."""
    letters = []
    for letter in text:
        if unicodedata.category(letter)[0] == "C":
            letters.append(" ")
        else:
            letters.append(letter)
    return " ".join("".join(letters).split())


def _create_script_writer(
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
        comments = ""
        if comment_prefix:
            comments = "".join(
                f"{comment_prefix}{_clean_comment(info.name)}: {_clean_comment(info.value)}\n"
                for info in metadata.infos
            )
        if opening.startswith("#!"):
            interpreter_line, line_end, opening_rest = opening.partition("\n")
            yield f"{interpreter_line}{line_end}{comments}{opening_rest}".encode()
        else:
            yield f"{comments}{opening}".encode()
        rejected_addresses: list[str] = []
        for named_addresses in list_file_addresses_and_names(
            batches, rejected_addresses, options.get(TEMPLATE_OPTION, "")
        ):
            lines = [write_line(sign(address), name) for address, name in named_addresses]
            yield "".join(lines).encode()
        result_status = finish()
        if comment_prefix and rejected_addresses:
            yield (
                f"{comment_prefix}{len(rejected_addresses)} rows are left out, because "
                "their address is not an http, https or ftp link\n"
            ).encode()
        if comment_prefix and result_status.overflow:
            yield (
                f"{comment_prefix}There are more files, but a script has at most {result_status.row_count}; narrow "
                "the search and download the "
                f"rest with another script.\n"
            ).encode()
        yield closing.encode()

    return write_script


_SHELL_TEMPLATE = """#!/bin/sh
# Run this script in a separate directory. It skips existing files, and resumes interrupted downloads.
failed=0
get() {
  [ -e "$2" ] && return
  echo "$2"
  if %s; then mv -- "$2.part" "$2"; else failed=$((failed + 1)); echo "could not be downloaded: $1" >&2; fi
}
"""
_FAILURE_CHECK = (
    '[ "$failed" -eq 0 ] || { echo "$failed files could not be downloaded; run this script again" >&2; exit 1; }\n'
)


def _write_download_line(address: str, name: str) -> str:
    return f"get {shlex.quote(address)} {shlex.quote(name)}\n"


def _create_format(name: str, extension: str, media_type: str, write: Callable[..., Iterator[bytes]]) -> TableFormat:
    return TableFormat(name=name, media_types=(media_type,), extension=extension, write=write)


def create_script_formats(sign: Callable[[str], str] = str) -> dict[str, TableFormat]:
    """Create the writers of scripts and lists.

    Parameters
    ----------
    sign
        Function that makes the written address from each address; by default they are the same.

    Returns
    -------
    formats
        Formats by name.
    """
    wget_opening = _SHELL_TEMPLATE % 'wget -q -c -O "$2.part" -- "$1"'
    curl_opening = _SHELL_TEMPLATE % 'curl -fsSL --globoff --proto =http,https,ftp --retry 2 -C - -o "$2.part" -- "$1"'
    wget_writer = _create_script_writer(wget_opening, _write_download_line, _FAILURE_CHECK, sign=sign)
    curl_writer = _create_script_writer(curl_opening, _write_download_line, _FAILURE_CHECK, sign=sign)
    aria2_writer = _create_script_writer("", lambda address, name: f"{address}\n  out={name}\n", "", sign=sign)
    links_writer = _create_script_writer("", lambda address, _: f"{address}\n", "", comment_prefix="", sign=sign)
    script_type = "text/x-shellscript; charset=utf-8"
    text_type = "text/plain; charset=utf-8"
    return {
        "wget": _create_format("wget", ".sh", script_type, wget_writer),
        "curl": _create_format("curl", ".sh", script_type, curl_writer),
        "aria2": _create_format("aria2", ".txt", text_type, aria2_writer),
        "links": _create_format("links", ".txt", text_type, links_writer),
    }


SCRIPT_FORMATS = create_script_formats()
