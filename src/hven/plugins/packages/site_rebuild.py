"""Make a site again on an empty machine, from its Git repository and a backup, and list what neither of them has."""

from __future__ import annotations

import errno
import filecmp
import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError, HvenError, SourceError
from hven.model.settings import SECRETS_FILE, SETTINGS_FILE, load_settings
from hven.plugins.backups.restoration import restore_archive
from hven.plugins.packages.handover_facts import PUSH_KIND, is_secret_set, list_secrets, run_git
from hven.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.resource import CollectionSpec

CLONE_TIMEOUT_SECONDS = 3600.0
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "https_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class LostItem:
    """Something that neither the repository nor the backup has.

    Attributes
    ----------
    kind
        ``rows``, ``pushed rows``, ``accounts``, ``DOIs``, ``secrets``, ``files``, ``state`` or ``not committed``.
    name
        What it is.
    remedy
        Where it comes from.
    """

    kind: str
    name: str
    remedy: str


@dataclass(kw_only=True)
class RebuildReport:
    """What a rebuild did.

    Attributes
    ----------
    collections
        Collection -> its number of rows.
    lost
        What neither the repository nor the backup has.
    replaced_files
        Files of which the repository and the backup have different versions; Hven used the one from the repository.
    notes
        What the operator has to check.
    """

    collections: dict[str, int] = field(default_factory=dict)
    lost: list[LostItem] = field(default_factory=list)
    replaced_files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def restore_site_from_git(
    directory: Path, repository: str, backup: Path | None = None, *, must_ingest: bool = False
) -> RebuildReport:
    """Make a site again.

    Parameters
    ----------
    directory
        A directory that does not exist, or contains nothing but ``secrets.toml``.
    repository
        Path or address of the Git repository with the site's directory.
    backup
        A file of `hven backup`, with or without rows; None: the system state begins empty.
    must_ingest
        Ingest the collections whose rows are not in the backup.

    Raises
    ------
    ConflictError
        The directory is not empty.
    SourceError
        The repository cannot be cloned, or is not that of a site; or the backup cannot be restored.
    """
    if directory.exists() and any(item.name != SECRETS_FILE for item in directory.iterdir()):
        raise ConflictError(
            f"{directory} is not empty",
            remedy=f"specify a directory that does not exist, or that contains nothing but {SECRETS_FILE}",
        )
    report = RebuildReport()
    is_new_directory = not directory.exists()
    # inside the directory: the user may have no right to write above it; but a backup needs an empty directory
    if backup is None:
        parent = directory.absolute()
    else:
        parent = directory.absolute().parent
    clone = parent / f".{directory.absolute().name}.{secrets.token_hex(3)}.clone"
    try:
        tracked_names = _fetch_repository(repository, clone)
        if backup is not None:
            restored_facts = restore_archive(backup, directory)
            report.notes += restored_facts["yours"]
        directory.mkdir(parents=True, exist_ok=True)
        _move_repository(clone, tracked_names, directory, report)
        if backup is not None:
            report.lost += _list_uncommitted_files(directory, report)
    finally:
        shutil.rmtree(clone, ignore_errors=True)
        if is_new_directory:
            with suppress(OSError):  # it has the files of the site
                directory.rmdir()
    with Site(load_settings(directory)) as site:
        if must_ingest:
            _ingest_missing_rows(site, report)
        site.refresh_published_state()
        report.lost += list_lost_items(site, has_backup=backup is not None)
        for record in site.published_records.values():
            report.collections[record.collection] = report.collections.get(record.collection, 0) + record.snapshot.rows
    return report


