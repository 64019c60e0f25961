"""Read files in stores that fsspec supports: Azure, Google, sftp, SMB; S3 has a module of its own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hven.model import split_address
from hven.model.errors import SourceError, UpstreamError, UserError
from hven.plugins.file_servers.listed_files import select_files
from hven.sources import http_client
from hven.sources.remote_stores import (
    MEBIBYTE,
    OWNER_REMEDY,
    REFUSED_MESSAGE,
    RemoteFileFacts,
    build_changed_file_error,
    build_missing_file_error,
    build_timeout_error,
    build_unreachable_error,
    find_directory_before_wildcard,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class FsspecStore:
    """A bucket, or a directory of it.

    Parameters
    ----------
    options
        Options of the file system; an `endpoint_url` is checked as every address is.
    """

    def __init__(
        self,
        address: str,
        options: Mapping[str, str],
        *,
        allow_private: bool,
        timeout_seconds: float,  # noqa: ARG002  (each has a setting of its own for it)
    ) -> None:
        try:
            import fsspec  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise SourceError(
                "reading files from addresses such as gs:// requires fsspec", remedy="run `pip install 'hven[stores]'`"
            ) from error
        if "endpoint_url" in options:
            http_client.resolve_url(options["endpoint_url"], allow_private=allow_private)
        parts = split_address(address)
        scheme = parts.scheme
        if scheme in {"hdfs", "webhdfs", "sftp", "ssh", "smb"} and parts.hostname is not None:
            http_client.resolve_host(parts.hostname, parts.port or 22, allow_private=allow_private)
        try:
            words: dict[str, Any] = {
                key: {"true": True, "false": False}.get(value, value) for key, value in options.items()
            }
            self._filesystem, self._root = fsspec.core.url_to_fs(address, use_listings_cache=False, **words)
        except ImportError as error:
            raise SourceError(
                f"reading {scheme}:// addresses requires a package that is not installed: {error}",
                remedy="install this package in the Python environment of Hven",
            ) from error
        self._root = str(self._root).rstrip("/")

    def fetch_facts(self, path: str) -> RemoteFileFacts:
        """Request size, time and version."""
        try:
            return _parse_file_info(self._filesystem.info(f"{self._root}/{path}"))
        except Exception as error:  # each store has its own errors
            raise _translate_error(error) from error

    def fetch_facts_and_beginning(self, path: str, _size: int) -> tuple[RemoteFileFacts, bytes]:
        """Request size and time, and no bytes yet."""
        return self.fetch_facts(path), b""

    def read_range(self, path: str, start_offset: int, end_offset: int, fact: RemoteFileFacts) -> Iterator[bytes]:
        """Read bytes, one MiB with each request; a change between two requests is noticed at the next look."""
        if self.fetch_facts(path) != fact:
            raise build_changed_file_error()
        while start_offset < end_offset:
            until = min(start_offset + MEBIBYTE, end_offset)
            try:
                part = self._filesystem.cat_file(f"{self._root}/{path}", start=start_offset, end=until)
            except Exception as error:
                raise _translate_error(error) from error
            if len(part) != until - start_offset:
                raise build_changed_file_error()
            yield part
            start_offset = until

    def list_files(
        self, patterns: Sequence[str], ignore_patterns: Sequence[str]
    ) -> Iterator[tuple[str, RemoteFileFacts]]:
        """List the files that patterns match."""
        facts_by_path: dict[str, RemoteFileFacts] = {}
        for pattern in patterns:
            directory = find_directory_before_wildcard(pattern)
            max_depth = None
            if "**" not in pattern:
                max_depth = pattern.removeprefix(directory).lstrip("/").count("/") + 1
            try:
                infos_by_name = self._filesystem.find(
                    f"{self._root}/{directory}".rstrip("/"), maxdepth=max_depth, detail=True
                )
            except Exception as error:
                raise _translate_error(error) from error
            facts_by_path |= {
                name.removeprefix(self._root).lstrip("/"): _parse_file_info(info)
                for name, info in infos_by_name.items()
            }
        yield from select_files(facts_by_path, patterns, ignore_patterns)


def _parse_file_info(info: Mapping[str, Any]) -> RemoteFileFacts:
    """Read the facts that a file system states; each system has words of its own."""
    moment = next(
        (info[key] for key in ("LastModified", "mtime", "updated", "last_modified", "created") if info.get(key)), None
    )
    if isinstance(moment, int | float):
        moment = dt.datetime.fromtimestamp(moment, dt.UTC)
    if isinstance(moment, dt.datetime):
        modified = moment.astimezone(dt.UTC).replace(tzinfo=None)
    else:
        modified = None
    tag = next((str(info[key]) for key in ("ETag", "etag", "md5Hash", "checksum") if info.get(key)), None)
    if info.get("type") == "directory":
        raise build_missing_file_error()
    return RemoteFileFacts(bytes=info.get("size"), modified=modified, tag=tag)


def _translate_error(error: Exception) -> Exception:
    """Translate the error of a file system for users."""
    if isinstance(error, UpstreamError | UserError):
        return error
    if isinstance(error, FileNotFoundError):
        return build_missing_file_error()
    if isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower():
        return build_timeout_error()
    if isinstance(error, PermissionError):
        return UpstreamError(REFUSED_MESSAGE, remedy=OWNER_REMEDY)
    return build_unreachable_error()
