"""Where files are kept elsewhere: one way to ask for facts, bytes and lists, whatever the server speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hven.model.errors import SourceError
from hven.model.table import Root
from hven.sources._reading.files import PACKED
from hven.sources._reading.listing import data_files
from hven.sources._stores._facts import CHANGED, LATER, MIB, OWNER, Fact, Whole, changed, fixed, slow, wanted
from hven.sources._stores.disk import Disk
from hven.sources._stores.elsewhere import ARCHIVES, far_files, members_of
from hven.sources._stores.ftp import Ftp
from hven.sources._stores.s3 import S3
from hven.sources._stores.spec import SPOKEN, Spec
from hven.sources._stores.web import Web
from hven.sources._stores.web_catalogues import WebCatalogues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.sources import Context
    from hven.sources._reading.files import DataFile
    from hven.sources._reading.headrows import HeadOptions

__all__ = [
    "ARCHIVES",
    "CHANGED",
    "LATER",
    "MIB",
    "OWNER",
    "SCHEMES",
    "Disk",
    "Fact",
    "Store",
    "WebCatalogues",
    "Whole",
    "changed",
    "fixed",
    "meant",
    "on_disk_alone",
    "slow",
    "speaks",
    "store",
    "wanted",
]
SECONDS = 60.0  # that a server may be silent while heads are read
SCHEMES = ("http", "https", "ftp", "s3", "s3a", *SPOKEN)


class Store(Protocol):
    """Files below a root elsewhere.

    Raises
    ------
    FarFault
        The server is away, refuses, has no such file, or has another one than `fact` says; words for readers, without its name.
    FarSilence
        It does not answer in time.
    Whole
        It gives whole files alone.
    """

    def fact(self, path: str) -> Fact:
        """Ask for size, time and tag.

        Parameters
        ----------
        path
            Below the root, without a slash at its begin.

        Returns
        -------
        fact
            What is not said is None.

        Raises
        ------
        FarFault
            See above.
        """

    def begun(self, path: str, size: int, /) -> tuple[Fact, bytes]:
        """Ask for size, time and tag, and for the first bytes where one request gives both.

        Parameters
        ----------
        path
            Below the root.
        size
            Bytes at most.

        Returns
        -------
        fact, bytes
            What is not said is None; empty: they are to be asked for.

        Raises
        ------
        FarFault
            See above.
        """

    def read(self, path: str, begin: int, end: int, fact: Fact) -> Iterator[bytes]:
        """Read a part of a file.

        Parameters
        ----------
        path
            Below the root.
        begin, end
            The first byte, and that behind the last.
        fact
            What was said of the file: of another state nothing is given.

        Yields
        ------
        part
            Some bytes.

        Raises
        ------
        FarFault
            See above.
        """

    def listed(self, patterns: Sequence[str], ignore: Sequence[str], /) -> Iterator[tuple[str, Fact]]:
        """List files.

        Parameters
        ----------
        patterns, ignore
            Of paths: those that one of the first means, and none of the second.

        Yields
        ------
        path, fact
            In the order of the paths.

        Raises
        ------
        UserError
            The server lists nothing.
        """


def speaks(scheme: str) -> bool:
    """Return whether files can be had by a scheme.

    Parameters
    ----------
    scheme
        ``https``, ``ftp``, ``s3`` ..
    """
    return scheme in SCHEMES


def store(root: Root, *, secret: Callable[[str], str] | None, allow_private: bool, seconds: float) -> Store:
    """Make the way to a root elsewhere; nothing is asked yet.

    Parameters
    ----------
    root
        With an address.
    secret
        Resolves ``$NAME`` of options.
    allow_private
        True lets addresses through that are not on the public internet.
    seconds
        Without a byte for that long, a server does not answer.

    Returns
    -------
    store
        For threads.

    Raises
    ------
    SourceError
        A library is missing.
    UserError
        A secret, or a host, is not known.
    Forbidden
        Its address is private.
    """
    options: Mapping[str, str] = {
        key: secret(value) if value.startswith("$") and secret is not None else value
        for key, value in root.options.items()
    }
    kinds: dict[str, Any] = {"http": Web, "https": Web, "ftp": Ftp, "s3": S3, "s3a": S3}
    kind = kinds.get(str(root.scheme), Spec)
    found: Store = kind(root.address, options, allow_private=allow_private, seconds=seconds)
    return found


def meant(options: HeadOptions, context: Context, endings: Sequence[str]) -> list[DataFile] | None:
    """Find the files of a source that reads heads, where they are elsewhere, or in archives.

    Parameters
    ----------
    options, context
        Of the source.
    endings
        Of members of archives, if it is not said which are meant.

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
    packed = options.members is not None or any(one.lower().endswith(ARCHIVES) for one in options.files)
    files: Sequence[DataFile]
    if options.root:
        root = Root(address=options.root.rstrip("/"), at="", options=options.options, direct=False)
        if root.scheme is None or not speaks(root.scheme):
            raise SourceError(f"nobody knows how to ask {options.root}", remedy=f"root: one of {', '.join(SCHEMES)}")
        there = store(root, secret=context.secret, allow_private=context.allow_private, seconds=SECONDS)
        files = far_files(there, root.address, options.files, options.ignore)
        if not packed:
            return files
    elif not packed:
        return None
    else:
        files = data_files(options, context.directory, context.roots)
    usual = (f"**/*.{ending}{more}" for ending in endings for more in ("", *(f".{one}" for one in PACKED)))
    return members_of(files, options.members or [*usual], options.ignore)


def on_disk_alone(options: HeadOptions) -> None:
    """Refuse a root and members where whole tables are read.

    Parameters
    ----------
    options
        Of the source.

    Raises
    ------
    SourceError
        There is one of them.
    """
    if options.root or options.members is not None or any(one.lower().endswith(ARCHIVES) for one in options.files):
        raise SourceError("rows of tables are read of files beside the descriptor", remedy="`root` and `members` are for headers: take them out, or say the mode")  # fmt: skip
