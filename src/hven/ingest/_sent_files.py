"""Files that a client sends -> their places below a root of the collection, and what their readers make of them; all of it, or nothing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from hven.descriptor.tables import LISTS
from hven.ingest._kept_rows import Taken
from hven.ingest._rules import ERROR
from hven.ingest._sent_archives import unpacked
from hven.ingest._sent_places import Place, Sent, digest_of, spool, undone
from hven.ingest._steps import new_id
from hven.ingest._trial import load
from hven.ingest._writing import DELETE, POST, Refused, Writing, Written, matches
from hven.model import plugins
from hven.model.errors import NotFound, Outdated, ParamError, SourceError, Unavailable, say
from hven.model.table import Root
from hven.site.store import Push, now
from hven.sources import FileWise
from hven.sources.stores import fixed, wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.ingest._ledger import Entry
    from hven.ingest._report import Finding
    from hven.ingest._steps import Run
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.store import Lease

LONGEST = 1000  # bytes of a path


def entry_of(spec: TableSpec, path: str) -> SourceSpec | None:
    """Find which entry of ``files:`` takes a file of some path; of all that take any the first, for the empty path."""
    for one in spec.sources:
        if one.kind == LISTS and one.options.get("writers") and (not path or _below(one.options, path) is not None):
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
    """Return the path under which a file is kept that has a name alone; empty: it is an archive, whose files are kept."""
    for one in spec.sources:
        if one.kind == LISTS and one.options.get("writers") and (path := placed(one.options, name)) != name:
            return path
    return "" if name.lower().endswith(".zip") and entry_of(spec, name) is None else name


def placed(options: Mapping[str, Any], name: str) -> str:
    """Put a name into the directory that a pattern names; as it is, where no pattern means it there."""
    said = options.get("files") or []
    for pattern in [said] if isinstance(said, str) else said:
        path = "/".join(filter(None, (str(options.get("at", "")), fixed(pattern), name)))
        if _below(options, path) is not None:
            return path
    return name


def place_of(site: Site, resource: Resource, source: SourceSpec, path: str) -> Place:
    """Find where a file of a collection lies.

    Raises
    ------
    NotFound
        No file may be called so.
    """
    below = _below(source.options, path)
    top = (resource.path.parent / Path(str(source.options.get("root", ""))).expanduser()).resolve()
    found = top / (below or "")
    there = next(one for one in (found, *found.parents) if one.exists())
    if below is None or not there.resolve().is_relative_to(top) or found.is_symlink() or found.is_dir():
        raise NotFound(say("no file can be called {path!r:.120} here", path), remedy="the descriptor says which may be sent: files")  # fmt: skip
    return Place(spool(site), resource.name, found)


class Sending(Writing):
    """A file, or those of an archive, from what was sent to what is published."""

    def receive(self, source: SourceSpec) -> None:
        """See what is meant."""
        write = self.write
        self.source = source
        name = "/".join(write.key or ())
        self.given: list[tuple[str, Path | None]] = [(name, write.body)]
        if not name and write.action == POST and write.body is not None and is_zipfile(write.body):
            if write.match is not None:
                raise ParamError("an archive has no state that If-Match could name", remedy="send its files by PUT")
            files = unpacked(write.body, self.site.settings.limits.upload)
            self.given = [(placed(source.options, one), path) for one, path in files]
        elif not name or (write.action == DELETE) != (write.body is None):
            raise ParamError("a file is sent by PUT under its path, and taken away by DELETE", remedy="one at a time, or several by POST of a ZIP archive")  # fmt: skip

    def looks(self, entry: Entry) -> bool:
        return entry.spec.kind == LISTS or isinstance(entry.source, FileWise)

    def touches(self, spec: TableSpec) -> bool:
        return any("files" in plugins.load("sources", one.kind).Options.model_fields for one in spec.sources)

    def bad(self, run: Run) -> list[Finding]:
        """List what is wrong with the files, in whatever table."""
        return [
            one
            for table in run.report.tables.values()
            for one in table.findings.values()
            if one.severity == ERROR and any((row.file or "").endswith(self.lasts) for row in one.offenders)
        ]

    @property
    def lasts(self) -> tuple[str, ...]:
        """Names of the files, without directories."""
        return tuple(name.rpartition("/")[2] for name, _ in self.given)

    def under(self, lease: Lease) -> Written:
        """Put them there, while nobody else writes, and publish what their readers make of them."""
        site, write = self.site, self.write
        found = site.store.pushes.found(self.table, token=write.token) if write.token else None
        if (before := self.again(found)) is not None:
            return before
        self.free()
        undone(site, self.collection)  # before it is looked at what is there
        resource = load(site, self.collection)
        places = [self._place(resource, name, body) for name, body in self.given]
        names, gone = [name for name, _ in self.given], write.action == DELETE
        alone = self.given[0][1] if len(places) == 1 else None
        run = new_id()
        state = "" if alone is None else digest_of(alone)
        made = Push(
            run=run,
            table=self.table,
            collection=self.collection,
            at=now(),
            by=self.by,
            action=write.action,
            rows=0 if gone else len(places),
            removed=int(gone),
            token=write.token,
            digest=self.digest,
            answer={"ids": names, "state": state or run},
        )
        report = self.report(run)
        try:
            with ExitStack() as stack:
                sent = Sent(run=run, table=self.table)
                for place, (_, body) in zip(places, self.given, strict=True):
                    stack.enter_context(place.changed(body, sent))
                self.publish(resource, report, made, lease)
                sent.keep = not write.dry_run
        except Unavailable as error:
            said = error.__cause__
            which = next((last for last in self.lasts if last in str(said)), None)
            if not isinstance(said, SourceError) or which is None:
                raise
            message = say("{file!r:.120} cannot be read: {message}", which, said.message)
            raise Refused(message, report, remedy="nothing was written") from error
        if not report.published and not write.dry_run:
            site.store.pushes.add(made, lease)
        new = not gone and not all(place.digest for place in places)
        return Written(
            run=run, ids=names, rows=made.rows, removed=made.removed, state=state or run, new=new, report=report
        )

    def _place(self, resource: Resource, name: str, body: Path | None) -> Place:
        """Find where a file lies, and whether it may be written there."""
        write = self.write
        place = place_of(self.site, resource, self.source, name)
        if write.match is not None and (not place.digest or not matches(write.match, place.digest)):
            raise Outdated("the file is another one now", remedy="ask for it anew, and decide again")
        if write.action == POST and place.digest not in {"", digest_of(body) if body is not None else ""}:
            raise Taken(say("there is a file {path!r:.120} already", name), remedy="PUT puts another one in its place")
        if write.action == DELETE and not place.digest:
            raise NotFound(say("there is no file {path!r:.120}", name))
        return place
