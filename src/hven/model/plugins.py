"""Plug-ins: a name -> the one file that implements it; built-ins by module name, outside ones by entry-point group."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import pkgutil
import re
import traceback
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from hven.model._pandas_imports import is_installed, show_pandas
from hven.model.errors import HvenError, UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("hven")
T = TypeVar("T")
GROUPS: dict[str, tuple[str, ...]] = {  # name -> where those of our own stand
    "sources": ("hven.sources",),
    "engines": ("hven.engines",),
    "formats": ("hven.formats",),
    "media": ("hven.formats.media",),
    "functions": (),
    "protocols": ("hven.services.faces", "hven.portal.faces"),
    "jobs": ("hven.jobs", "hven.services.tasks"),
    "identity": ("hven.site.auth",),
    "panes": (),
    "resolvers": ("hven.query.resolver",),
}
BESIDE = {  # group -> what else is public where its plugins stand
    "engines": ("gather",),
    "formats": ("hats_catalogues", "hats_layout", "media", "pictures"),
    "sources": (
        "beside",
        "cards",
        "enriched",
        "filekinds",
        "groups",
        "programs",
        "readers",
        "remote",
        "stores",
        "whole_files",
    ),
    "jobs": (
        "declared",
        "desk",
        "forks",
        "hang_detector",
        "health",
        "keeper",
        "metrics",
        "operations",
        "planning",
        "scheduler",
        "verifying",
    ),
    "identity": ("permit", "session"),
}
RECORDS = {  # group -> what a module of it is asked for, and the class of that
    "sources": ("Options", "type"), "formats": ("FORMAT", "Format"), "media": ("MEDIUM", "Medium"), "functions": ("FUNCTION", "Entry"), "protocols": ("FACE", "Face"), "jobs": ("JOB", "Type"),
    "panes": ("PANE", "Pane"), "resolvers": ("PROVIDER", "Provider"),
}  # fmt: skip
HOME = Path(__file__).parents[2]


@cache
def names(group: str) -> tuple[str, ...]:
    """List all names in a group of plug-ins, built-ins first; nothing is imported.

    Parameters
    ----------
    group
        A key of `GROUPS`: ``sources``, ``formats`` ...

    Returns
    -------
    names
        Built-ins by the alphabet, then those of entry points.

    Raises
    ------
    UserError
        An outside plugin has the name of a built-in one, or two have the same.
    """
    found = sorted(_own(group))
    for entry in importlib.metadata.entry_points(group=f"hven.{group}"):
        if entry.name in found:
            message = f"two plugins want to be {entry.name!r} in hven.{group}: {entry.value} and another"
            raise UserError(message, remedy="uninstall one of them")
        found.append(entry.name)
    return tuple(found)


def installed(group: str) -> tuple[str, ...]:
    """List those of a group that are not our own.

    Parameters
    ----------
    group
        A key of `GROUPS`.

    Returns
    -------
    names
        Of entry points.
    """
    return tuple(name for name in names(group) if name not in _own(group))


@cache
def _own(group: str) -> dict[str, str]:
    """Return the modules of our own by their names."""
    return {
        item.name: f"{room}.{item.name}"
        for room in GROUPS[group]
        for item in pkgutil.iter_modules([str(HOME.joinpath(*room.split(".")))])
        if not item.name.startswith("_") and item.name not in BESIDE.get(group, ())
    }


@cache
def load(group: str, name: str) -> ModuleType:
    """Import the module that implements `name`.

    Parameters
    ----------
    group
        A key of `GROUPS`.
    name
        Of a module of ours, or of an entry point.

    Returns
    -------
    module
        Has what `RECORDS` asks of its group.

    Raises
    ------
    UserError
        The name is not known (the message lists those that are), needs what is not installed, or is a plugin with a fault.
    """
    known = names(group)
    if name not in known:
        message = f"no {group.removesuffix('s')} is called {name!r}"
        raise UserError(
            message,
            remedy=f"{nearest(name, known)} known: {', '.join(known) or 'none; is its package installed?'}".lstrip(),
        )
    for entry in importlib.metadata.entry_points(group=f"hven.{group}", name=name):
        return _outside(entry)
    return imported(_own(group)[name], repr(name))


def records(group: str) -> dict[str, Any]:
    """Load all plug-ins of a group and return their records.

    Parameters
    ----------
    group
        A key of `RECORDS`.

    Returns
    -------
    records
        `Format`, `Face`, `Type` ... by the name of the plug-in.
    """
    return {name: vars(load(group, name))[RECORDS[group][0]] for name in names(group)}


def imported(module: str, what: str) -> ModuleType:
    """Import a module of ours.

    Parameters
    ----------
    module
        Dotted name.
    what
        Who needs it, for the message.

    Returns
    -------
    module
        Imported.

    Raises
    ------
    UserError
        `what` needs another one, which is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("hven"):
            need(what, error.name)
        raise


