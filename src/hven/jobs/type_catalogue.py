"""Find job types by name: a module, a plug-in, or a type that the settings of a site define for a plug-in package."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.jobs._job_types import JobDefinition
    from hven.model.plugins import PluginPackage
    from hven.model.settings import Settings


class JobTypeProvider(Protocol):
    """Job types that a package makes of what a site declares (`PluginPackage.job_providers`).

    Common
    ------
    settings
        Settings of the site.
    """

    def list_type_names(self, settings: Settings) -> Sequence[str]:
        """List the names of the types, without reading what the site says of them.

        Returns
        -------
        names
            The names.
        """

    def find_job_type(self, settings: Settings, type_name: str) -> JobDefinition | None:
        """Find a type. If its declaration has faults, this is its last version without faults.

        Parameters
        ----------
        settings
            Settings of the site.
        type_name
            Name of the type, as a client gave it.

        Returns
        -------
        job_type
            The definition; None if the site does not declare the type.

        Raises
        ------
        DescriptorError
            The declaration has faults, and no earlier version is known.
        """

    def load_job_types(self, settings: Settings) -> Mapping[str, JobDefinition]:
        """Load all types.

        Returns
        -------
        job_types
            The definitions by name.

        Raises
        ------
        DescriptorError
            Declarations have faults; the error has all of them.
        """


def find_job_type(settings: Settings, type_name: str) -> JobDefinition:
    """Find a job type: a module of this package, a plug-in, or a type that the site declares.

    Parameters
    ----------
    settings
        Settings of the site.
    type_name
        Name of the type.

    Returns
    -------
    job_type
        The definition of the type.

    Raises
    ------
    NotFoundError
        There is no such type. If it belongs to a package that the site leaves out, the error names the package.
    DescriptorError
        The site's declaration has faults.
    """
    if type_name in plugins.list_plugins("jobs"):
        plugin_type: JobDefinition = plugins.load_plugin("jobs", type_name).JOB
        return plugin_type
    for provider in _iterate_providers():
        declared_type = provider.find_job_type(settings, type_name)
        if declared_type is not None:
            return declared_type
    package_name = plugins.find_disabled_package("jobs", type_name)
    if package_name is None:
        package_name = dict(_iterate_disabled_job_types(settings)).get(type_name)
    if package_name is not None:
        error = plugins.build_disabled_package_error(type_name, package_name)
        raise NotFoundError(f"the job type {error.message}", remedy=error.remedy)
    raise NotFoundError(f"there is no job type {type_name!r:.60}")


def load_all_job_types(settings: Settings) -> dict[str, JobDefinition]:
    """Load all job types: built-in types, plug-ins, and types that the site declares.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    types
        The definitions by name.

    Raises
    ------
    DescriptorError
        Declarations have faults; the error has all of them.
    """
    job_types = {name: find_job_type(settings, name) for name in plugins.list_plugins("jobs")}
    for provider in _iterate_providers():
        job_types |= provider.load_job_types(settings)
    return job_types


def find_served_job_type(settings: Settings, type_name: str) -> JobDefinition | None:
    """Find a job type whose jobs clients can create at ``/jobs`` now.

    Parameters
    ----------
    settings
        Settings of the site.
    type_name
        Name of the type, as a client gave it.

    Returns
    -------
    job_type
        The type; None if there is none, or if it has faults.
    """
    with suppress(DescriptorError, NotFoundError):
        job_type = find_job_type(settings, type_name)
        if job_type.is_served:
            return job_type
    return None


def load_served_job_types(settings: Settings) -> dict[str, JobDefinition]:
    """Load the job types of `find_served_job_type`.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    types
        The definitions by name.
    """
    found_types = (find_served_job_type(settings, name) for name in _list_type_names(settings))
    return {job_type.name: job_type for job_type in found_types if job_type is not None}


def map_running_job_limits(settings: Settings) -> dict[str, int]:
    """Return the largest number of jobs that may run at the same time, for the types that limit it.

    A declaration with faults has no limit, because its jobs end at once.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    limits
        Limits by the name of the type.
    """
    limits_by_type = {}
    for name in _list_type_names(settings):
        try:
            running_limit = find_job_type(settings, name).quota.running_limit
        except (DescriptorError, NotFoundError):
            continue
        if running_limit is not None:
            limits_by_type[name] = running_limit
    return limits_by_type


def find_declaration_faults(settings: Settings) -> Iterator[Fault]:
    """Find the faults of the present declarations.

    Parameters
    ----------
    settings
        Settings of the site.

    Yields
    ------
    fault
        A fault of a declaration.
    """
    if not settings.job_types_directory.is_dir():
        return
    for provider in _iterate_providers():
        try:
            provider.load_job_types(settings)
        except DescriptorError as error:
            yield from error.faults


def find_disabled_job_type_faults(settings: Settings) -> Iterator[Fault]:
    """Find the types that the site declares for packages that it leaves out.

    Parameters
    ----------
    settings
        Settings of the site.

    Yields
    ------
    fault
        A warning that names the type and its package.
    """
    for type_name, package_name in _iterate_disabled_job_types(settings):
        error = plugins.build_disabled_package_error(type_name, package_name)
        yield Fault(message=f"the job type {error.message}", remedy=error.remedy, severity="warning")


def _list_type_names(settings: Settings) -> list[str]:
    declared_names = [name for provider in _iterate_providers() for name in provider.list_type_names(settings)]
    return [*plugins.list_plugins("jobs"), *declared_names]


def _iterate_providers(packages: Iterable[PluginPackage] | None = None) -> Iterator[JobTypeProvider]:
    for _, provider in plugins.iterate_package_objects("job_providers", packages):
        yield provider


def _iterate_disabled_job_types(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the names of types that need packages which the site leaves out, and the names of these packages."""
    for package in plugins.list_disabled_packages():
        for provider in _iterate_providers([package]):
            for type_name in provider.list_type_names(settings):
                yield type_name, package.name
