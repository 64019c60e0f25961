"""The present descriptors of a site: each is read again when one of its files has changed.

While a descriptor has faults, its last good version, which the store keeps, stays in force. A publication can pin the
descriptor of its collection: it is then read from a directory that never changes, and not from ``collections/``.
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
from hven.descriptor import PARSED_SUFFIXES, DescriptorFileContent, DescriptorFileReader
from hven.model.errors import HvenError
from hven.site.store._descriptors import StoredDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.site.store import SnapshotRecord
    from hven.site.store._descriptors import LastGoodDescriptorStore

DESCRIPTOR_SUFFIXES = (".yaml", ".yml")
PINNED_DIRECTORY_KEY = "descriptor_directory"  # in the provenance of snapshots: directory, relative to the site's
SAVE_AGAIN_SECONDS = 10.0  # until a descriptor that the store did not accept is offered again
_RESTRICTION_PATTERN = re.compile(r"""^[\s{,-]*(access\s*:\s*["']?(private|members)|project\s*:)""", re.MULTILINE)

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorState:
    """One collection's descriptor at one time.

    Attributes
    ----------
    name
        Name of the collection.
    stamp
        Stamp of the files when they were read.
    files
        The descriptor, its includes and functions.
    resource
        The last good version, or None if there never was one.
    problem
        What is wrong with it now, or None.
    is_closed
        True if it cannot be read and may restrict what was public: it says ``private``, ``members`` or ``project``
        where the last good version did not, or there is no valid version.
    good_since
        When the last good version was first read, if it comes from the store; ISO, UTC.
    restrictions
        Lines of the last good version that say ``private``, ``members`` or ``project``.
    removed_resource
        The last good version of a descriptor that no longer exists: its access still applies to the published rows.
    """

    name: str
    stamp: Stamp
    files: tuple[Path, ...]
    resource: CollectionSpec | None = None
    problem: str | None = None
    is_closed: bool = False
    good_since: str | None = None
    restrictions: tuple[str, ...] = ()
    removed_resource: CollectionSpec | None = None

    @property
    def is_removed(self) -> bool:
        """Whether the descriptor no longer exists."""
        return not self.files


@dataclass(slots=True)
class DescriptorWatcher:
    """All descriptors of a site. Not thread-safe: `Site` uses it under its own lock.

    Attributes
    ----------
    settings
        Settings of the site.
    stored_descriptors
        The store's last good descriptors; None: they are not stored.
    states_by_collection
        The descriptors by collection.
    unsaved
        Collections whose descriptor the store has not accepted yet.
    """

    settings: Settings
    stored_descriptors: LastGoodDescriptorStore | None = None
    states_by_collection: dict[str, DescriptorState] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    _saved_at: float = 0.0

    def __post_init__(self) -> None:
        """Begin with the descriptors that the parent process has read before it forked, if the settings are the same.

        The next call of `reload_and_save_changed_descriptors` finds what differs.
        """
        if _PREREAD_DESCRIPTORS is not None and _PREREAD_DESCRIPTORS.settings == self.settings:
            self.states_by_collection = dict(_PREREAD_DESCRIPTORS.states_by_collection)
            self.unsaved = set(_PREREAD_DESCRIPTORS.unsaved)

    def apply_settings(self, settings: Settings) -> None:
        """Apply other settings: every descriptor is read again, because some settings are its defaults.

        Parameters
        ----------
        settings
            Settings of the site.
        """
        self.settings = settings
        self.states_by_collection = {
            name: replace(state, stamp=()) for name, state in self.states_by_collection.items() if not state.is_removed
        }

    def map_last_good_resources(self) -> dict[str, CollectionSpec]:
        """Return the last good version of each descriptor by collection.

        Returns
        -------
        resources
            Without collections that never had a valid one.
        """
        resources: dict[str, CollectionSpec] = {}
        for name, state in self.states_by_collection.items():
            if state.resource is not None:
                resources[name] = state.resource
        return resources

    def reload_and_save_changed_descriptors(
        self, pinned_directories: Mapping[str, str] | None = None, published_collections: Iterable[str] = ()
    ) -> bool:
        """Read the descriptors that have changed since the last call.

        Parameters
        ----------
        pinned_directories
            As `map_pinned_directories` returns them; None: no descriptor is pinned.
        published_collections
            Collections with published rows, whose last good version counts if they no longer have a descriptor.

        Returns
        -------
        changed
            Whether any has.
        """
        descriptor_files = find_descriptor_files(self.settings)
        for name, directory in (pinned_directories or {}).items():
            descriptor_files[name] = self.settings.directory / directory / f"{name}.yaml"
        changed = False
        for name in {*self.states_by_collection, *published_collections} - set(descriptor_files):
            old_state = self.states_by_collection.get(name)
            if name not in published_collections:
                del self.states_by_collection[name]
            elif old_state is None or not old_state.is_removed:
                self.states_by_collection[name] = self._keep_removed_descriptor(name, old_state)
            else:
                continue
            changed = True
        for name, path in descriptor_files.items():
            old_state = self.states_by_collection.get(name)
            watched_files: tuple[Path, ...] = (path,)
            if old_state is not None and path in old_state.files:
                watched_files = old_state.files
            if old_state is not None and old_state.stamp == compute_file_stamp(watched_files):
                continue
            self.states_by_collection[name] = self._read_descriptor(name, path, old_state)
            changed = True
            self.unsaved.add(name)
            self._saved_at = 0.0
        is_save_due = time.monotonic() - self._saved_at > SAVE_AGAIN_SECONDS
        if self.unsaved and self.stored_descriptors is not None and is_save_due:
            self._saved_at = time.monotonic()
            self._save_descriptors(self.stored_descriptors)
        return changed

    def _save_descriptors(self, stored_descriptors: LastGoodDescriptorStore) -> None:
        """Save the descriptors that the store lacks. The site is served even if the store does not accept them."""
        for name in sorted(self.unsaved):
            state = self.states_by_collection.get(name)
            if state is None or state.resource is None or state.problem is not None:
                self.unsaved.discard(name)
                continue
            stored_descriptor = _build_stored_descriptor(state.resource, self.settings)
            if stored_descriptor is None:  # a file has changed since: the next call reads it again
                continue
            try:
                stored_descriptors.save_descriptor(name, stored_descriptor)
            except HvenError:
                return
            self.unsaved.discard(name)

    def _load_last_good_descriptor(
        self, collection: str, path: Path
    ) -> tuple[CollectionSpec, str, tuple[str, ...]] | None:
        """Load the last good descriptor from the store, with the time of its first reading and its restrictions."""
        if self.stored_descriptors is None:
            return None
        try:
            stored_descriptor = self.stored_descriptors.load_descriptor(collection)
            if stored_descriptor is None:
                return None
            settings = replace(self.settings, defaults=stored_descriptor.defaults)
            file_contents = _build_stored_file_contents(stored_descriptor, path, self.settings)
            resource = descriptor.load_descriptor(path, settings, file_contents)
        # with other settings or another version of Hven it may not be valid; a bug of ours must not stop the site
        except Exception:  # noqa: BLE001
            return None
        text = stored_descriptor.texts.get(path.name, "")
        return resource, stored_descriptor.read_at, _find_restricting_words(text)

    def _keep_removed_descriptor(self, collection: str, old_state: DescriptorState | None) -> DescriptorState:
        """Return the state of a collection without a descriptor: a folder that is moved must not open private rows."""
        resource = None if old_state is None else old_state.resource
        if resource is None:
            path = self.settings.locate_descriptor(collection)
            resource = (self._load_last_good_descriptor(collection, path) or (None,))[0]
        is_closed = old_state is not None and old_state.is_closed
        return DescriptorState(name=collection, stamp=(), files=(), is_closed=is_closed, removed_resource=resource)

    def _read_descriptor(self, collection: str, path: Path, old_state: DescriptorState | None) -> DescriptorState:
        old_parts = () if old_state is None else old_state.files[1:]
        watched_files = (path, *old_parts)
        # the stamps are taken before reading: the next call notices a change in the meantime
        stamps_by_file = dict(zip(watched_files, compute_file_stamp(watched_files), strict=True))
        try:
            resource = descriptor.load_descriptor(path, self.settings)
        except HvenError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  (our bug over one descriptor must not stop all the others)
            problem = f"{path}: Hven failed to read it ({type(error).__name__}: {error}); report this as a bug in Hven"
        else:
            watched_files = (path, *(file for file in list_files_of_descriptor(resource, path) if file != path))
            new_files = tuple(file for file in watched_files if file not in stamps_by_file)
            stamps_by_file.update(zip(new_files, compute_file_stamp(new_files), strict=True))
            stamp: Stamp = ()
            if not new_files or is_descriptor_unchanged(resource):
                stamp = tuple(stamps_by_file[file] for file in watched_files)
            restrictions = _find_restricting_words(_read_text(path) or "")
            return DescriptorState(
                name=collection,
                stamp=stamp,
                files=watched_files,
                resource=resource,
                restrictions=restrictions,
            )
        last_resource, good_since = None, None
        last_restrictions: tuple[str, ...] = ()
        if old_state is not None:
            last_resource, good_since = old_state.resource, old_state.good_since
            last_restrictions = old_state.restrictions
        if last_resource is None:
            last_good = self._load_last_good_descriptor(collection, path)
            if last_good is not None:
                last_resource, good_since, last_restrictions = last_good
        text = _read_text(path)
        new_restrictions = Counter(_find_restricting_words(text or "")) - Counter(last_restrictions)
        is_unreadable = text is None and last_resource is None
        return DescriptorState(
            name=collection,
            stamp=tuple(stamps_by_file[file] for file in watched_files),
            files=watched_files,
            resource=last_resource,
            problem=problem,
            is_closed=bool(new_restrictions) or is_unreadable,
            good_since=good_since,
            restrictions=last_restrictions,
        )


_PREREAD_DESCRIPTORS: DescriptorWatcher | None = None


def preload_descriptors(settings: Settings, stored_descriptors: LastGoodDescriptorStore | None = None) -> None:
    """Read all descriptors once for all processes that will be forked from this one.

    Parameters
    ----------
    settings
        Settings of the site, as those processes load them.
    stored_descriptors
        The store's last good descriptors.
    """
    global _PREREAD_DESCRIPTORS  # noqa: PLW0603  (forks have nothing else in common)
    watcher = DescriptorWatcher(settings, stored_descriptors)
    watcher.reload_and_save_changed_descriptors()
    watcher.stored_descriptors = None  # each process opens its own store
    _PREREAD_DESCRIPTORS = watcher


def find_descriptor_files(settings: Settings) -> dict[str, Path]:
    """Find the descriptors of a site.

    Parameters
    ----------
    settings
        Settings of the site.

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


def map_pinned_directories(records: Iterable[SnapshotRecord]) -> dict[str, str]:
    """Map the collections whose publication pins a descriptor to the directories of their descriptors.

    Parameters
    ----------
    records
        Records of published snapshots, all read together.

    Returns
    -------
    directories
        Relative to the directory of the site. If the snapshots of a collection differ, the newest one decides.
    """
    directories: dict[str, str] = {}
    for record in sorted(records, key=lambda record: record.created):
        if PINNED_DIRECTORY_KEY in record.provenance:
            directories[record.collection] = record.provenance[PINNED_DIRECTORY_KEY]
    return directories


def list_files_of_descriptor(resource: CollectionSpec, path: Path) -> list[Path]:
    """List the files from which a descriptor was read: itself, its includes, its functions.

    Parameters
    ----------
    resource
        The descriptor as it was read.
    path
        Path of the descriptor.

    Returns
    -------
    files
        Absolute if `path` is.
    """
    return [Path(os.path.normpath(path.parent / name)) for name in resource.hashes]


def is_descriptor_unchanged(resource: CollectionSpec) -> bool:
    """Return whether the files of a descriptor are still as they were read.

    Parameters
    ----------
    resource
        The descriptor as it was read.
    """
    directory = resource.path.parent
    try:
        for name, expected_digest in resource.hashes.items():
            if hashlib.sha256((directory / name).read_bytes()).hexdigest() != expected_digest:
                return False
    except OSError:
        return False
    return True


def compute_file_stamp(paths: tuple[Path, ...]) -> Stamp:
    """Return a stamp of the present state of files, without reading them.

    Parameters
    ----------
    paths
        Paths of files, which need not exist.

    Returns
    -------
    stamp
        Equal as long as no file changes.
    """
    file_stamps = []
    for path in paths:
        try:
            file_stat = path.stat()
            file_stamps.append((str(path), file_stat.st_mtime_ns, file_stat.st_size, file_stat.st_ino))
        except OSError:
            file_stamps.append((str(path), 0, -1, 0))
    return tuple(file_stamps)


def _read_text(path: Path) -> str | None:
    """Return the text of a descriptor; None: the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _find_restricting_words(text: str) -> tuple[str, ...]:
    """List the words that restrict access in a descriptor that cannot be read: better closed by mistake than open."""
    matches = _RESTRICTION_PATTERN.finditer(text)
    return tuple(sorted(" ".join(match[0].split()) for match in matches))


def _build_stored_descriptor(resource: CollectionSpec, settings: Settings) -> StoredDescriptor | None:
    """Read the files of a valid descriptor again, for the store; None: they have changed since."""
    if not is_descriptor_unchanged(resource):
        return None
    directory = resource.path.parent
    with suppress(OSError):
        files = dict(resource.hashes)
        parsed_names = [name for name in resource.hashes if Path(name).suffix in PARSED_SUFFIXES]
        texts = {name: _decode_text((directory / name).read_bytes()) for name in parsed_names}
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


def _build_stored_file_contents(
    stored_descriptor: StoredDescriptor, path: Path, settings: Settings
) -> DescriptorFileReader:
    """Return the files of a stored descriptor, which replace those that are on the disk now."""
    states: dict[Path, DescriptorFileContent] = {}
    for name, sha256 in stored_descriptor.files.items():
        data = None
        if name in stored_descriptor.texts:
            data = _encode_text(stored_descriptor.texts[name])
        states[Path(os.path.normpath(path.parent / name))] = DescriptorFileContent(sha256, data)
    standards_directory = settings.directory / "standards"
    for name, text in stored_descriptor.standards.items():
        data = _encode_text(text)
        states[standards_directory / name] = DescriptorFileContent(hashlib.sha256(data).hexdigest(), data)
    return DescriptorFileReader(states)


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
