"""The descriptors of a site as they are now: each is read again when one of its files changed; faults keep the last good one, which the store has."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hven import descriptor
from hven.descriptor import PARSED_SUFFIXES, FileContents, FileState
from hven.model.errors import HvenError
from hven.site.store._descriptors import KeptDescriptor

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.model.settings import Settings
    from hven.site.store._descriptors import KeptDescriptors

SUFFIXES = (".yaml", ".yml")
SAVE_AGAIN_SECONDS = 10.0  # until a store that did not take a descriptor is asked again
_PRIVATE = re.compile(r"""^[\s{,-]*(access\s*:\s*["']?(private|members)|project\s*:)""", re.MULTILINE)

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One collection's descriptor at one time.

    Attributes
    ----------
    name
        Of the collection.
    stamp
        Of the files when they were read.
    files
        The descriptor, its includes and functions.
    resource
        The last good reading, or None if there never was one.
    problem
        What is wrong with it now, or None.
    closed
        True if it cannot be read and nobody knows what was public: it says ``private``, ``members`` or ``project`` where
        the last good one did not, or there is no good one.
    since
        When the last good one was read first, if the store had it; ISO, UTC.
    restrictions
        Lines of the last good one that say ``private``, ``members`` or ``project``.
    """

    name: str
    stamp: Stamp
    files: tuple[Path, ...]
    resource: Resource | None = None
    problem: str | None = None
    closed: bool = False
    since: str | None = None
    restrictions: tuple[str, ...] = ()


@dataclass(slots=True)
class Descriptors:
    """Every descriptor of a site. Not thread-safe: `Site` looks at it under its own lock.

    Attributes
    ----------
    settings
        Of the site.
    kept
        The store's last good descriptors; None: they are not kept.
    seen
        By collection.
    unsaved
        Collections whose descriptor the store has not taken yet.
    """

    settings: Settings
    kept: KeptDescriptors | None = None
    seen: dict[str, Seen] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    _saved_at: float = 0.0

    def __post_init__(self) -> None:
        """Begin with what the process that this one is a fork of has read, by the same settings; the next look finds what differs."""
        if _ahead is not None and _ahead.settings == self.settings:
            self.seen = dict(_ahead.seen)
            self.unsaved = set(_ahead.unsaved)

    def settle(self, settings: Settings) -> None:
        """Apply other settings: every descriptor is read again, for some stand below or beside each.

        Parameters
        ----------
        settings
            Of the site.
        """
        self.settings = settings
        self.seen = {name: replace(item, stamp=()) for name, item in self.seen.items()}

    def look(self) -> bool:
        """Reload what changed since the last look.

        Returns
        -------
        changed
            Whether anything did.
        """
        found = files(self.settings)
        changed = False
        for name in set(self.seen) - set(found):
            del self.seen[name]
            changed = True
        for name, path in found.items():
            before = self.seen.get(name)
            watched = before.files if before is not None else (path,)
            if path not in watched:
                watched = (path,)
            if before is not None and before.stamp == stamp(watched):
                continue
            self.seen[name] = self._read(name, path, before)
            changed = True
            self.unsaved.add(name)
            self._saved_at = 0.0
        if self.unsaved and self.kept is not None and time.monotonic() - self._saved_at > SAVE_AGAIN_SECONDS:
            self._saved_at = time.monotonic()
            self._save(self.kept)
        return changed

    def _save(self, kept: KeptDescriptors) -> None:
        """Give the store the descriptors that it lacks. A store that takes nothing keeps nobody from being served."""
        for name in sorted(self.unsaved):
            item = self.seen.get(name)
            if item is None or item.resource is None or item.problem is not None:
                self.unsaved.discard(name)
                continue
            found = _to_keep(item.resource, self.settings)
            if found is None:  # a file has changed since: the next look reads it again
                continue
            try:
                kept.save(name, found)
            except HvenError:
                return
            self.unsaved.discard(name)

    def _restore(self, name: str, path: Path) -> tuple[Resource, str, tuple[str, ...]] | None:
        """Read the last good descriptor that the store has, with the time of its first reading and its restrictions."""
        if self.kept is None:
            return None
        try:
            found = self.kept.get(name)
            if found is None:
                return None
            settings = replace(self.settings, defaults=found.defaults)
            resource = descriptor.load(path, settings, _contents(found, path, self.settings))
        except Exception:  # noqa: BLE001  (by other settings, or another version of Hven, it is none; our bug stops nobody)
            return None
        text = found.texts.get(path.name, "")
        return resource, found.read_at, _restrictions(text)

    def _read(self, name: str, path: Path, before: Seen | None) -> Seen:
        watched = (path, *(before.files[1:] if before is not None else ()))
        # before reading: a change while we read is seen at the next look
        taken = dict(zip(watched, stamp(watched), strict=True))
        try:
            resource = descriptor.load(path, self.settings)
        except HvenError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  (our bug over one descriptor must not stop all the others)
            problem = f"{path}: Hven failed to read it ({type(error).__name__}: {error}); please report this"
        else:
            watched = (path, *(file for file in parts(resource, path) if file != path))
            new = tuple(file for file in watched if file not in taken)
            taken.update(zip(new, stamp(new), strict=True))
            known = not new or as_read(resource)
            return Seen(
                name=name,
                stamp=tuple(taken[file] for file in watched) if known else (),
                files=watched,
                resource=resource,
                restrictions=_restrictions(_text(path) or ""),
            )
        last = before.resource if before is not None else None
        since = before.since if before is not None else None
        before_restrictions = before.restrictions if before is not None else ()
        if last is None and (restored := self._restore(name, path)) is not None:
            last, since, before_restrictions = restored
        text = _text(path)
        more = Counter(_restrictions(text or "")) - Counter(before_restrictions)
        return Seen(
            name=name,
            stamp=tuple(taken[file] for file in watched),
            files=watched,
            resource=last,
            problem=problem,
            closed=bool(more) or (text is None and last is None),
            since=since,
            restrictions=before_restrictions,
        )


_ahead: Descriptors | None = None


def read_ahead(settings: Settings, kept: KeptDescriptors | None = None) -> None:
    """Read all descriptors here, once for all processes that are forks of this one.

    Parameters
    ----------
    settings
        Of the site, as those processes load them.
    kept
        The store's last good descriptors.
    """
    global _ahead  # noqa: PLW0603  (forks have nothing else in common)
    found = Descriptors(settings, kept)
    found.look()
    found.kept = None  # each process has a store of its own
    _ahead = found


def files(settings: Settings) -> dict[str, Path]:
    """Find the descriptors of a site.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    files
        Collection -> ``collections/<name>/<name>.yaml``.
    """
    found: dict[str, Path] = {}
    try:
        directories = sorted(item for item in settings.collections.iterdir() if item.is_dir())
    except OSError:
        return found
    for directory in directories:
        for suffix in SUFFIXES:
            path = directory / f"{directory.name}{suffix}"
            if path.is_file():
                found[directory.name] = path
                break
    return found


def parts(resource: Resource, path: Path) -> list[Path]:
    """List the files that a descriptor was read from: itself, its includes, its functions.

    Parameters
    ----------
    resource
        As it was read.
    path
        Of the descriptor.

    Returns
    -------
    files
        Absolute if `path` is.
    """
    return [Path(os.path.normpath(path.parent / name)) for name in resource.hashes]


def as_read(resource: Resource) -> bool:
    """Return whether the files of a descriptor are still what was read.

    Parameters
    ----------
    resource
        As it was read.
    """
    try:
        return all(
            hashlib.sha256((resource.path.parent / name).read_bytes()).hexdigest() == found
            for name, found in resource.hashes.items()
        )
    except OSError:
        return False


def stamp(paths: tuple[Path, ...]) -> Stamp:
    """Describe what state files are in, without reading them.

    Parameters
    ----------
    paths
        Of files that may not be there.

    Returns
    -------
    stamp
        Equal as long as nothing changes.
    """
    found = []
    for path in paths:
        try:
            facts = path.stat()
            found.append((str(path), facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError:
            found.append((str(path), 0, -1, 0))
    return tuple(found)


def _text(path: Path) -> str | None:
    """Return the text of a descriptor; None: the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _restrictions(text: str) -> tuple[str, ...]:
    """List the words that restrict access in a descriptor that cannot be read: better closed by mistake than open."""
    return tuple(sorted(" ".join(found[0].split()) for found in _PRIVATE.finditer(text)))


def _to_keep(resource: Resource, settings: Settings) -> KeptDescriptor | None:
    """Read the files of a good descriptor once more, for the store; None: they are not what was read."""
    if not as_read(resource):
        return None
    home = resource.path.parent
    with suppress(OSError):
        return KeptDescriptor(
            files=dict(resource.hashes),
            texts={
                name: _decode((home / name).read_bytes())
                for name in resource.hashes
                if Path(name).suffix in PARSED_SUFFIXES
            },
            standards={
                path.name: _decode(path.read_bytes())
                for path in sorted((settings.directory / "standards").glob("*.yaml"))
            },
            defaults=dict(settings.defaults),
        )
    return None


def _contents(kept: KeptDescriptor, path: Path, settings: Settings) -> FileContents:
    """Return the files of a kept descriptor in the place of those that are on the disk now."""
    states = {
        Path(os.path.normpath(path.parent / name)): FileState(
            sha256, _encode(kept.texts[name]) if name in kept.texts else None
        )
        for name, sha256 in kept.files.items()
    }
    own = settings.directory / "standards"
    for name, text in kept.standards.items():
        data = _encode(text)
        states[own / name] = FileState(hashlib.sha256(data).hexdigest(), data)
    return FileContents(states)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
