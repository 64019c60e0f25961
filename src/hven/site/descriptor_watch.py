"""The descriptors of a site as they are now: each is read again when one of its files changed.

Faults keep the last good one, which the store has.
"""

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
from hven.site.store._descriptors import StoredDescriptor

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.model.settings import Settings
    from hven.site.store._descriptors import DescriptorStore

DESCRIPTOR_SUFFIXES = (".yaml", ".yml")
SAVE_AGAIN_SECONDS = 10.0  # until a store that did not take a descriptor is asked again
_RESTRICTION_PATTERN = re.compile(r"""^[\s{,-]*(access\s*:\s*["']?(private|members)|project\s*:)""", re.MULTILINE)

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorState:
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
    is_closed
        True if it cannot be read and nobody knows what was public: it says ``private``, ``members`` or ``project``
        where the last good one did not, or there is no good one.
    good_since
        When the last good one was read first, if the store had it; ISO, UTC.
    restrictions
        Lines of the last good one that say ``private``, ``members`` or ``project``.
    """

    name: str
    stamp: Stamp
    files: tuple[Path, ...]
    resource: Resource | None = None
    problem: str | None = None
    is_closed: bool = False
    good_since: str | None = None
    restrictions: tuple[str, ...] = ()


@dataclass(slots=True)
class DescriptorWatcher:
    """Every descriptor of a site. Not thread-safe: `Site` looks at it under its own lock.

    Attributes
    ----------
    settings
        Of the site.
    stored_descriptors
        The store's last good descriptors; None: they are not kept.
    states_by_collection
        By collection.
    unsaved
        Collections whose descriptor the store has not taken yet.
    """

    settings: Settings
    stored_descriptors: DescriptorStore | None = None
    states_by_collection: dict[str, DescriptorState] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    _saved_at: float = 0.0

    def __post_init__(self) -> None:
        """Begin with what the process that this one is a fork of has read, by the same settings.

        The next look finds what differs.
        """
        if _PREREAD_DESCRIPTORS is not None and _PREREAD_DESCRIPTORS.settings == self.settings:
            self.states_by_collection = dict(_PREREAD_DESCRIPTORS.states_by_collection)
            self.unsaved = set(_PREREAD_DESCRIPTORS.unsaved)

    def apply_settings(self, settings: Settings) -> None:
        """Apply other settings: every descriptor is read again, for some stand below or beside each.

        Parameters
        ----------
        settings
            Of the site.
        """
        self.settings = settings
        self.states_by_collection = {name: replace(item, stamp=()) for name, item in self.states_by_collection.items()}

    def reload_changed(self) -> bool:
        """Reload what changed since the last look.

        Returns
        -------
        changed
            Whether anything did.
        """
        descriptor_files = find_descriptor_files(self.settings)
        changed = False
        for name in set(self.states_by_collection) - set(descriptor_files):
            del self.states_by_collection[name]
            changed = True
        for name, path in descriptor_files.items():
            old_state = self.states_by_collection.get(name)
            if old_state is not None:
                watched_files = old_state.files
            else:
                watched_files = (path,)
            if path not in watched_files:
                watched_files = (path,)
            if old_state is not None and old_state.stamp == compute_stamp(watched_files):
                continue
            self.states_by_collection[name] = self._read_descriptor(name, path, old_state)
            changed = True
            self.unsaved.add(name)
            self._saved_at = 0.0
        if (
            self.unsaved
            and self.stored_descriptors is not None
            and time.monotonic() - self._saved_at > SAVE_AGAIN_SECONDS
        ):
            self._saved_at = time.monotonic()
            self._save_descriptors(self.stored_descriptors)
        return changed

    def _save_descriptors(self, stored_descriptors: DescriptorStore) -> None:
        """Give the store the descriptors that it lacks. A store that takes nothing keeps nobody from being served."""
        for name in sorted(self.unsaved):
            item = self.states_by_collection.get(name)
            if item is None or item.resource is None or item.problem is not None:
                self.unsaved.discard(name)
                continue
            stored_descriptor = _build_stored_descriptor(item.resource, self.settings)
            if stored_descriptor is None:  # a file has changed since: the next look reads it again
                continue
            try:
                stored_descriptors.save_descriptor(name, stored_descriptor)
            except HvenError:
                return
            self.unsaved.discard(name)

    def _load_last_good(self, collection: str, path: Path) -> tuple[Resource, str, tuple[str, ...]] | None:
        """Read the last good descriptor that the store has, with the time of its first reading and its restrictions."""
        if self.stored_descriptors is None:
            return None
        try:
            stored_descriptor = self.stored_descriptors.load_descriptor(collection)
            if stored_descriptor is None:
                return None
            settings = replace(self.settings, defaults=stored_descriptor.defaults)
            resource = descriptor.load_descriptor(
                path, settings, _restore_file_contents(stored_descriptor, path, self.settings)
            )
        # by other settings, or another version of Hven, it is none; our bug stops nobody
        except Exception:  # noqa: BLE001
            return None
        text = stored_descriptor.texts.get(path.name, "")
        return resource, stored_descriptor.read_at, _find_restrictions(text)

    def _read_descriptor(self, collection: str, path: Path, old_state: DescriptorState | None) -> DescriptorState:
        watched_files = (path, *(old_state.files[1:] if old_state is not None else ()))
        # before reading: a change while we read is seen at the next look
        stamps_by_file = dict(zip(watched_files, compute_stamp(watched_files), strict=True))
        try:
            resource = descriptor.load_descriptor(path, self.settings)
        except HvenError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  (our bug over one descriptor must not stop all the others)
            problem = f"{path}: Hven failed to read it ({type(error).__name__}: {error}); please report this"
        else:
            watched_files = (path, *(file for file in list_descriptor_parts(resource, path) if file != path))
            new_files = tuple(file for file in watched_files if file not in stamps_by_file)
            stamps_by_file.update(zip(new_files, compute_stamp(new_files), strict=True))
            unchanged = not new_files or is_unchanged(resource)
            stamp = tuple(stamps_by_file[file] for file in watched_files) if unchanged else ()
            restrictions = _find_restrictions(_read_text(path) or "")
            return DescriptorState(
                name=collection,
                stamp=stamp,
                files=watched_files,
                resource=resource,
                restrictions=restrictions,
            )
        if old_state is not None:
            last_resource = old_state.resource
        else:
            last_resource = None
        if old_state is not None:
            good_since = old_state.good_since
        else:
            good_since = None
        if old_state is not None:
            before_restrictions = old_state.restrictions
        else:
            before_restrictions = ()
        if last_resource is None and (restored := self._load_last_good(collection, path)) is not None:
            last_resource, good_since, before_restrictions = restored
        text = _read_text(path)
        new_restrictions = Counter(_find_restrictions(text or "")) - Counter(before_restrictions)
        is_unreadable = text is None and last_resource is None
        is_closed = bool(new_restrictions) or is_unreadable
        return DescriptorState(
            name=collection,
            stamp=tuple(stamps_by_file[file] for file in watched_files),
            files=watched_files,
            resource=last_resource,
            problem=problem,
            is_closed=is_closed,
            good_since=good_since,
            restrictions=before_restrictions,
        )


_PREREAD_DESCRIPTORS: DescriptorWatcher | None = None


def preload_descriptors(settings: Settings, stored_descriptors: DescriptorStore | None = None) -> None:
    """Read all descriptors here, once for all processes that are forks of this one.

    Parameters
    ----------
    settings
        Of the site, as those processes load them.
    stored_descriptors
        The store's last good descriptors.
    """
    global _PREREAD_DESCRIPTORS  # noqa: PLW0603  (forks have nothing else in common)
    watcher = DescriptorWatcher(settings, stored_descriptors)
    watcher.reload_changed()
    watcher.stored_descriptors = None  # each process has a store of its own
    _PREREAD_DESCRIPTORS = watcher


def find_descriptor_files(settings: Settings) -> dict[str, Path]:
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
    descriptor_files: dict[str, Path] = {}
    try:
        directories = sorted(item for item in settings.collections_directory.iterdir() if item.is_dir())
    except OSError:
        return descriptor_files
    for directory in directories:
        for suffix in DESCRIPTOR_SUFFIXES:
            path = directory / f"{directory.name}{suffix}"
            if path.is_file():
                descriptor_files[directory.name] = path
                break
    return descriptor_files


def list_descriptor_parts(resource: Resource, path: Path) -> list[Path]:
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


def is_unchanged(resource: Resource) -> bool:
    """Return whether the files of a descriptor are still what was read.

    Parameters
    ----------
    resource
        As it was read.
    """
    try:
        return all(
            hashlib.sha256((resource.path.parent / name).read_bytes()).hexdigest() == expected_digest
            for name, expected_digest in resource.hashes.items()
        )
    except OSError:
        return False


def compute_stamp(paths: tuple[Path, ...]) -> Stamp:
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
    file_stamps = []
    for path in paths:
        try:
            facts = path.stat()
            file_stamps.append((str(path), facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError:
            file_stamps.append((str(path), 0, -1, 0))
    return tuple(file_stamps)


def _read_text(path: Path) -> str | None:
    """Return the text of a descriptor; None: the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _find_restrictions(text: str) -> tuple[str, ...]:
    """List the words that restrict access in a descriptor that cannot be read: better closed by mistake than open."""
    return tuple(sorted(" ".join(match[0].split()) for match in _RESTRICTION_PATTERN.finditer(text)))


