"""`restore`: an archive of `backup` back into an empty directory and an empty store, after all of it was checked."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tarfile
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import settings as settings_room
from hven.model.errors import Conflict, HvenError, SourceError, StorageError, UserError
from hven.model.settings import SECRETS
from hven.site._site import Site
from hven.site.archive import ARCHIVE, HEAD, SUMS, Summed
from hven.site.store import Store
from hven.site.store._database import FORMAT
from hven.site.store._snapshots import from_row
from hven.site.store._state_copies import own_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.model.settings import Settings
    from hven.site.store import Record

_CHUNK = 1 << 20
_ENGINE = re.compile(r"^(\s*engine\s*=\s*)([\"'])[^\"'\n]*\2", re.MULTILINE)


def verify(path: Path) -> dict[str, Any]:
    """Verify an archive from end to end.

    Parameters
    ----------
    path
        Of the archive.

    Returns
    -------
    about
        What it says of itself.

    Raises
    ------
    SourceError
        No archive of Hven, one that is cut off, or altered.
    UserError
        A newer Hven wrote it.
    """
    with _plainly(path):
        return _verified(path)


def _verified(path: Path) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    head: dict[str, Any] = {}
    sums: dict[str, Any] | None = None
    for member, file in _members(path):
        name = member.name
        if sums is not None:
            raise SourceError(f"{path} is altered: {name} stands behind its end")
        if not head and name != HEAD:
            raise SourceError(f"{path} is no backup of Hven", remedy="hven backup FILE writes one")
        if name in found or not _inside(name):
            raise SourceError(f"{path} is altered: it has a member {name!r:.120} that no backup has")
        summed = Summed(file)
        if name == SUMS:
            sums = _json(path, name, summed.read())
            continue
        if name == HEAD:
            head = _json(path, name, summed.read())
            _known(path, head)
        while summed.read(_CHUNK):
            pass
        found[name] = [member.size, summed.digest]
    if not head:
        raise SourceError(f"{path} is no backup of Hven", remedy="hven backup FILE writes one")
    if sums is None:
        raise SourceError(
            f"{path} is cut off: its end is missing",
            remedy="copy it again; if that is all there is, it cannot be restored",
        )
    for name in sorted({*found, *sums}):
        if found.get(name) != sums.get(name):
            what = "is missing" if name not in found else "is not what was written" if name in sums else "was added"
            raise SourceError(f"{path} is altered: {name} {what}", remedy="copy it again from where it was made")
    return {**head, "members": len(found), "bytes": path.stat().st_size}


def _known(path: Path, head: Mapping[str, Any]) -> None:
    said, store = head.get("backup"), head.get("store")
    if not isinstance(said, int) or not isinstance(store, int):
        raise SourceError(f"{path} is no backup of Hven", remedy="hven backup FILE writes one")
    if said > ARCHIVE or store > FORMAT:
        raise UserError(
            f"{path} was written by Hven {head.get('hven')} (format {said}, system state {store}); this Hven knows {ARCHIVE} and {FORMAT}",
            remedy=f"restore it with Hven {head.get('hven')} or a newer one",
        )


def _json(path: Path, name: str, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise SourceError(f"{path} is altered: {name} cannot be read") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path} is altered: {name} cannot be read")
    return found


def _inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not name.startswith("/")
        and ".." not in parts
        and (name in {HEAD, SUMS} or parts[0] in {"site", "state", "rows", "jobs"})
    )


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Translate what is wrong with an archive into plain words, wherever it breaks off."""
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        if "not a" in str(error) or "invalid header" in str(error) or "empty" in str(error):
            raise SourceError(
                f"{path} is no backup of Hven, or is damaged: {error}", remedy="hven backup FILE writes one"
            ) from error
        raise SourceError(
            f"{path} is cut off: {error}", remedy="copy it again; if that is all there is, it cannot be restored"
        ) from error


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """Yield the files of an archive, one after the other."""
    try:
        opened = path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    with opened, tarfile.open(fileobj=opened, mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is None:
                raise SourceError(f"{path} is altered: {member.name!r:.120} is no file")
            yield member, file


def restore(
    path: Path, directory: Path, *, engine: str | None = None, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Restore a site from an archive.

    Parameters
    ----------
    path
        Of the archive.
    directory
        One that is not there, or has nothing in it but ``secrets.toml``. It is a site when everything is in it.
    engine
        Keep all rows in this engine, whatever they were in.
    progress
        Told each table, from this thread.

    Returns
    -------
    dict
        What the archive says of itself, the ``collections`` that must be ingested, as their rows are not in it, and in words what is
        ``yours`` to look at: settings that belong to the place where the site was.

    Raises
    ------
    Conflict
        The directory, or the database of the system state, is not empty.
    SourceError, UserError
        The archive; see `verify`.
    StorageError
        The disk, or a database. What was there before is as it was.
    """
    if directory.exists() and (not directory.is_dir() or any(item.name != SECRETS for item in directory.iterdir())):
        raise Conflict(
            f"{directory} is not empty", remedy=f"name a directory that is empty (but for {SECRETS}) or not there"
        )
    head = verify(path)
    # within it: who restores may have no right to what is above, or it may be a mount
    made = directory / f".{secrets.token_hex(3)}.part"
    fresh = not directory.exists()
    moved: list[Path] = []
    try:
        made.mkdir(parents=True)
        if (directory / SECRETS).is_file():
            shutil.copy2(directory / SECRETS, made / SECRETS)
        rest = _Restoring(path, made, engine, progress or (lambda _: None))
        with _plainly(path):
            collections = rest.run()
        # with its settings it is a site
        for item in sorted(made.iterdir(), key=lambda item: item.name == settings_room.FILE):
            if item.name != SECRETS:
                moved.append(item.rename(directory / item.name))  # noqa: PERF401  (what has gone up is known if one fails)
        moved.clear()
    except HvenError as error:  # where it was made is gone when somebody reads this
        error.message, error.remedy = (
            text.replace(str(made), str(directory)) for text in (error.message, error.remedy)
        )
        raise
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StorageError(f"{directory} cannot be made: {why}", remedy="make room, or name another place") from error
    finally:
        for item in moved:
            item.rename(made / item.name)
        shutil.rmtree(made, ignore_errors=True)
        if fresh and directory.exists() and not any(directory.iterdir()):
            directory.rmdir()
    return {
        **head,
        "collections": [] if head["data"] else collections,
        "yours": [*rest.said, *_yours(settings_room.load(directory))],
    }


def _yours(settings: Settings) -> Iterator[str]:
    """List what of a restored hven.toml belongs to the place where the site was."""
    for name, value, why in settings_room.placed(settings):
        shown = ", ".join(value) if isinstance(value, tuple) else value
        yield f"{settings_room.FILE} says {name} = {shown}, as it was there: {why}"


class _Restoring:
    """One restoration, in a directory whose contents go up at the end."""

    def __init__(self, path: Path, directory: Path, engine: str | None, progress: Callable[[str], None]) -> None:
        self.path = path
        self.directory = directory
        self.engine = engine
        self.progress = progress
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.made: dict[str, Record] = {}
        self.said: list[str] = []

    def run(self) -> list[str]:
        """Restore; return the collections that have a descriptor."""
        for member, file in _members(self.path):  # all files and the state come before the rows
            if member.name.startswith("site/"):
                self._file(self.directory, member, file, member.name.removeprefix("site/"))
            elif member.name.startswith("state/"):
                lines = [line for line in file.read().decode().splitlines() if line]
                self.tables[PurePosixPath(member.name).stem] = [json.loads(line) for line in lines]
            elif member.name.startswith(("rows/", "jobs/")):
                break
        settings = self._true(settings_room.load(self.directory))
        kept = settings.kept
        with closing(Store(settings.var, settings.store)) as store:
            store.vacant()
        with Site(settings) as site:
            try:
                self._rest(site, kept)
                site.store.imported(self.tables, self.made)
            except BaseException:
                site.engines.drop(record.snapshot for record in self.made.values())
                site.store.disown()
                raise
            for record in self.made.values():
                site.engines.of(record.snapshot).published(record.snapshot)
        return sorted(
            path.parent.name for path in settings.collections.glob("*/*.yaml") if path.stem == path.parent.name
        )

    def _true(self, settings: Settings) -> Settings:
        """Set hven.toml to the engine in which the rows are now."""
        if self.engine is None or settings.engine == self.engine:
            return settings
        file = self.directory / settings_room.FILE
        text = file.read_text(encoding="utf-8-sig")
        top, mark, rest = text.partition("\n[")
        new, found = _ENGINE.subn(rf'\g<1>"{self.engine}"', top, count=1)
        file.write_text((new if found else f'engine = "{self.engine}"\n{top}') + mark + rest, encoding="utf-8")
        self.said.append(f"{settings_room.FILE} says engine = {self.engine} now; it was {settings.engine}")
        return settings_room.load(self.directory)

    def _rest(self, site: Site, kept: Path) -> None:
        records = self._records()
        for name in sorted(
            {self.engine or record.snapshot.engine for record in records.values() if record.table.owner is None}
        ):
            site.engines.get(name)  # what it lacks is told before anything is written
        if self.engine is not None:
            other = {
                name: one.engine
                for name, one in site.current().resources.items()
                if one.engine not in {None, self.engine}
            }
            self.said += [
                f"the descriptor of {name} says `engine: {there}`: the next ingest puts its rows there"
                for name, there in other.items()
            ]
        for member, file in _members(self.path):
            if member.name.startswith("rows/"):
                record = records.get(PurePosixPath(member.name).stem)
                if record is None:
                    raise SourceError(f"{self.path} is altered: nothing says what {member.name} is")
                self.progress(record.table.qualified)
                self._staged(site, record, file)
            elif member.name.startswith("jobs/"):
                self._file(kept, member, file, member.name)
        missing = sorted(set(records) - set(self.made))
        if missing:
            raise SourceError(f"{self.path} is altered: the rows of {records[missing[0]].table.qualified} are missing")

    def _records(self) -> dict[str, Record]:
        found = [from_row(_Line(row)) for row in self.tables.get("snapshots", ())]
        found += [own_record(_Line(row)) for row in self.tables.get("user_tables", ())]
        return {record.id: record for record in found}

    def _staged(self, site: Site, record: Record, file: Any) -> None:
        """Write the rows of a snapshot through the engine's door: indexes and statistics are made anew."""
        own = record.table.owner is not None
        engine = site.engine if own else site.engines.get(self.engine or record.snapshot.engine)
        schema = record.table.arrow
        staging = engine.stage(record.table, record.id)
        try:
            with pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    staging.write(batch.select(schema.names).cast(schema))
            snapshot = replace(staging.finish(), engine=engine.name)
        except pa.ArrowException as error:
            staging.abandon()
            raise SourceError(
                f"{self.path} is altered: the rows of {record.table.qualified} cannot be read: {error}"
            ) from error
        except BaseException:
            staging.abandon()
            raise
        self.made[record.id] = replace(record, snapshot=snapshot)
        if snapshot.rows != record.snapshot.rows:
            raise SourceError(
                f"{self.path} is altered: {record.table.qualified} has {snapshot.rows:,} rows, not {record.snapshot.rows:,}"
            )

    def _file(self, root: Path, member: tarfile.TarInfo, file: Any, name: str) -> None:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            shutil.copyfileobj(file, out, _CHUNK)
        target.chmod(member.mode & 0o777)


class _Line:
    """A row of an archive, as one of the store."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


__all__ = ["restore", "verify"]
