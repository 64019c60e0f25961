"""Find and load plug-ins by name: built-in ones by their modules, external ones by entry-point groups."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import pkgutil
import re
import traceback
from functools import cache, wraps
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from hven.model._pandas_imports import is_module_installed, restore_pandas_imports
from hven.model._plugin_package import (
    OBJECT_FIELDS,
    CommandLineVerb,
    FilePictureAddresses,
    FileSignature,
    PackageStateTables,
    PluginPackage,
)
from hven.model.errors import HvenError, UserError, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from hven.model.errors import Fault


__all__ = [
    "OWN_LOCATION",
    "PLUGIN_GROUPS",
    "RECORD_NAMES",
    "SELECTION_VARIABLE",
    "CommandLineVerb",
    "FilePictureAddresses",
    "FileSignature",
    "PackageStateTables",
    "PluginPackage",
    "build_disabled_package_error",
    "cache_until_selection",
    "describe_error_origin",
    "explain_ineffective_key",
    "find_disabled_package",
    "find_disabled_plugin_error",
    "find_file_picture_addresses",
    "find_package_faults",
    "find_plugin_faults",
    "import_hven_module",
    "iterate_package_objects",
    "list_disabled_packages",
    "list_external_plugins",
    "list_file_signatures",
    "list_installed_packages",
    "list_plugin_packages",
    "list_plugins",
    "load_extensions",
    "load_named_object",
    "load_plugin",
    "load_plugin_records",
    "locate_named_folder",
    "require_modules",
    "select_plugin_packages",
    "suggest_install_command",
    "wrap_plugin_predicate",
]
log = logging.getLogger("hven")
T = TypeVar("T")
CachedFunction = TypeVar("CachedFunction", bound="Callable[..., Any]")
PLUGIN_GROUPS: dict[str, tuple[str, ...]] = {  # group -> packages of the built-in plug-ins
    "sources": ("hven.sources",),
    "descriptions": (),
    "documents": (),
    "engines": ("hven.engines",),
    "formats": ("hven.formats",),
    "media": ("hven.formats.media",),
    "functions": (),
    "protocols": ("hven.services.faces", "hven.portal.faces"),
    "jobs": ("hven.jobs", "hven.services.tasks"),
    "identity": ("hven.site.auth",),
    "ingest_steps": (),
    "panes": (),
    "resolvers": (),
}
NON_PLUGIN_MODULES = {  # group -> other public modules of these packages
    "engines": ("api", "row_fetching"),
    "formats": ("api", "media"),
    "media": ("api",),
    "sources": (
        "api",
        "curator_process",
        "fits_headers",
        "file_kinds",
        "row_grouping",
        "source_keys",
        "site_programs",
        "file_readers",
        "http_client",
        "kind_traits",
        "remote_stores",
        "whole_files",
    ),
    "jobs": (
        "api",
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
        "type_catalogue",
    ),
    "identity": ("permit", "session"),
}
PACKAGE_GROUP = "hven.plugins"  # of the entry points of other projects, and the package that holds Hven's own
PACKAGE_MODULE = "plugin"  # in each package: it has the record
PACKAGE_RECORD_NAME = "PLUGIN"
SELECTION_VARIABLE = (
    "HVEN_PLUGINS"  # names of the packages that a process uses, separated by commas; unset or "all": all
)
RECORD_NAMES = {  # group -> the name in a plug-in's module that holds its record, and the class of the record
    "sources": ("Options", "type"),
    "descriptions": ("DESCRIPTION", "TableDescriptionSignature"),
    "documents": ("DOCUMENT", "DocumentFormat"),
    "formats": ("FORMAT", "TableFormat"),
    "media": ("MEDIUM", "ProductFileFormat"),
    "functions": ("FUNCTION", "FunctionDefinition"),
    "protocols": ("FACE", "ServiceFace"),
    "jobs": ("JOB", "JobDefinition"),
    "ingest_steps": ("STEP", "PluginIngestStep"),
    "panes": ("PANE", "TablePane"),
    "resolvers": ("PROVIDER", "NameProvider"),
    "plugins": (PACKAGE_RECORD_NAME, "PluginPackage"),
}
SOURCE_DIRECTORY = Path(__file__).parents[2]
OWN_LOCATION = "Hven itself"  # of an error that no plug-in raised


class _PackageSelection:
    """The plug-in packages that this process uses."""

    names: frozenset[str] | None = None  # None: all

    def __init__(self) -> None:
        self._cached_functions: list[Any] = []

    def cache_function(self, function: CachedFunction) -> CachedFunction:
        """Cache the results of a function until the selection changes."""
        cached_function = cache(function)
        self._cached_functions.append(cached_function)
        return cached_function  # type: ignore[return-value]

    def set_names(self, names: Iterable[str] | None) -> None:
        """Select packages by their names, and forget what was found before."""
        selected_names = None
        if names is not None:
            selected_names = frozenset(filter(None, names))
        if selected_names is not None and "all" in selected_names:
            selected_names = None
        if selected_names != self.names:
            self.names = selected_names
            self.discard_cached_results()

    def discard_cached_results(self) -> None:
        """Forget the results of the functions that `cache_function` caches."""
        for cached_function in self._cached_functions:
            cached_function.cache_clear()


_selection = _PackageSelection()
cache_until_selection = _selection.cache_function


def select_plugin_packages(names: Iterable[str] | None) -> None:
    """Use only some plug-in packages in this process.

    Settings of a site call it before anything asks for plug-ins. The variable `SELECTION_VARIABLE` takes precedence.

    Parameters
    ----------
    names
        Names of packages; None, or the name ``all``: all that are installed.
    """
    variable = os.environ.get(SELECTION_VARIABLE)
    _selection.set_names(names if variable is None else variable.split(","))


def list_plugin_packages() -> tuple[PluginPackage, ...]:
    """List the records of the plug-in packages: those of Hven in alphabetical order, then those of entry points.

    A package of another project that cannot be loaded is left out; `find_plugin_faults` reports it.
    """
    return (*_load_builtin_packages(), *_select_external_packages()[0])


def list_installed_packages() -> tuple[PluginPackage, ...]:
    """List the records of all plug-in packages that are installed, also of those that the settings leave out."""
    return (*_import_builtin_records(), *_load_external_packages()[0])


def find_disabled_package(group: str, name: str) -> str | None:
    """Find the installed package that has a plug-in, if the settings leave the package out.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`, ``verbs``, ``settings``, ``table_keys``, ``collection_keys``, ``source_keys``,
        ``used_keys`` or ``function_definitions``.
    name
        Name of the plug-in.

    Returns
    -------
    package
        Name of the package; None if no installed package has the plug-in, or the settings do not leave it out.
    """
    return next((package.name for package in list_disabled_packages() if name in vars(package)[group]), None)


def find_disabled_plugin_error(group: str, name: str) -> UserError | None:
    """Find the error of a plug-in whose package the settings leave out.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`, ``table_keys``, ``collection_keys``, ``source_keys``, ``used_keys``, ``verbs`` or
        ``function_definitions``.
    name
        Name of the plug-in, or the key.

    Returns
    -------
    error
        Its message names the package; None if the settings do not leave it out.
    """
    package = find_disabled_package(group, name)
    if package is None:
        return None
    return build_disabled_package_error(name, package)


def build_disabled_package_error(name: str, package: str) -> UserError:
    """Build the error of something whose package the settings leave out.

    Parameters
    ----------
    name
        Name of the plug-in, or what the site declares for the package.
    package
        Name of the package.

    Returns
    -------
    error
        Its message names the package, and its remedy tells how to add it.
    """
    message = (
        f"{name!r} belongs to the plug-in package {package}, but `plugins` in hven.toml does not list this package"
    )
    return UserError(message, remedy=f"add {package!r} to `plugins`")


@cache_until_selection
def list_disabled_packages() -> tuple[PluginPackage, ...]:
    """Return the records of Hven's own packages that the settings leave out."""
    used_packages = _load_builtin_packages()
    return tuple(package for package in _import_builtin_records() if package not in used_packages)


