"""The facts of a file on a server, what reads it, and the errors for what the server does not send."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from hven.model.errors import UpstreamError, UpstreamTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

MEBIBYTE = 1 << 20
UNREACHABLE_MESSAGE = "the server that keeps it cannot be reached"
TIMEOUT_MESSAGE = "its server did not respond in time"
MISSING_MESSAGE = "the server that keeps it no longer has it"
REFUSED_MESSAGE = "the server that keeps it does not send it"
CHANGED_MESSAGE = "it changed while Hven was reading it"
_PATTERN_SIGN_PATTERN = re.compile(r"\[[^\]/]+\]|.", re.DOTALL)
LATER_REMEDY, OWNER_REMEDY = "try again later", "report this to the operators of this site"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFileFacts:
    """A file as its server knows it.

    Attributes
    ----------
    bytes, modified
        Size; time of the last change, UTC without a zone. None: not stated.
    tag
        What else distinguishes this state from others: an ETag, a version.
    """

    bytes: int | None = None
    modified: datetime | None = None
    tag: str | None = None


class NoRangesError(UpstreamError):
    """The server only sends whole files, and no parts of them."""


class RemoteStore(Protocol):
    """The files below a root on another server.

    A class in `hven.model.plugins.PluginPackage.remote_stores` is called with the address of a root, its options, and
    the parameters `allow_private` and `timeout_seconds` of `hven.sources.remote_stores.open_remote_store`.

    Raises
    ------
    UpstreamError
        The server is away, refuses, has no such file, or has another one than `fetch_facts` says; words for readers,
        without its name.
    UpstreamTimeoutError
        It does not respond in time.
    NoRangesError
        It gives whole files alone.
    """

    def fetch_facts(self, path: str) -> RemoteFileFacts:
        """Request size, time and tag.

        Parameters
        ----------
        path
            Below the root, without a slash at its begin.

        Returns
        -------
        fact
            Facts that the server does not state are None.

        Raises
        ------
        UpstreamError
            See above.
        """

    def fetch_facts_and_beginning(self, path: str, size: int, /) -> tuple[RemoteFileFacts, bytes]:
        """Request size, time and tag, with the first bytes where one request returns both.

        Parameters
        ----------
        path
            Below the root.
        size
            Bytes at most.

        Returns
        -------
        fact, bytes
            Facts that the server does not state are None; no bytes: they need a request of their own.

        Raises
        ------
        UpstreamError
            See above.
        """

    def read_range(self, path: str, start_offset: int, end_offset: int, fact: RemoteFileFacts) -> Iterator[bytes]:
        """Read a part of a file.

        Parameters
        ----------
        path
            Below the root.
        start_offset, end_offset
            The first byte, and that behind the last.
        fact
            Facts of the file from an earlier request: if the file has another state now, no bytes are returned.

        Yields
        ------
        part
            Some bytes.

        Raises
        ------
        UpstreamError
            See above.
        """

    def list_files(
        self, patterns: Sequence[str], ignore_patterns: Sequence[str], /
    ) -> Iterator[tuple[str, RemoteFileFacts]]:
        """List files.

        Parameters
        ----------
        patterns, ignore_patterns
            Of paths: those that one of the first means, and none of the second.

        Yields
        ------
        path, fact
            Path and fact in the order of the paths.

        Raises
        ------
        UserError
            The server lists nothing.
        """


class WebFileStore(RemoteStore, Protocol):
    """The files below the address of a web server."""

    def read_small_file(self, path: str, byte_limit: int) -> bytes | None:
        """Read a small file.

        Parameters
        ----------
        path
            Path below the root.
        byte_limit
            Bytes at most.

        Returns
        -------
        data
            The content; None: there is no such file.

        Raises
        ------
        UpstreamError
            See above; or the file has more bytes.
        """


def build_missing_file_error() -> UpstreamError:
    """Build the error of a file that is gone."""
    return UpstreamError(MISSING_MESSAGE, remedy=OWNER_REMEDY)


def build_changed_file_error() -> UpstreamError:
    """Build the error of a file that has changed."""
    return UpstreamError(CHANGED_MESSAGE, remedy=LATER_REMEDY)


def build_timeout_error() -> UpstreamTimeoutError:
    """Build the error of a server that takes too long."""
    return UpstreamTimeoutError(TIMEOUT_MESSAGE, remedy=LATER_REMEDY)


def build_unreachable_error() -> UpstreamError:
    """Build the error of a server that cannot be reached."""
    return UpstreamError(UNREACHABLE_MESSAGE, remedy=LATER_REMEDY)


@cache
def compile_glob(text: str) -> re.Pattern[str]:
    """Compile a pattern: ``*``, ``?``, ``[abc]`` within a name; ``**`` between slashes stands for any directories."""
    parts = [
        (
            r"(?:[^/]+/)*"
            if part == "**"
            else "".join(map(_translate_glob_token, _PATTERN_SIGN_PATTERN.findall(part))) + "/"
        )
        for part in text.split("/")
    ]
    return re.compile("".join(parts).removesuffix("/") if parts[-1].endswith("/") else "".join(parts) + "[^/]+")


def _translate_glob_token(text: str) -> str:
    if text in {"*", "?"}:
        if text == "*":
            return "[^/]*"
        return "[^/]"
    if len(text) > 1:  # [abc], [!a-f]
        return "[" + re.sub(r"([\\^\[\]])", r"\\\1", text[1:-1]).replace("!", "^", text[1] == "!") + "]"
    return re.escape(text)


def find_directory_before_wildcard(text: str) -> str:
    """Return the directories that a pattern names before its first wildcard.

    Parameters
    ----------
    text
        A pattern: ``data/*/a.fits``.

    Returns
    -------
    directories
        ``data``; empty: none.
    """
    fixed_parts = []
    for part in text.split("/")[:-1]:
        if set("*?[") & {*part}:
            break
        fixed_parts.append(part)
    return "/".join(fixed_parts)


def is_pattern_match(path: str, patterns: Sequence[str], ignore_patterns: Sequence[str]) -> bool:
    """Return whether patterns match a path.

    Parameters
    ----------
    path
        Path below a root, with ``/`` between its parts.
    patterns, ignore_patterns
        Patterns of which one must match, and patterns of which none may match, by path or name.
    """
    name = path.rpartition("/")[2]
    is_ignored = any(
        compile_glob(glob).fullmatch(path) or compile_glob(glob).fullmatch(name) for glob in ignore_patterns
    )
    return not is_ignored and any(compile_glob(glob).fullmatch(path) for glob in patterns)