def need(what: str, *modules: str, error: type[HvenError] = UserError) -> None:
    """Check that modules are installed which something needs; nothing is imported.

    Parameters
    ----------
    what
        Who needs them, for the message.
    modules
        Top-level names.
    error
        Class of the error to raise.

    Raises
    ------
    HvenError
        One is not installed; the remedy says how it is.
    """
    missing = [name for name in modules if not is_installed(name)]
    if missing:
        message = f"{what} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise error(message, remedy=remedy(missing[0]))


def remedy(module: str) -> str:
    """Phrase how a module is installed: with an extra of ours, if it belongs to one.

    Parameters
    ----------
    module
        Top-level name.

    Returns
    -------
    command
        ``pip install 'hven[postgres]'``.
    """
    asked = re.compile(rf"{module.replace('_', '-')}\b.*extra == ['\"]([\w-]+)")
    extras = (found[1] for one in importlib.metadata.requires("hven") or () if (found := asked.match(one)))
    return next((f"pip install 'hven[{extra}]'" for extra in extras), f"install {module}")


def faults() -> Iterator[UserError]:
    """Collect what is wrong with plug-ins that were installed; all are loaded.

    Yields
    ------
    error
        With the name of the plug-in, and its file and line where it could not be loaded.
    """
    for group in sorted(importlib.metadata.entry_points().groups):
        room = group.removeprefix("hven.")
        if room == group:
            continue
        if room not in GROUPS:
            yield UserError(
                f"no group of plugins is called {group}",
                remedy=f"{nearest(room, GROUPS)} known: {', '.join(GROUPS)}".lstrip(),
            )
            continue
        try:
            known = installed(room)
        except UserError as error:
            yield error
            continue
        for name in known:
            try:
                load(room, name)
            except UserError as error:
                yield error


def blamed(error: BaseException) -> str:
    """Locate an unforeseen error: in a plug-in that was installed, with its line, or in Hven itself.

    Parameters
    ----------
    error
        With its traceback.

    Returns
    -------
    place
        For a log: ``hven-bright, at hven_bright.py:12``.
    """
    outside = _packages()
    found = ours = "Hven itself"
    for frame, line in traceback.walk_tb(error.__traceback__):
        root = str(frame.f_globals.get("__name__")).partition(".")[0]
        if root in outside:
            found = f"{outside[root]}, at {Path(frame.f_code.co_filename).name}:{line}"
        elif root == "hven":
            found = ours
    return found


def lenient(test: Callable[[T], object]) -> Callable[[T], bool]:
    """Wrap a test so that nothing passes for which it fails: the error goes to the log, with who made it, and takes no page with it.

    Parameters
    ----------
    test
        Of a plug-in.

    Returns
    -------
    passes
        Raises nothing.
    """

    @wraps(test)
    def passes(one: T) -> bool:
        try:
            return bool(test(one))
        except Exception as error:
            where = blamed(error)
            log.exception("it cannot be tried, in %s", where)
            return False

    return passes


@cache
def _packages() -> dict[str, str]:
    """Return the packages that installed plugins stand in, and what to call these."""
    found = importlib.metadata.entry_points()
    outside = (one for group in GROUPS for one in found.select(group=f"hven.{group}"))
    return {one.module.partition(".")[0]: f"the plugin {one.name!r} of {one.group}" for one in outside}


def _outside(entry: importlib.metadata.EntryPoint) -> ModuleType:
    """Import a plugin, and see that it has the record of its group."""
    where = f"the plugin {entry.name!r} of {entry.group} ({entry.value})"
    show_pandas()  # it may use data frames
    try:
        module: object = entry.load()
    except Exception as error:
        raise UserError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}", remedy="mend it, or uninstall it"
        ) from error
    if not isinstance(module, ModuleType):
        raise UserError(f"{where} must name a module")
    record, kind = RECORDS.get(entry.group.removeprefix("hven."), ("__name__", "str"))
    found = vars(module).get(record)
    if all(one.__name__ != kind for one in type(found).__mro__):
        raise UserError(f"{where} has no {record} of the class {kind}", remedy="docs/howto/extend.md shows one")
    return module
