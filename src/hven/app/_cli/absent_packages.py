"""Find plug-in packages whose rows are in the system state, and which this process does not use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import Fault, HvenError
from hven.site.store import StateStore

if TYPE_CHECKING:
    from hven.model.settings import Settings


def find_absent_packages(settings: Settings) -> list[Fault]:
    """Find plug-in packages that have rows in the system state, and that this process does not use.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    faults
        A warning for each package.
    """
    if not settings.var_directory.is_dir():
        return []
    try:
        store = StateStore(settings.var_directory, settings.store)
    except HvenError:  # commands that need the store report what is wrong with it
        return []
    try:
        tables_by_package = store.find_absent_package_tables()
    except HvenError:
        return []
    finally:
        store.close()
    installed_names = {package.name for package in plugins.list_installed_packages()}
    faults = []
    for name, tables in tables_by_package.items():
        reason = "is not installed"
        remedy = "install it to use them; backups contain them"
        if name in installed_names:
            reason = "`plugins` in hven.toml does not list"
            remedy = f"add {name!r} to `plugins` to use them; backups contain them"
        message = f"the system state has rows of the plug-in package {name} ({', '.join(tables)}), which {reason}"
        faults.append(Fault(message=message, remedy=remedy, severity="warning"))
    return faults
