"""The plug-in packages of two sites with whose settings one process works."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.model.settings import Settings


@contextmanager
def select_packages_of(settings: Settings) -> Iterator[None]:
    """Use the packages of a site inside the block, and those of before after it.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    earlier_names = None
    if plugins.list_disabled_packages():
        earlier_names = [package.name for package in plugins.list_plugin_packages()]
    try:
        plugins.select_plugin_packages(settings.plugins)
        yield
    finally:
        plugins.select_plugin_packages(earlier_names)


def load_target_settings_and_select_packages(directory: Path, own_settings: Settings) -> Settings:
    """Load the settings of another site, and use the packages of both sites from then on.

    A package that only one of them uses may have the engine of its rows.

    Parameters
    ----------
    directory
        The directory of the other site.
    own_settings
        Settings of this site.
    """
    settings = load_settings(directory)  # it selects the packages of the other site
    plugins.select_plugin_packages([*own_settings.plugins, *settings.plugins])
    return settings
