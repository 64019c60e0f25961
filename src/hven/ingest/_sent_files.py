"""A file that a client sends -> its place below a root of the collection; what was there before comes back if it cannot be published."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.ingest._kept_rows import Taken
from hven.ingest._rules import ERROR
from hven.ingest._steps import new_id
from hven.ingest._trial import load
from hven.ingest._writing import DELETE, POST, Refused, Writing, Written, matches
from hven.model import plugins
from hven.model.errors import NotFound, Outdated, ParamError, SourceError, StorageError, Unavailable, say
from hven.model.table import Root
from hven.site.store import Push, now
from hven.sources import FileWise
from hven.sources.stores import fixed, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.ingest._ledger import Entry
    from hven.ingest._report import Finding
    from hven.ingest._steps import Run
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.store import Lease

FILES = "files"  # kind of the sources whose rows are files
LONGEST = 1000  # bytes of a path


def entry_of(spec: TableSpec, path: str) -> SourceSpec | None:
    """Find which entry of ``files:`` takes a file of some path; of all that take any the first, for the empty path."""
    for one in spec.sources:
        if one.kind == FILES and one.options.get("writers") and (not path or _below(one.options, path) is not None):
            return one
    return None


def _below(options: Mapping[str, Any], path: str) -> str | None:
    """Return the path below the root; None: the entry means no such files."""
    root = Root(at=str(options.get("at", "")), address=str(options.get("root", "")))
    begin = f"{root.at}/" if root.at else ""
    parts = path.split("/")
    plain = path.isprintable() and len(path.encode()) <= LONGEST and "\\" not in path
    if root.scheme is not None or not path.startswith(begin) or not plain or any(one.startswith(".") or not one for one in parts):  # fmt: skip
        return None
    rest = path.removeprefix(begin)
    patterns, ignore = ([said] if isinstance(said := options.get(key) or [], str) else said for key in ("files", "ignore"))  # fmt: skip
    return rest if wanted(rest, patterns, ignore) else None


def path_of(spec: TableSpec, name: str) -> str:
    """Return the path under which a file is kept that has a name alone: in the directory that a pattern names."""
    for one in spec.sources:
        said = one.options.get("files") or []
        for pattern in [said] if isinstance(said, str) else said:
            path = "/".join(filter(None, (str(one.options.get("at", "")), fixed(pattern), name)))
            if one.kind == FILES and one.options.get("writers") and _below(one.options, path) is not None:
                return path
    return name


class Place:
    """Where a file of a collection lies.

    Attributes
    ----------
    path
        On this machine.
    digest
        SHA-256 of what is there; empty: nothing.
    """

    def __init__(self, site: Site, resource: Resource, source: SourceSpec, path: str) -> None:
        below = _below(source.options, path)
        top = (resource.path.parent / Path(str(source.options.get("root", ""))).expanduser()).resolve()
        self.path = top / (below or "")
        self._spool = site.settings.var / "spool"
        there = next(one for one in (self.path, *self.path.parents) if one.exists())
        if below is None or not there.resolve().is_relative_to(top) or self.path.is_symlink() or self.path.is_dir():
            raise NotFound(say("no file can be called {path!r:.120} here", path), remedy="the descriptor says which may be sent: files")  # fmt: skip
        self.digest = digest_of(self.path) if self.path.exists() else ""

    @contextmanager
    def changed(self, body: Path | None, *, keep: bool) -> Iterator[None]:
        """Put a file there, or take it away; if the block fails, or without `keep`, all is as it was afterwards.

        Raises
        ------
        StorageError
            The disk is full, or may not be written.
        """
        made = [one for one in self.path.parents if not one.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._spool.mkdir(parents=True, exist_ok=True)
            same = self._spool.stat().st_dev == self.path.parent.stat().st_dev
            word = secrets.token_hex(6)
            beside = self._spool if same else self.path.parent
            part, old = beside / f".{word}.part", beside / f".{word}.old"
            if body is not None:
                with body.open("rb") as given, part.open("xb") as file:
                    shutil.copyfileobj(given, file)
                    file.flush()
                    os.fsync(file.fileno())
            if self.digest:
                os.link(self.path, old)
        except OSError as error:
            self._tidy(made)
            raise StorageError(f"the file cannot be kept: {error.strerror}", remedy="make room, or look at the rights of the directory") from error  # fmt: skip
        done = False
        try:
            if body is None:
                self.path.unlink()
            else:
                part.replace(self.path)
            _settle(self.path.parent)
            yield
            done = keep
        finally:
            if not done:
                if self.digest:
                    old.replace(self.path)
                else:
                    self.path.unlink(missing_ok=True)
                _settle(self.path.parent)
                self._tidy(made)
            for one in (part, old):
                one.unlink(missing_ok=True)

    def _tidy(self, made: list[Path]) -> None:
        for one in made:
            with suppress(OSError):
                one.rmdir()


def digest_of(path: Path) -> str:
    """Sum up a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settle(directory: Path) -> None:
    """Make what a directory has durable."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Sending(Writing):
    """A file, from what was sent to what is published."""

    def receive(self, source: SourceSpec) -> None:
        """See what is meant."""
        write = self.write
        self.source = source
        self.name = "/".join(write.key or ())
        if not self.name or (write.action == DELETE) != (write.body is None):
            raise ParamError("a file is sent by PUT under its path, and taken away by DELETE", remedy="one at a time")

    def looks(self, entry: Entry) -> bool:
        return entry.spec.kind == FILES or isinstance(entry.source, FileWise)

    def touches(self, spec: TableSpec) -> bool:
        return any("files" in plugins.load("sources", one.kind).Options.model_fields for one in spec.sources)

    def bad(self, run: Run) -> list[Finding]:
        """List what is wrong with the file, in whatever table."""
        last = self.name.rpartition("/")[2]
        return [
            one
            for table in run.report.tables.values()
            for one in table.findings.values()
            if one.severity == ERROR and any((row.file or "").endswith(last) for row in one.offenders)
        ]

    def under(self, lease: Lease) -> Written:
        """Put it there, while nobody else writes, and publish what its readers make of it."""
        site, write = self.site, self.write
        found = site.store.pushes.found(self.table, token=write.token) if write.token else None
        if (before := self.again(found)) is not None:
            return before
        self.free()
        resource = load(site, self.collection)
        place = Place(site, resource, self.source, self.name)
        if write.match is not None and (not place.digest or not matches(write.match, place.digest)):
            raise Outdated("the file is another one now", remedy="ask for it anew, and decide again")
        if write.action == POST and place.digest not in {"", digest_of(write.body) if write.body is not None else ""}:
            raise Taken(
                say("there is a file {path!r:.120} already", self.name), remedy="PUT puts another one in its place"
            )
        if write.action == DELETE and not place.digest:
            raise NotFound(say("there is no file {path!r:.120}", self.name))
        state = "" if write.body is None else digest_of(write.body)
        run, gone = new_id(), write.action == DELETE
        made = Push(
            run=run,
            table=self.table,
            collection=self.collection,
            at=now(),
            by=self.by,
            action=write.action,
            rows=int(not gone),
            removed=int(gone),
            token=write.token,
            digest=self.digest,
            answer={"ids": [self.name], "state": state or run},
        )
        report = self.report(run)
        try:
            with place.changed(write.body, keep=not write.dry_run):
                self.publish(resource, report, made, lease)
        except Unavailable as error:
            said = error.__cause__
            if not isinstance(said, SourceError) or self.name.rpartition("/")[2] not in str(said):
                raise
            message = say("the file cannot be read: {message}", said.message)
            raise Refused(message, report, remedy="nothing was written") from error
        if not report.published and not write.dry_run:
            site.store.pushes.add(made, lease)
        new = not gone and not place.digest
        return Written(
            run=run, ids=[self.name], rows=made.rows, removed=made.removed, state=state or run, new=new, report=report
        )