def list_file_signatures(kind: str | None = None) -> tuple[FileSignature, ...]:
    """List the files that kinds of sources read because of the packages in use.

    Parameters
    ----------
    kind
        Name of a kind of source; None: all kinds.

    Returns
    -------
    signatures
        How these files are recognised, package by package.
    """
    signatures = [signature for package in list_plugin_packages() for signature in package.files]
    return tuple(signature for signature in signatures if kind in {None, signature.kind})


def find_file_picture_addresses() -> FilePictureAddresses | None:
    """Find where a service has pictures of files.

    Returns
    -------
    pictures
        Those of the first package in use that has some; None: there are none.
    """
    package_pictures = (package.file_pictures for package in list_plugin_packages() if package.file_pictures)
    return next(package_pictures, None)


def load_extensions(point: str) -> tuple[ModuleType, ...]:
    """Load the modules that packages add to an extension point.

    Parameters
    ----------
    point
        Name of the point: that of the package that defines it, a dot, and a word.

    Returns
    -------
    modules
        The modules, in the order of the packages.

    Raises
    ------
    UserError
        A module cannot be loaded.
    """
    packages = list_plugin_packages()
    module_names = [name for package in packages for name in package.extensions.get(point, ())]
    return tuple(_import_named_module(name, f"the extension point {point}") for name in module_names)


