"""Rewrite requests for old addresses before they are routed: the contract for plug-in packages.

A package names a function that builds its `AddressRewriter` from the settings (`PluginPackage.address_rewriter`).
Addresses that only tables define are rewritten by a face (`hven.services.face.ServiceFace.build_address_rewriter`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from starlette.types import Scope

    from hven.model.settings import Settings

ParameterPairs = list[tuple[str, str]]
FormRewriter = Callable[[ParameterPairs, ParameterPairs], ParameterPairs]
"""Rewrites the parameters of a POST request: from those of its address and of its body to those of the service."""
FORM_REWRITER_SCOPE_KEY = "hven.form_rewriter"
"""Key of a request's scope under which an `AddressRewriter` puts a `FormRewriter`."""


class AddressRewriter(Protocol):
    """Rewrites requests for old addresses of the site."""

    def rewrite_request(self, scope: Scope) -> Scope:
        """Return a request with its present address; other requests stay as they are.

        The access rights of the present address hold for the request.

        Parameters
        ----------
        scope
            The request, without the prefix of the site's address in its path.

        Returns
        -------
        scope
            The same or another request.
        """
        ...

    def map_path_prefixes(self) -> Mapping[str, str]:
        """Map prefixes of old addresses to prefixes of present paths, for links in rows.

        Returns
        -------
        prefixes
            For example, ``ftp://old.example.org/pub/`` to ``/collections/maps/files/``.
        """
        ...


def load_address_rewriters(settings: Settings) -> list[AddressRewriter]:
    """Build the address rewriters of the plug-in packages; one that cannot be built is left out.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    rewriters
        Rewriters in the order of the packages: each gets what the previous one returned.
    """
    return [build_rewriter(settings) for _, build_rewriter in plugins.iterate_package_objects("address_rewriter")]
