"""Import the libraries for rasters beside requests, so that the first map of a process need not wait for them."""

from __future__ import annotations

import contextlib
import threading

from hven.model import plugins
from hven.model.errors import UserError
from hven.plugins.maps.map_layers import LAYERS_KEY
from hven.site import RequestObserver


class LibraryImporter(RequestObserver):
    """Imports the libraries when a process of a server starts, if the site has layers."""

    def start(self) -> None:
        """Begin the import in a thread."""
        resources = self._site.get_published_state().resources.values()
        if any(resource.extensions.get(LAYERS_KEY) for resource in resources):
            threading.Thread(target=import_libraries, name="maps-import", daemon=True).start()


def import_libraries() -> None:
    """Import the modules that draw maps; without the extra, the first request tells what is missing."""
    with contextlib.suppress(UserError):
        plugins.import_hven_module("hven.plugins.maps.map_operations", "the service of maps")
