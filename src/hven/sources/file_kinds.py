"""Which kind of source reads a file, told by its name or by how it begins, or a service, told by its address.

Each kind says of itself what it knows (`FileSignature`, `ServiceSignature`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.sources._reading.data_files import COMPRESSED_EXTENSIONS, DataFile
from hven.sources._reading.format_detection import recognize_binary_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hven.sources import FileSignature, ServiceSignature

HEAD_BYTES = 8192  # bytes that are looked at
BLOCK_BYTES, MAX_SCANNED_BYTES = 1 << 20, 64 << 20  # bytes that are read to see how a file ends: at a time, and at most
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # UTF-16


def find_kind_by_name(file: str) -> str | None:
    """Recognise the kind by a file's name or pattern, compressed or not.

    Parameters
    ----------
    file
        Name, path or pattern; case does not matter.

    Returns
    -------
    kind
        None: no kind has files of that ending.
    """
    *_, ending = (
        "",
        *(part for part in file.lower().rsplit("/", 1)[-1].split(".")[1:] if part not in COMPRESSED_EXTENSIONS),
    )
    # a plug-in that somebody installed for such files is meant, whoever else could read them
    kinds = sorted(
        plugins.list_plugins("sources"), key=lambda name: name not in plugins.list_external_plugins("sources")
    )
    return next((name for name, signature in _iterate_file_signatures(kinds) if ending in signature.extensions), None)


def find_kind_by_content(first_bytes: bytes, kind_names: Iterable[str] | None = None) -> str | None:
    """Recognise the kind by a file's first bytes.

    Of several that know them the last, so that what nobody else knows is text.

    Parameters
    ----------
    first_bytes
        The first `HEAD_BYTES` bytes, decompressed.
    kind_names
        Names of kinds, the one that knows most last; None: all that there are.

    Returns
    -------
    kind
        None: no kind begins so.
    """
    if first_bytes.startswith(_UTF16_MARKS):
        first_bytes = first_bytes.decode("utf-16", "replace").encode()
    kinds = plugins.list_plugins("sources") if kind_names is None else kind_names
    matching_kinds = [
        name
        for name, signature in _iterate_file_signatures(kinds)
        if signature.leading_pattern and re.match(signature.leading_pattern, first_bytes)
    ]
    return matching_kinds[-1] if matching_kinds else None


def find_kind_of_file(path: Path) -> str | None:
    """Recognise the kind of a file by its first bytes, decompressed.

    Parameters
    ----------
    path
        Of a file that is there.

    Returns
    -------
    kind
        None: they tell nothing, or are damaged.
    """
    try:
        stream = DataFile(path=path, name=path.name).open_stream()
        try:
            head = stream.read(HEAD_BYTES)
            kind = find_kind_by_content(head)
            refining_kinds = [
                named_signature
                for named_signature in _iterate_file_signatures(plugins.list_plugins("sources"))
                if kind and named_signature[1].base_kind == kind
            ]
            # those that say so further on in a file of this kind, where headers are long
            deeper = [
                (name, signature.leading_pattern)
                for name, signature in refining_kinds
                if signature.leading_pattern and not signature.trailing_pattern
            ]
            if deeper:
                head += stream.read(BLOCK_BYTES)
                kind = next((name for name, begins in deeper if re.match(begins, head)), kind)
            trailing_patterns = [
                (name, signature.trailing_pattern) for name, signature in refining_kinds if signature.trailing_pattern
            ]
            if trailing_patterns:
                size = len(head)
                while size < MAX_SCANNED_BYTES and (block := stream.read(BLOCK_BYTES)):
                    head = (head + block)[-HEAD_BYTES:]
                    size = size + len(block)
            return next((name for name, ends in trailing_patterns if re.search(ends, head)), kind)
        finally:
            stream.close()
    except SourceError:  # damaged
        return None


def find_service_signature(source_kind: str) -> ServiceSignature | None:
    """Look up whether a kind reads services elsewhere, of which a part is looked at.

    Parameters
    ----------
    source_kind
        Its name.

    Returns
    -------
    found
        None: it reads files, or databases.
    """
    return next((signature for _, signature in _iterate_signatures([source_kind], "SERVICE")), None)


def find_kind_by_url(address: str) -> tuple[str, dict[str, str]] | None:
    """Recognise the kind of a service by its address.

    Parameters
    ----------
    address
        The whole of it, with http or https.

    Returns
    -------
    kind, options
        None: no kind knows it.
    """
    for name, signature in _iterate_signatures(plugins.list_plugins("sources"), "SERVICE"):
        if signature.url_pattern and (match := re.fullmatch(signature.url_pattern, address, re.IGNORECASE)):
            return name, {option: value for option, value in match.groupdict().items() if value is not None}
    return None


def _iterate_file_signatures(kinds: Iterable[str]) -> Iterator[tuple[str, FileSignature]]:
    return _iterate_signatures(kinds, "FILES")


def _iterate_signatures(kinds: Iterable[str], attribute_name: str) -> Iterator[tuple[str, Any]]:
    """Ask kinds one by one, for to load all of them takes a quarter of a second."""
    for name in kinds:
        try:
            plugin = plugins.load_plugin("sources", name)
            signature = vars(plugin).get(attribute_name)
        except UserError:  # what it needs is not installed
            continue
        if signature is not None:
            yield name, signature


__all__ = [
    "COMPRESSED_EXTENSIONS",
    "find_kind_by_content",
    "find_kind_by_name",
    "find_kind_by_url",
    "find_kind_of_file",
    "find_service_signature",
    "recognize_binary_format",
]
