"""Read files on remote servers: one interface for facts, bytes and lists. Plug-in packages have the protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.model.table import FileRoot
from hven.sources._reading.data_files import COMPRESSED_EXTENSIONS
from hven.sources._reading.file_listing import find_data_files
from hven.sources._stores.directory_store import DirectoryStore
from hven.sources._stores.file_facts import (
    CHANGED_MESSAGE,
    LATER_REMEDY,
    MEBIBYTE,
    OWNER_REMEDY,
    REFUSED_MESSAGE,
    NoRangesError,
    RemoteFileFacts,
    RemoteStore,
    WebFileStore,
    build_changed_file_error,
    build_missing_file_error,
    build_timeout_error,
    build_unreachable_error,
    find_directory_before_wildcard,
    is_pattern_match,
)
from hven.sources._stores.remote_files import ARCHIVE_EXTENSIONS, expand_archives, list_remote_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.sources import SourceContext
    from hven.sources._reading.data_files import DataFile
    from hven.sources._reading.header_rows import HeaderSourceOptions

__all__ = [
    "ARCHIVE_EXTENSIONS",
    "CHANGED_MESSAGE",
    "LATER_REMEDY",
    "MEBIBYTE",
    "OWNER_REMEDY",
    "REFUSED_MESSAGE",
    "DirectoryStore",
    "NoRangesError",
    "RemoteFileFacts",
    "RemoteStore",
    "WebFileStore",
    "build_changed_file_error",
    "build_missing_file_error",
    "build_timeout_error",
    "build_unreachable_error",
    "find_directory_before_wildcard",
    "find_remote_or_archived_files",
    "find_scheme_error",
    "is_pattern_match",
    "open_remote_store",
    "require_local_files",
]
IDLE_TIMEOUT_SECONDS = 60.0  # that a server may be silent while heads are read


@plugins.cache_until_selection
def _load_store_classes() -> Mapping[str, Any]:
    """Load the classes of the packages in use by the schemes of addresses."""
    return dict(plugins.iterate_package_objects("remote_stores"))


def find_scheme_error(scheme: str | None) -> UserError | None:
    """Find why files cannot be read by a scheme.

    Parameters
    ----------
    scheme
        ``https``, ``ftp``, ``s3`` ..

    Returns
    -------
    error
        Its message names a package that the settings leave out; None: a package in use reads such files.
    """
    schemes = _load_store_classes()
    if scheme in schemes:
        return None
    remedy = "install a plug-in package that reads files from other servers"
    if schemes:
        remedy = f"use one of {', '.join(schemes)}"
    unused_error = plugins.find_disabled_plugin_error("remote_stores", str(scheme))
    return unused_error or UserError(f"Hven cannot open addresses that begin with {scheme}://", remedy=remedy)


def open_remote_store(
    root: FileRoot, *, resolve_secret: Callable[[str], str] | None, allow_private: bool, timeout_seconds: float
) -> RemoteStore:
    """Open the store of a root; no request is sent yet.

    Parameters
    ----------
    root
        With an address.
    resolve_secret
        Resolves ``$NAME`` of options.
    allow_private
        True lets addresses through that are not on the public internet.
    timeout_seconds
        Without a byte for that long, a server does not respond.

    Returns
    -------
    store
        For threads; a `WebFileStore` for ``http`` and ``https``.

    Raises
    ------
    SourceError
        A library is missing.
    UserError
        A secret, or a host, is not known; or no package in use reads such files.
    ForbiddenError
        Its address is private.
    """
    scheme_error = find_scheme_error(root.scheme)
    if scheme_error is not None:
        raise scheme_error
    options: Mapping[str, str] = {
        key: resolve_secret(value) if value.startswith("$") and resolve_secret is not None else value
        for key, value in root.options.items()
    }
    store_class = _load_store_classes()[str(root.scheme)]
    remote_store: RemoteStore = store_class(
        root.address, options, allow_private=allow_private, timeout_seconds=timeout_seconds
    )
    return remote_store


def find_remote_or_archived_files(
    options: HeaderSourceOptions, context: SourceContext, extensions: Sequence[str]
) -> list[DataFile] | None:
    """Find the files of a source that reads headers, where they are remote or in archives.

    Parameters
    ----------
    options, context
        Options and context of the source.
    extensions
        Extensions of members of archives, if the options do not name the members.

    Returns
    -------
    files
        None: all are files of this machine.

    Raises
    ------
    SourceError
        There is none; an archive cannot be read.
    UserError
        The server lists no files.
    """
    has_archives = options.members is not None or any(
        pattern.lower().endswith(ARCHIVE_EXTENSIONS) for pattern in options.files
    )
    files: Sequence[DataFile]
    if options.root:
        address = options.root.rstrip("/")
        root = FileRoot(address=address, path_prefix="", options=options.options, redirects_clients=False)
        if root.scheme is None:
            raise SourceError(
                f"Hven cannot read from {options.root}",
                remedy=f"begin `root` with one of these schemes: {', '.join(_load_store_classes())}",
            )
        remote_store = open_remote_store(
            root,
            resolve_secret=context.resolve_secret,
            allow_private=context.allow_private,
            timeout_seconds=IDLE_TIMEOUT_SECONDS,
        )
        files = list_remote_files(remote_store, root.address, options.files, options.ignore)
        if not has_archives:
            return files
    elif not has_archives:
        return None
    else:
        files = find_data_files(options, context.directory, context.allowed_roots)
    member_patterns = (
        f"**/*.{ending}{packed_extension}"
        for ending in extensions
        for packed_extension in ("", *(f".{pattern}" for pattern in COMPRESSED_EXTENSIONS))
    )
    return expand_archives(files, options.members or [*member_patterns], options.ignore)


def require_local_files(options: HeaderSourceOptions) -> None:
    """Refuse `root` and `members` where whole tables are read.

    Parameters
    ----------
    options
        Options of the source.

    Raises
    ------
    SourceError
        There is one of them.
    """
    if (
        options.root
        or options.members is not None
        or any(pattern.lower().endswith(ARCHIVE_EXTENSIONS) for pattern in options.files)
    ):
        raise SourceError(
            "Hven reads rows of tables only from files next to the descriptor",
            remedy="to read rows, remove `root` and `members`, and unpack archives; to read headers, choose a `mode` "
            "that reads only headers",
        )