def _fetch_repository(repository: str, clone: Path) -> list[str]:
    """Clone a repository; return the names of its files."""
    environment = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    arguments = ["git", "-c", "protocol.ext.allow=never", "clone", "--quiet", "--", repository, str(clone)]
    try:
        completed = subprocess.run(  # noqa: S603  (the repository is behind --)
            arguments,
            env={**environment, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CLONE_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(
            f"git can't clone {repository}: {error}",
            remedy="if Git isn't installed, install it; if the download takes too long, use a copy on this machine",
        ) from error
    if completed.returncode:
        reason = completed.stderr.decode("utf-8", "replace").strip().splitlines()
        message = f"git can't clone {repository}: {reason[-1] if reason else completed.returncode}"
        raise SourceError(message, remedy="check the path or address, and your rights to it")
    if not (clone / SETTINGS_FILE).is_file():
        raise SourceError(
            f"{repository} has no {SETTINGS_FILE}, so it is not the repository of a site",
            remedy=f"pass a repository to --from that has {SETTINGS_FILE} in its top folder",
        )
    names = run_git(clone, "ls-files", "-z")
    if names is None:
        raise SourceError(
            f"git can't list the files of {repository}",
            remedy="clone it yourself, check what `git ls-files` prints there, and pass your clone's path to --from",
        )
    return [name for name in names.split("\0") if name]


def _move_repository(clone: Path, tracked_names: Sequence[str], directory: Path, report: RebuildReport) -> None:
    """Move the files of the repository to the site."""
    for name in tracked_names:
        if name == SECRETS_FILE:
            report.notes.append(f"{SECRETS_FILE} is in the repository: remove it there, and change all secrets")
            if (directory / name).exists():
                continue
        place = directory / name
        if place.is_file() and not place.is_symlink():
            if not filecmp.cmp(clone / name, place, shallow=False):
                report.replaced_files.append(name)
            place.unlink()
        place.parent.mkdir(parents=True, exist_ok=True)
        _move_file(clone / name, place)
    shutil.move(clone / ".git", directory / ".git")


def _move_file(source: Path, place: Path) -> None:
    """Move a file, or a link as it is, also to another file system."""
    try:
        os.rename(source, place)  # noqa: PTH104  (a link is moved as it is)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        place.unlink(missing_ok=True)  # a copy would write through a link
        shutil.copy2(source, place, follow_symlinks=False)


def _list_uncommitted_files(directory: Path, report: RebuildReport) -> list[LostItem]:
    """List what only the backup had."""
    names = run_git(directory, "ls-files", "-z", "--others", "--", "collections")
    if names is None:
        report.notes.append("git can't list what only the backup had: run `git status` in the directory of the site")
        return []
    return [
        LostItem(kind="not committed", name=name, remedy="it comes from the backup; commit it to the repository")
        for name in names.split("\0")
        if name.endswith((".yaml", ".py"))
    ]


def _ingest_missing_rows(site: Site, report: RebuildReport) -> None:
    site.refresh_published_state()
    published_names = {record.collection for record in site.published_records.values()}
    for name in site.settings.list_collections():
        if name in published_names:
            continue
        try:
            ingest_collection(site, name)
        except HvenError as error:
            report.notes.append(f"{name} could not be ingested: {' '.join(str(error).split())}")


def list_lost_items(site: Site, *, has_backup: bool) -> list[LostItem]:
    """List what a rebuilt site lacks.

    Parameters
    ----------
    site
        The site.
    has_backup
        Whether its system state comes from a backup.
    """
    lost: list[LostItem] = []
    for name in site.settings.list_collections():
        descriptor_state = site.read_descriptor(name)
        if descriptor_state is None or descriptor_state.resource is None:
            lost.append(LostItem(kind="rows", name=name, remedy=f"correct the descriptor: run `hven check {name}`"))
        else:
            lost += _list_lost_rows(site, descriptor_state.resource)
            lost += _list_lost_files(descriptor_state.resource)
    for name, places in list_secrets(site).items():
        if not is_secret_set(site.settings.directory, name):
            remedy = f"ask the former operator; {', '.join(places)} needs it in {SECRETS_FILE}"
            lost.append(LostItem(kind="secrets", name=name, remedy=remedy))
    if not site.store.users.has_account():
        remedy = "create them with `hven user add NAME`, and give each person the new token"
        lost.append(LostItem(kind="accounts", name="all accounts and their tokens", remedy=remedy))
    if not has_backup:
        remedy = "find the DOIs of this site at DataCite, and record each one with `hven doi NAME --is DOI`"
        lost.append(LostItem(kind="DOIs", name="which DOIs the site has minted", remedy=remedy))
        remedy = "only a backup made with `hven backup` contains them"
        name = "releases, history, jobs, users' tables, comments, invitations, usage counts"
        lost.append(LostItem(kind="state", name=name, remedy=remedy))
    return lost


def _list_lost_rows(site: Site, resource: CollectionSpec) -> Iterator[LostItem]:
    for spec in resource.tables:
        name = spec.table.qualified_name
        record = site.published_records.get(name)
        is_pushed = any(source.kind == PUSH_KIND for source in spec.sources)
        if is_pushed and (record is None or not record.snapshot.rows):  # an ingest publishes it without rows
            remedy = "only the programs that pushed these rows have them: let these programs push the rows again"
            yield LostItem(kind="pushed rows", name=name, remedy=remedy)
        elif spec.sources and record is None:
            yield LostItem(kind="rows", name=name, remedy=f"run `hven ingest {resource.name}`")


def _list_lost_files(resource: CollectionSpec) -> Iterator[LostItem]:
    for spec in resource.tables:
        for root in spec.table.roots:
            place = resource.path.parent / Path(root.address).expanduser()
            if root.scheme is None and root.address and not place.is_dir():
                remedy = f"copy or mount the directory; it must be in `roots` of {SETTINGS_FILE}"
                yield LostItem(kind="files", name=f"{resource.name}: {root.address}", remedy=remedy)
