"""Files in stores that fsspec speaks: Azure, Google, sftp, SMB; S3 has a way of its own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hven.model import split_address
from hven.model.errors import FarFault, SourceError, UserError
from hven.sources import remote
from hven.sources._stores._facts import MIB, OWNER, REFUSED, Fact, away, changed, fixed, missing, slow, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# what reads this machine's disk (file, dir, zip, git ..) or goes past our guards (http, ftp) is not among them
SPOKEN = ("gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "tos", "oci", "hdfs", "webhdfs", "sftp", "ssh", "smb", "hf", "memory")  # fmt: skip


class Spec:
    """A bucket, or a directory of it.

    Parameters
    ----------
    options
        Of the file system; an `endpoint_url` is checked as every address is.
    """

    def __init__(self, address: str, options: Mapping[str, str], *, allow_private: bool, seconds: float) -> None:  # noqa: ARG002  (each has a setting of its own for it)
        try:
            import fsspec  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise SourceError(
                "files in stores such as gs:// need fsspec", remedy="pip install 'hven[stores]'"
            ) from error
        if "endpoint_url" in options:
            remote.resolve(options["endpoint_url"], allow_private=allow_private)
        scheme = split_address(address).scheme
        host = split_address(address).hostname
        if scheme in {"hdfs", "webhdfs", "sftp", "ssh", "smb"} and host is not None:
            remote.locate(host, split_address(address).port or 22, allow_private=allow_private)
        try:
            words: dict[str, Any] = {
                key: {"true": True, "false": False}.get(value, value) for key, value in options.items()
            }
            self._files, self._root = fsspec.core.url_to_fs(address, use_listings_cache=False, **words)
        except ImportError as error:
            raise SourceError(f"{scheme}:// needs another package: {error}", remedy=f"install it: {error}") from error
        self._root = str(self._root).rstrip("/")

    def fact(self, path: str) -> Fact:
        """Ask for size, time and version."""
        try:
            return _fact(self._files.info(f"{self._root}/{path}"))
        except Exception as error:  # each store has its own
            raise _told(error) from error

    def begun(self, path: str, _size: int) -> tuple[Fact, bytes]:
        """Ask for size and time, and for no bytes yet."""
        return self.fact(path), b""

    def read(self, path: str, begin: int, end: int, fact: Fact) -> Iterator[bytes]:
        """Read bytes, a MiB with each request; changes between two are seen at the next look at the file."""
        if self.fact(path) != fact:
            raise changed()
        while begin < end:
            until = min(begin + MIB, end)
            try:
                part = self._files.cat_file(f"{self._root}/{path}", start=begin, end=until)
            except Exception as error:
                raise _told(error) from error
            if len(part) != until - begin:
                raise changed()
            yield part
            begin = until

    def listed(self, patterns: Sequence[str], ignore: Sequence[str]) -> Iterator[tuple[str, Fact]]:
        """List what patterns mean."""
        found: dict[str, Fact] = {}
        for pattern in patterns:
            deep = (
                None
                if "**" in pattern
                else pattern.count("/") - (fixed(pattern).count("/") + 1 if fixed(pattern) else 0) + 1
            )
            try:
                said = self._files.find(f"{self._root}/{fixed(pattern)}".rstrip("/"), maxdepth=deep, detail=True)
            except Exception as error:
                raise _told(error) from error
            found |= {name.removeprefix(self._root).lstrip("/"): _fact(info) for name, info in said.items()}
        yield from ((path, fact) for path, fact in sorted(found.items()) if wanted(path, patterns, ignore))


def _fact(info: Mapping[str, Any]) -> Fact:
    """Read what a file system says; each has words of its own."""
    moment = next(
        (info[key] for key in ("LastModified", "mtime", "updated", "last_modified", "created") if info.get(key)), None
    )
    if isinstance(moment, int | float):
        moment = dt.datetime.fromtimestamp(moment, dt.UTC)
    modified = moment.astimezone(dt.UTC).replace(tzinfo=None) if isinstance(moment, dt.datetime) else None
    tag = next((str(info[key]) for key in ("ETag", "etag", "md5Hash", "checksum") if info.get(key)), None)
    if info.get("type") == "directory":
        raise missing()
    return Fact(bytes=info.get("size"), modified=modified, tag=tag)


def _told(error: Exception) -> Exception:
    """Say what a file system's error means to a reader."""
    if isinstance(error, FarFault | UserError):
        return error
    if isinstance(error, FileNotFoundError):
        return missing()
    if isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower():
        return slow()
    if isinstance(error, PermissionError):
        return FarFault(REFUSED, remedy=OWNER)
    return away()
