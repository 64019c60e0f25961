"""Let plug-in packages refuse requests before a service answers them, such as those above a limit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.services.addresses import PRINCIPAL_SCOPE_KEY
from hven.site import CURRENT_USAGE
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from starlette.requests import Request

    from hven.site import RequestUsage, Site
    from hven.site.auth import Principal

GATES_SCOPE_KEY = "hven.gates"  # the gates that a request must pass


class RequestGate(ABC):
    """What a plug-in package decides before a service answers a request.

    Records of packages name such classes (`hven.model.plugins.PluginPackage.request_gates`). A process that serves a
    site has one object of each class.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def is_active(self) -> bool:
        """Whether the settings let it refuse anything; read again after each change of the settings."""
        return True

    @staticmethod  # noqa: B027  (most gates prepare nothing)
    def prepare_processes() -> None:
        """Prepare what the processes of a server share; called once, before they are forked."""

    @abstractmethod
    def check_request(self, request: Request, principal: Principal, usage: RequestUsage) -> None:
        """Admit a request, or raise an error, which the service writes as its protocol requires.

        It is called on the event loop, so that it may take some microseconds at most. Requests of services whose
        `hven.services.face.ServiceFace.is_usage_counted` is False need not pass.

        Parameters
        ----------
        request
            The request; its service and route are known.
        principal
            The user.
        usage
            What the request uses. Functions in its `end_callbacks` are called when the answer has ended.
        """


def load_request_gates() -> list[type[RequestGate]]:
    """Load the gates of the packages in use."""
    return [gate for _, gate in plugins.iterate_package_objects("request_gates")]


def check_gates(request: Request) -> None:
    """Raise the error of the first gate that refuses a request.

    Parameters
    ----------
    request
        A request that a route has taken.
    """
    usage = CURRENT_USAGE.get()
    if usage is not None and usage.face:
        principal = request.scope.get(PRINCIPAL_SCOPE_KEY, ANONYMOUS_PRINCIPAL)
        for gate in request.scope.get(GATES_SCOPE_KEY, ()):
            gate.check_request(request, principal, usage)