def load_named_object(place: str, purpose: str) -> Any:
    """Load what the record of a package names as ``module:name``.

    Parameters
    ----------
    place
        Dotted name of a module, a colon, and a name in it.
    purpose
        What needs it, for the message.

    Returns
    -------
    named_object
        The function or record.

    Raises
    ------
    UserError
        It cannot be loaded.
    """
    module_name, _, name = place.partition(":")
    module = _import_named_module(module_name, purpose)
    if name not in vars(module):
        message = f"{purpose} names {place}, but {module_name} has no {name}"
        raise UserError(message, remedy="correct the package, or uninstall it")
    return vars(module)[name]


def find_package_faults(package: PluginPackage, settings: Any) -> Iterator[Fault | str]:
    """Run the checks of a package; none if it has sections of its own in the settings, and the site uses none of them.

    Parameters
    ----------
    package
        A package that the site uses.
    settings
        The `hven.model.settings.Settings` of the site.

    Yields
    ------
    fact
        A fault, or a text about an engine.
    """
    sections = [settings.brought[name] for name in package.settings]
    if sections and all(section == () or section == type(section)() for section in sections):
        return
    for place in package.checks:
        yield from load_named_object(place, f"the plug-in package {package.name}")(settings)


def iterate_package_objects(
    field_name: str, packages: Iterable[PluginPackage] | None = None
) -> Iterator[tuple[str, Any]]:
    """Load what packages name in a field of their records.

    What cannot be loaded is left out, with a warning in the log; `find_plugin_faults` reports it.

    Parameters
    ----------
    field_name
        A field of `PluginPackage` that names objects: ``table_keys``.
    packages
        The packages; None: those in use.

    Yields
    ------
    objects
        Each object, after its key in the field. An object without a key has the name of the package.
    """
    for package in list_plugin_packages() if packages is None else packages:
        for name, place in package.list_object_references(field_name):
            try:
                named_object = load_named_object(place, f"the plug-in package {package.name}")
            except UserError as error:
                log.warning("%s", error)
            else:
                yield name, named_object


def locate_named_folder(place: str, purpose: str) -> Path:
    """Locate a folder that the record of a package names as ``module:folder``, without importing the module.

    Parameters
    ----------
    place
        Dotted name of a package or a module, a colon, and the name of a folder beside its file.
    purpose
        What needs it, for the message.

    Returns
    -------
    folder
        The folder.

    Raises
    ------
    UserError
        There is none.
    """
    module_name, _, folder_name = place.partition(":")
    try:
        module_spec = find_spec(module_name)
    except ModuleNotFoundError:
        module_spec = None
    if module_spec is not None and module_spec.origin is not None:
        folder = Path(module_spec.origin).parent / folder_name
        if folder.is_dir():
            return folder
    message = f"{purpose} names {place}, but there is no such folder"
    raise UserError(message, remedy="correct the package, or uninstall it")


