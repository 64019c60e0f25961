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
from hven.model.errors import HvenError, UserError, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("hven")
T = TypeVar("T")
PLUGIN_GROUPS: dict[str, tuple[str, ...]] = {  # name -> where those of our own stand
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
NON_PLUGIN_MODULES = {  # group -> what else is public where its plugins stand
    "engines": ("row_fetching",),
    "formats": ("hats_catalogues", "hats_layout", "media", "pictures"),
    "sources": (
        "curator_process",
        "fits_headers",
        "document_enrichment",
        "file_kinds",
        "row_grouping",
        "site_programs",
        "file_readers",
        "http_client",
        "remote_stores",
        "whole_files",
    ),
    "jobs": (
        "declared_types",
        "job_service",
        "child_processes",
        "hang_detector",
        "health",
        "job_supervisor",
        "metrics",
        "run_results",
        "schedule_planning",
        "scheduler",
        "snapshot_verification",
    ),
    "identity": ("permit", "session"),
}
RECORD_NAMES = {  # group -> what a module of it is asked for, and the class of that
    "sources": ("Options", "type"),
    "formats": ("FORMAT", "Format"),
    "media": ("MEDIUM", "Medium"),
    "functions": ("FUNCTION", "FunctionDefinition"),
    "protocols": ("FACE", "Face"),
    "jobs": ("JOB", "JobDefinition"),
    "panes": ("PANE", "Pane"),
    "resolvers": ("PROVIDER", "NameProvider"),
}
SOURCE_DIRECTORY = Path(__file__).parents[2]


@cache
def list_plugins(group: str) -> tuple[str, ...]:
    """List all names in a group of plug-ins, built-ins first; nothing is imported.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`: ``sources``, ``formats`` ...

    Returns
    -------
    names
        Built-ins by the alphabet, then those of entry points.

    Raises
    ------
    UserError
        An outside plugin has the name of a built-in one, or two have the same.
    """
    plugin_names = sorted(_map_builtin_modules(group))
    for entry in importlib.metadata.entry_points(group=f"hven.{group}"):
        if entry.name in plugin_names:
            message = f"two plugins want to be {entry.name!r} in hven.{group}: {entry.value} and another"
            raise UserError(message, remedy="uninstall one of them")
        plugin_names.append(entry.name)
    return tuple(plugin_names)


def list_external_plugins(group: str) -> tuple[str, ...]:
    """List those of a group that are not our own.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`.

    Returns
    -------
    names
        Of entry points.
    """
    return tuple(name for name in list_plugins(group) if name not in _map_builtin_modules(group))


@cache
def _map_builtin_modules(group: str) -> dict[str, str]:
    """Return the modules of our own by their names."""
    return {
        item.name: f"{package}.{item.name}"
        for package in PLUGIN_GROUPS[group]
        for item in pkgutil.iter_modules([str(SOURCE_DIRECTORY.joinpath(*package.split(".")))])
        if not item.name.startswith("_") and item.name not in NON_PLUGIN_MODULES.get(group, ())
    }


@cache
def load_plugin(group: str, name: str) -> ModuleType:
    """Import the module that implements `name`.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`.
    name
        Of a module of ours, or of an entry point.

    Returns
    -------
    module
        Has what `RECORD_NAMES` asks of its group.

    Raises
    ------
    UserError
        The name is not known (the message lists those that are), needs what is not installed, or is a plugin with a
        fault.
    """
    plugin_names = list_plugins(group)
    if name not in plugin_names:
        message = f"no {group.removesuffix('s')} is called {name!r}"
        raise UserError(
            message,
            remedy=(
                f"{suggest_spelling(name, plugin_names)} known: "
                f"{', '.join(plugin_names) or 'none; is its package installed?'}"
            ).lstrip(),
        )
    for entry in importlib.metadata.entry_points(group=f"hven.{group}", name=name):
        return _load_entry_point(entry)
    return import_hven_module(_map_builtin_modules(group)[name], repr(name))


def load_records(group: str) -> dict[str, Any]:
    """Load all plug-ins of a group and return their records.

    Parameters
    ----------
    group
        A key of `RECORD_NAMES`.

    Returns
    -------
    records
        `Format`, `Face`, `Type` ... by the name of the plug-in.
    """
    return {name: vars(load_plugin(group, name))[RECORD_NAMES[group][0]] for name in list_plugins(group)}


def import_hven_module(module: str, purpose: str) -> ModuleType:
    """Import a module of ours.

    Parameters
    ----------
    module
        Dotted name.
    purpose
        Who needs it, for the message.

    Returns
    -------
    module
        Imported.

    Raises
    ------
    UserError
        `purpose` needs another one, which is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("hven"):
            require_modules(purpose, error.name)
        raise


def require_modules(purpose: str, *modules: str, error_class: type[HvenError] = UserError) -> None:
    """Check that modules are installed which something needs; nothing is imported.

    Parameters
    ----------
    purpose
        Who needs them, for the message.
    modules
        Top-level names.
    error_class
        Class of the error to raise.

    Raises
    ------
    HvenError
        One is not installed; the remedy says how it is.
    """
    missing = [name for name in modules if not is_installed(name)]
    if missing:
        message = f"{purpose} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise error_class(message, remedy=suggest_installation(missing[0]))


def suggest_installation(module: str) -> str:
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
    requirement_pattern = re.compile(rf"{module.replace('_', '-')}\b.*extra == ['\"]([\w-]+)")
    extras = (
        match[1]
        for requirement in importlib.metadata.requires("hven") or ()
        if (match := requirement_pattern.match(requirement))
    )
    return next((f"pip install 'hven[{extra}]'" for extra in extras), f"install {module}")


def find_plugin_faults() -> Iterator[UserError]:
    """Collect what is wrong with plug-ins that were installed; all are loaded.

    Yields
    ------
    error
        With the name of the plug-in, and its file and line where it could not be loaded.
    """
    for group in sorted(importlib.metadata.entry_points().groups):
        group_name = group.removeprefix("hven.")
        if group_name == group:
            continue
        if group_name not in PLUGIN_GROUPS:
            remedy = f"{suggest_spelling(group_name, PLUGIN_GROUPS)} known: {', '.join(PLUGIN_GROUPS)}".lstrip()
            yield UserError(
                f"no group of plugins is called {group}",
                remedy=remedy,
            )
            continue
        try:
            plugin_names = list_external_plugins(group_name)
        except UserError as error:
            yield error
            continue
        for name in plugin_names:
            try:
                load_plugin(group_name, name)
            except UserError as error:
                yield error


def locate_error(error: BaseException) -> str:
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
    plugins_by_package = _map_plugin_packages()
    location = own_location = "Hven itself"
    for frame, line in traceback.walk_tb(error.__traceback__):
        root = str(frame.f_globals.get("__name__")).partition(".")[0]
        if root in plugins_by_package:
            location = f"{plugins_by_package[root]}, at {Path(frame.f_code.co_filename).name}:{line}"
        elif root == "hven":
            location = own_location
    return location


def wrap_test(test: Callable[[T], object]) -> Callable[[T], bool]:
    """Wrap a test so that nothing passes for which it fails.

    The error goes to the log, with who made it, and takes no page with it.

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
    def is_test_passed(candidate: T) -> bool:
        try:
            return bool(test(candidate))
        except Exception as error:
            where = locate_error(error)
            log.exception("it cannot be tried, in %s", where)
            return False

    return is_test_passed


@cache
def _map_plugin_packages() -> dict[str, str]:
    """Return the packages that installed plugins stand in, and what to call these."""
    entry_points = importlib.metadata.entry_points()
    plugin_entries = (entry for group in PLUGIN_GROUPS for entry in entry_points.select(group=f"hven.{group}"))
    return {entry.module.partition(".")[0]: f"the plugin {entry.name!r} of {entry.group}" for entry in plugin_entries}


def _load_entry_point(entry: importlib.metadata.EntryPoint) -> ModuleType:
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
    record_name, class_name = RECORD_NAMES.get(entry.group.removeprefix("hven."), ("__name__", "str"))
    plugin_record = vars(module).get(record_name)
    if all(base_class.__name__ != class_name for base_class in type(plugin_record).__mro__):
        raise UserError(
            f"{where} has no {record_name} of the class {class_name}", remedy="docs/howto/extend.md shows one"
        )
    return module
