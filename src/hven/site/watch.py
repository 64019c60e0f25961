"""The descriptors of a site as they are now: each is read again when one of its files changed; faults keep the last good one."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hven import descriptor
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.model.settings import Settings

SUFFIXES = (".yaml", ".yml")
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
        True if it cannot be read and nobody knows what was public: it says ``private``, ``members`` or ``project`` somewhere.
    """

    name: str
    stamp: Stamp
    files: tuple[Path, ...]
    resource: Resource | None = None
    problem: str | None = None
    closed: bool = False


@dataclass(slots=True)
class Descriptors:
    """Every descriptor of a site. Not thread-safe: `Site` looks at it under its own lock.

    Attributes
    ----------
    settings
        Of the site.
    seen
        By collection.
    """

    settings: Settings
    seen: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with what the process that this one is a fork of has read, by the same settings; the next look finds what differs."""
        if _ahead is not None and _ahead.settings == self.settings:
            self.seen = dict(_ahead.seen)

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
        return changed

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
            )
        last = before.resource if before is not None else None
        return Seen(
            name=name,
            stamp=tuple(taken[file] for file in watched),
            files=watched,
            resource=last,
            problem=problem,
            closed=last is None and _closed(path),
        )


_ahead: Descriptors | None = None


def read_ahead(settings: Settings) -> None:
    """Read all descriptors here, once for all processes that are forks of this one.

    Parameters
    ----------
    settings
        Of the site, as those processes load them.
    """
    global _ahead  # noqa: PLW0603  (forks have nothing else in common)
    found = Descriptors(settings)
    found.look()
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


def _closed(path: Path) -> bool:
    """Look for such words in a descriptor that cannot be read: better closed by mistake than open."""
    try:
        return bool(_PRIVATE.search(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return True