def _import_named_module(name: str, purpose: str) -> ModuleType:
    """Import a module that the record of a package names; an error of a foreign module becomes a UserError."""
    try:
        return import_hven_module(name, purpose)
    except UserError:
        raise
    except Exception as error:
        if name.startswith("hven."):
            raise
        message = f"{purpose} names {name}, which cannot be loaded: {type(error).__name__}: {error}"
        raise UserError(message, remedy="correct the package, or uninstall it") from error


def explain_ineffective_key(key: str) -> UserError | None:
    """Explain why a key of a descriptor has no effect: only some plug-in packages use it (`PluginPackage.used_keys`).

    Parameters
    ----------
    key
        The key, with the keys above it: ``files.writers``.

    Returns
    -------
    error
        None if a package that uses the key is in use.
    """
    packages = [package for package in list_installed_packages() if key in package.used_keys]
    if any(_is_selected(package.name) for package in packages):
        return None
    if not packages:
        message = f"no installed plug-in package uses {key}, so this key has no effect"
        return UserError(message, remedy="remove the key, or install a package that uses it")
    name = packages[0].name
    message = f"{key} belongs to the plug-in package {name}, but `plugins` in hven.toml does not list this package"
    return UserError(message, remedy=f"add {name!r} to `plugins`")


@cache_until_selection
def _load_builtin_packages() -> tuple[PluginPackage, ...]:
    """Load the records of Hven's own packages that are selected, in alphabetical order."""
    return _select_usable_packages([package for package in _import_builtin_records() if _is_selected(package.name)])


def _select_usable_packages(packages: Iterable[PluginPackage]) -> tuple[PluginPackage, ...]:
    """Leave out packages that use one that is not there."""
    usable_packages = {package.name: package for package in packages}
    while True:
        lacking_names = [
            name for name, package in usable_packages.items() if set(package.uses) - usable_packages.keys()
        ]
        if not lacking_names:
            return tuple(usable_packages.values())
        for name in lacking_names:
            del usable_packages[name]


@cache
def _import_builtin_records() -> tuple[PluginPackage, ...]:
    directory = SOURCE_DIRECTORY.joinpath(*PACKAGE_GROUP.split("."))
    names = sorted(module.name for module in pkgutil.iter_modules([str(directory)]) if module.ispkg)
    modules = [importlib.import_module(f"{PACKAGE_GROUP}.{name}.{PACKAGE_MODULE}") for name in names]
    return tuple(vars(module)[PACKAGE_RECORD_NAME] for module in modules)


def _is_selected(name: str) -> bool:
    return _selection.names is None or name in _selection.names


@cache_until_selection
def _map_entry_points() -> dict[str, tuple[importlib.metadata.EntryPoint, ...]]:
    """Return what installed projects add to Hven by group; to read the files of all projects takes milliseconds."""
    entry_points = importlib.metadata.entry_points()
    return {
        group: tuple(entry_points.select(group=group)) for group in entry_points.groups if group.startswith("hven.")
    }


@cache_until_selection
def _load_external_packages() -> tuple[tuple[PluginPackage, ...], tuple[UserError, ...]]:
    """Load the records of all packages of other projects, and the faults of those that cannot be used."""
    names = {package.name for package in _import_builtin_records()}
    records: list[PluginPackage] = []
    faults: list[UserError] = []
    for entry in _map_entry_points().get(PACKAGE_GROUP, ()):
        try:
            record: PluginPackage = vars(_load_entry_point(entry))[PACKAGE_RECORD_NAME]
            if record.name in names:
                message = f"two plug-in packages have the name {record.name!r}; one of them is {entry.value}"
                raise UserError(message, remedy="uninstall one of them")  # noqa: TRY301  (one list of faults)
        except UserError as error:
            log.warning("%s", error)
            faults.append(error)
        else:
            names.add(record.name)
            records.append(record)
    return tuple(records), tuple(faults)