def _build_stored_descriptor(resource: Resource, settings: Settings) -> StoredDescriptor | None:
    """Read the files of a good descriptor once more, for the store; None: they are not what was read."""
    if not is_unchanged(resource):
        return None
    home = resource.path.parent
    with suppress(OSError):
        files = dict(resource.hashes)
        texts = {
            name: _decode_text((home / name).read_bytes())
            for name in resource.hashes
            if Path(name).suffix in PARSED_SUFFIXES
        }
        standards = {
            path.name: _decode_text(path.read_bytes())
            for path in sorted((settings.directory / "standards").glob("*.yaml"))
        }
        return StoredDescriptor(
            files=files,
            texts=texts,
            standards=standards,
            defaults=dict(settings.defaults),
        )
    return None


def _restore_file_contents(stored_descriptor: StoredDescriptor, path: Path, settings: Settings) -> FileContents:
    """Return the files of a kept descriptor in the place of those that are on the disk now."""
    states = {
        Path(os.path.normpath(path.parent / name)): FileState(
            sha256, _encode_text(stored_descriptor.texts[name]) if name in stored_descriptor.texts else None
        )
        for name, sha256 in stored_descriptor.files.items()
    }
    standards_directory = settings.directory / "standards"
    for name, text in stored_descriptor.standards.items():
        data = _encode_text(text)
        states[standards_directory / name] = FileState(hashlib.sha256(data).hexdigest(), data)
    return FileContents(states)


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
