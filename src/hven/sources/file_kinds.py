"""Find the kind of source that reads a file, by its name or beginning, a service or database, or a catalogue.

Each kind states what it recognises (`FileKindSignature`, `ServiceUrlSignature`, `DatabaseSignature`,
`CatalogueSignature`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.sources import FileKindSignature
from hven.sources._reading.data_files import COMPRESSED_EXTENSIONS, DataFile
from hven.sources._reading.format_detection import recognize_binary_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hven.sources import CatalogueSignature, DatabaseSignature, ServiceUrlSignature

HEAD_BYTES = 8192  # of a file, which are matched
BLOCK_BYTES = 1 << 20  # read at a time to find the end of a file
MAX_SCANNED_BYTES = 64 << 20
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def find_file_kind_by_name(file: str) -> str | None:
    """Recognise the kind by a file's name or pattern, compressed or not.

    Parameters
    ----------
    file
        Name, path or pattern; case does not matter.

    Returns
    -------
    kind
        None: no kind has files with that ending.
    """
    ending = _find_extension(file)
    # an installed plug-in for such files is meant, whatever other kinds read them
    kinds = sorted(
        plugins.list_plugins("sources"), key=lambda name: name not in plugins.list_external_plugins("sources")
    )
    return next((name for name, signature in _iterate_file_signatures(kinds) if ending in signature.extensions), None)


def find_disabled_package_of_file(file: str) -> str | None:
    """Find the plug-in package that reads files of such names, if the settings leave it out.

    Parameters
    ----------
    file
        As in `find_file_kind_by_name`.

    Returns
    -------
    package
        Name of the package; None: no package that is left out reads them.
    """
    ending = _find_extension(file)
    for package in plugins.list_disabled_packages():
        if any(ending in signature.extensions for signature in package.files):
            return package.name
    return None


def _find_extension(file: str) -> str:
    """Find the extension of a file in lower case, without that of its compression; an empty text: it has none."""
    parts = file.lower().rsplit("/", 1)[-1].split(".")[1:]
    return next((part for part in reversed(parts) if part not in COMPRESSED_EXTENSIONS), "")


def find_file_kind_by_content(first_bytes: bytes, kind_names: Iterable[str] | None = None) -> str | None:
    """Recognise the kind by a file's first bytes.

    If several kinds match, the last one counts, so that a file that no other kind knows is text.

    Parameters
    ----------
    first_bytes
        The first `HEAD_BYTES` bytes, decompressed.
    kind_names
        Names of kinds, the most specific one last; None: all kinds.

    Returns
    -------
    kind
        None: no file of a kind begins like this.
    """
    if first_bytes.startswith(_UTF16_MARKS):
        first_bytes = first_bytes.decode("utf-16", "replace").encode()
    kinds = plugins.list_plugins("sources") if kind_names is None else kind_names
    matching_kinds = [
        name
        for name, signature in _iterate_file_signatures(kinds)
        if signature.leading_pattern and re.match(signature.leading_pattern, first_bytes)
    ]
    if matching_kinds:
        return matching_kinds[-1]
    return None


def detect_kind_from_file_content(path: Path) -> str | None:
    """Recognise the kind of a file by its first bytes, decompressed.

    Parameters
    ----------
    path
            Path of an existing file.

    Returns
    -------
    kind
        None: the bytes tell nothing, or are damaged.
    """
    try:
        stream = DataFile(path=path, name=path.name).open_stream()
        try:
            head = stream.read(HEAD_BYTES)
            kind = find_file_kind_by_content(head)
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


def find_service_signature(source_kind: str) -> ServiceUrlSignature | None:
    """Look up whether a kind reads remote services, from which it samples a part.

    Parameters
    ----------
    source_kind
        Name of the kind.

    Returns
    -------
    found
        None: the kind reads files or databases.
    """
    return next((signature for _, signature in _iterate_signatures([source_kind], "SERVICE")), None)


def find_service_kind_by_url(address: str) -> tuple[str, dict[str, str]] | None:
    """Recognise the kind of a service by its address.

    Parameters
    ----------
    address
        The whole address, with http or https.

    Returns
    -------
    kind, options
        None: no kind recognises it.
    """
    for name, signature in _iterate_signatures(plugins.list_plugins("sources"), "SERVICE"):
        if signature.url_pattern and (match := re.fullmatch(signature.url_pattern, address, re.IGNORECASE)):
            return name, {option: value for option, value in match.groupdict().items() if value is not None}
    return None


def find_database_signature(source_kind: str) -> DatabaseSignature | None:
    """Look up whether a kind reads tables of databases.

    Parameters
    ----------
    source_kind
        Name of the kind.

    Returns
    -------
    signature
        None: the kind reads no databases.
    """
    return next((signature for _, signature in _iterate_signatures([source_kind], "DATABASE")), None)


def iterate_database_signatures() -> Iterator[tuple[str, DatabaseSignature]]:
    """Yield the kinds that read tables of databases.

    Yields
    ------
    kind, signature
        Name of the kind, and how it recognises a database.
    """
    return _iterate_signatures(plugins.list_plugins("sources"), "DATABASE")


def find_file_option_name(source_kind: str) -> str:
    """Find the option that names the files of a kind.

    Parameters
    ----------
    source_kind
        Name of the kind.

    Returns
    -------
    option
        ``files``, unless the kind states another one.
    """
    signatures = (signature for _, signature in _iterate_signatures([source_kind], "FILES"))
    return next(signatures, FileKindSignature()).option


def find_catalogue_signature(source_kind: str) -> CatalogueSignature | None:
    """Look up whether a kind reads catalogues of many files, which it recognises by their content.

    Parameters
    ----------
    source_kind
        Name of the kind.

    Returns
    -------
    signature
        None: the kind reads no catalogues.
    """
    return next((signature for _, signature in _iterate_signatures([source_kind], "CATALOGUE")), None)


def iterate_catalogue_signatures() -> Iterator[tuple[str, CatalogueSignature]]:
    """Yield the kinds that read catalogues of many files.

    Yields
    ------
    kind, signature
        Name of the kind, and how it recognises a catalogue.
    """
    return _iterate_signatures(plugins.list_plugins("sources"), "CATALOGUE")


def _iterate_file_signatures(kinds: Iterable[str]) -> Iterator[tuple[str, FileKindSignature]]:
    """Yield what each kind recognises, and what it recognises because of plug-in packages."""
    for name, signature in _iterate_signatures(kinds, "FILES"):
        yield name, signature
        for added in plugins.list_file_signatures(name):
            yield name, FileKindSignature(extensions=added.extensions, leading_pattern=added.leading_pattern)


def _iterate_signatures(kinds: Iterable[str], attribute_name: str) -> Iterator[tuple[str, Any]]:
    """Ask kinds one by one: loading all of them takes a quarter of a second."""
    for name in kinds:
        try:
            plugin = plugins.load_plugin("sources", name)
            signature = vars(plugin).get(attribute_name)
        except UserError:  # a module that it needs is not installed
            continue
        if signature is not None:
            yield name, signature


__all__ = [
    "COMPRESSED_EXTENSIONS",
    "detect_kind_from_file_content",
    "find_catalogue_signature",
    "find_database_signature",
    "find_disabled_package_of_file",
    "find_file_kind_by_content",
    "find_file_kind_by_name",
    "find_file_option_name",
    "find_service_kind_by_url",
    "find_service_signature",
    "iterate_catalogue_signatures",
    "iterate_database_signatures",
    "recognize_binary_format",
]