@cache_until_selection
def _select_external_packages() -> tuple[tuple[PluginPackage, ...], tuple[UserError, ...]]:
    """Select the packages of other projects that can be used, and find why others cannot."""
    records = [record for record in _load_external_packages()[0] if _is_selected(record.name)]
    builtin_packages = _load_builtin_packages()
    usable_packages = _select_usable_packages([*builtin_packages, *records])
    return usable_packages[len(builtin_packages) :], tuple(_find_missing_dependency_errors(records, usable_packages))


def _find_missing_dependency_errors(
    selected_packages: Iterable[PluginPackage], usable_packages: Collection[PluginPackage]
) -> Iterator[UserError]:
    """Yield the error of each package that is left out because it uses one that is not there."""
    usable_names = {package.name for package in usable_packages}
    for package in selected_packages:
        missing_names = " and ".join(name for name in package.uses if name not in usable_names)
        if missing_names:
            message = (
                f"the plug-in package {package.name} is left out, because it uses {missing_names}, which Hven has not "
                "loaded"
            )
            remedy = f"install {missing_names}; if `plugins` lists packages, add {missing_names} to the list"
            yield UserError(message, remedy=remedy)


@cache_until_selection
def list_plugins(group: str) -> tuple[str, ...]:
    """List all names in a group of plug-ins, built-in ones first, without importing them.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`: ``sources``, ``formats`` ...

    Returns
    -------
    names
        Built-in plug-ins in alphabetical order, then those of entry points.

    Raises
    ------
    UserError
        An external plug-in has the name of a built-in one, or two have the same name.
    """
    plugin_names = sorted(_map_builtin_modules(group))
    for entry in _iterate_external_entries(group):
        if entry.name in plugin_names:
            message = f"two plug-ins have the name {entry.name!r} in hven.{group}; one of them is {entry.value}"
            raise UserError(message, remedy="uninstall one of them")
        plugin_names.append(entry.name)
    return tuple(plugin_names)


def list_external_plugins(group: str) -> tuple[str, ...]:
    """List the external plug-ins of a group.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`.

    Returns
    -------
    names
        Names of entry points.
    """
    builtin_names = _map_builtin_modules(group)
    return tuple(name for name in list_plugins(group) if name not in builtin_names)


@cache_until_selection
def _map_builtin_modules(group: str) -> dict[str, str]:
    """Return the built-in modules by their names."""
    modules = {}
    excluded_names = NON_PLUGIN_MODULES.get(group, ())
    for package in PLUGIN_GROUPS[group]:
        directory = SOURCE_DIRECTORY.joinpath(*package.split("."))
        for module in pkgutil.iter_modules([str(directory)]):
            if not module.name.startswith("_") and module.name not in excluded_names:
                modules[module.name] = f"{package}.{module.name}"
    for plugin_package in _load_builtin_packages():
        modules |= vars(plugin_package)[group]
    return modules


def _iterate_external_entries(group: str) -> Iterator[importlib.metadata.EntryPoint]:
    """Yield what other projects add to a group: by entry points of their own, and by the records of their packages."""
    yield from _map_entry_points().get(f"hven.{group}", ())
    packages, _ = _select_external_packages()
    for package in packages:
        for name, module in vars(package)[group].items():
            yield importlib.metadata.EntryPoint(name, module, f"hven.{group}")


@cache_until_selection
def load_plugin(group: str, name: str) -> ModuleType:
    """Import the module that implements `name`.

    Parameters
    ----------
    group
        A key of `PLUGIN_GROUPS`.
    name
        Name of a built-in module, or of an entry point.

    Returns
    -------
    module
        The module, with the record that `RECORD_NAMES` requires.

    Raises
    ------
    UserError
        The name is unknown (the message lists the known ones), the plug-in needs a module that is not installed, or it
        has a fault.
    """
    plugin_names = list_plugins(group)
    if name not in plugin_names:
        message = f"there is no {group.removesuffix('s')} {name!r}"
        unused_error = find_disabled_plugin_error(group, name)
        if unused_error is not None:
            raise unused_error
        remedy = "check that its package is installed"
        if plugin_names:
            remedy = f"{suggest_spelling(name, plugin_names)} use one of {', '.join(plugin_names)}".lstrip()
        raise UserError(message, remedy=remedy)
    for entry in _iterate_external_entries(group):
        if entry.name == name:
            return _load_entry_point(entry)
    return import_hven_module(_map_builtin_modules(group)[name], repr(name))


def load_plugin_records(group: str) -> dict[str, Any]:
    """Load all plug-ins of a group and return their records.

    Parameters
    ----------
    group
        A key of `RECORD_NAMES`.

    Returns
    -------
    records
        `TableFormat`, `ServiceFace`, `Type` ... by the name of the plug-in.
    """
    record_name, _ = RECORD_NAMES[group]
    return {name: vars(load_plugin(group, name))[record_name] for name in list_plugins(group)}


def import_hven_module(module: str, purpose: str) -> ModuleType:
    """Import a module of Hven.

    Parameters
    ----------
    module
        Dotted name.
    purpose
        What needs it, for the message.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    UserError
        The module needs another one, which is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("hven"):
            require_modules(purpose, error.name)
        raise


def require_modules(purpose: str, *modules: str, error_class: type[HvenError] = UserError) -> None:
    """Check that modules are installed, without importing them.

    Parameters
    ----------
    purpose
        What needs them, for the message.
    modules
        Top-level names.
    error_class
        Class of the error to raise.

    Raises
    ------
    HvenError
        A module is not installed; the remedy tells how to install it.
    """
    missing = [name for name in modules if not is_module_installed(name)]
    if missing:
        verb = "are"
        if len(missing) == 1:
            verb = "is"
        message = f"{purpose} needs {' and '.join(missing)}, which {verb} not installed"
        raise error_class(message, remedy=suggest_install_command(missing[0]))


def suggest_install_command(module: str) -> str:
    """Return the command that installs a module, with an extra of Hven if it belongs to one.

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
    for requirement in importlib.metadata.requires("hven") or ():
        match = requirement_pattern.match(requirement)
        if match is not None:
            return f"pip install 'hven[{match[1]}]'"
    return f"install {module}"


def find_plugin_faults() -> Iterator[UserError]:
    """Load all external plug-ins, and yield their faults.

    Yields
    ------
    error
        The fault, with the name of the plug-in, and the file and line where it could not be loaded.
    """
    yield from _load_external_packages()[1]
    yield from _select_external_packages()[1]
    selected_packages = [package for package in _import_builtin_records() if _is_selected(package.name)]
    yield from _find_missing_dependency_errors(selected_packages, _load_builtin_packages())
    yield from _find_named_object_faults(_select_external_packages()[0])
    package_names = {package.name for package in list_installed_packages()}
    for name in sorted((_selection.names or frozenset()) - package_names):
        known_names = ", ".join(sorted(package_names))
        remedy = f"{suggest_spelling(name, package_names)} use one of {known_names}".lstrip()
        yield UserError(f"`plugins` lists {name!r}, but there is no plug-in package with this name", remedy=remedy)
    known_groups = {PACKAGE_GROUP, *(f"hven.{name}" for name in PLUGIN_GROUPS)}
    for group in sorted(_map_entry_points().keys() - known_groups):
        spelling = suggest_spelling(group.removeprefix("hven."), PLUGIN_GROUPS)
        remedy = f"{spelling} use one of {', '.join(PLUGIN_GROUPS)}".lstrip()
        yield UserError(f"there is no plug-in group {group!r}", remedy=remedy)
    for group in sorted(PLUGIN_GROUPS):
        try:
            plugin_names = list_external_plugins(group)
        except UserError as error:
            yield error
            continue
        for name in plugin_names:
            try:
                load_plugin(group, name)
            except UserError as error:
                yield error


def _find_named_object_faults(packages: Iterable[PluginPackage]) -> Iterator[UserError]:
    """Load what the records of packages name as ``module:name``, and their extensions, and yield their faults."""
    for package in packages:
        where = f"the plug-in package {package.name}"
        places = [place for name in OBJECT_FIELDS for _, place in package.list_object_references(name)]
        if package.store_tables is not None:
            places.append(package.store_tables.definitions)
        for place in places:
            try:
                load_named_object(place, where)
            except UserError as error:
                yield error
        for folder_place in filter(None, (package.scripts, package.translations)):
            try:
                locate_named_folder(folder_place, where)
            except UserError as error:
                yield error
        for point in package.extensions:
            try:
                load_extensions(point)
            except UserError as error:
                yield error


def describe_error_origin(error: BaseException) -> str:
    """Locate an unforeseen error: in a plug-in, with its line, or in Hven itself.

    Parameters
    ----------
    error
        The error, with its traceback.

    Returns
    -------
    place
        The place, for a log: ``hven-bright, at hven_bright.py:12``.
    """
    plugins_by_package = _map_plugin_packages()
    location = OWN_LOCATION
    for frame, line in traceback.walk_tb(error.__traceback__):
        root = str(frame.f_globals.get("__name__")).partition(".")[0]
        if root in plugins_by_package:
            location = f"{plugins_by_package[root]}, at {Path(frame.f_code.co_filename).name}:{line}"
        elif root == "hven":
            location = OWN_LOCATION
    return location


def wrap_plugin_predicate(predicate: Callable[[T], object]) -> Callable[[T], bool]:
    """Wrap a test so that a candidate for which it raises an error does not pass.

    The error goes to the log, with the plug-in at fault, and no page fails because of it.

    Parameters
    ----------
    predicate
        A test of a plug-in.

    Returns
    -------
    passes
        A test that raises no errors.
    """

    @wraps(predicate)
    def is_test_passed(candidate: T) -> bool:
        try:
            return bool(predicate(candidate))
        except Exception as error:
            where = describe_error_origin(error)
            log.exception("the `applies` function of a plug-in failed (error in %s)", where)
            return False

    return is_test_passed


@cache
def _map_plugin_packages() -> dict[str, str]:
    """Return the packages of external plug-ins, with names for messages."""
    packages = {}
    for group in ("plugins", *PLUGIN_GROUPS):
        for entry in importlib.metadata.entry_points(group=f"hven.{group}"):
            packages[entry.module.partition(".")[0]] = f"the plug-in {entry.name!r} of {entry.group}"
    return packages


def _load_entry_point(entry: importlib.metadata.EntryPoint) -> ModuleType:
    """Import an external plug-in, and check that it has the record of its group."""
    where = f"the plug-in {entry.name!r} of {entry.group} ({entry.value})"
    restore_pandas_imports()  # the plug-in may use data frames
    try:
        module: object = entry.load()
    except Exception as error:
        message = f"{where} cannot be loaded: {type(error).__name__}: {error}"
        raise UserError(message, remedy="correct the plug-in, or uninstall it") from error
    if not isinstance(module, ModuleType):
        raise UserError(f"{where} must refer to a module")
    record_name, class_name = RECORD_NAMES.get(entry.group.removeprefix("hven."), ("__name__", "str"))
    plugin_record = vars(module).get(record_name)
    class_names = [base_class.__name__ for base_class in type(plugin_record).__mro__]
    if class_name not in class_names:
        message = f"{where} has no {record_name} of the class {class_name}"
        raise UserError(message, remedy="see docs/howto/extend.md for an example")
    if entry.group == "hven.sources" and not callable(vars(module).get("open")):
        message = f"{where} has no function `open`"
        raise UserError(message, remedy="see docs/reference/sources.md for an example")
    return module


select_plugin_packages(None)  # a process without a site, too, heeds the variable
