"""Kinds of services that `hven lint` validates besides TAP.

Other packages add them at the extension point ``lint.services``. A module of this point has ``SERVICE_KIND``, a
`LintServiceKind`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.plugins.lint.check_groups import CheckGroup
    from hven.plugins.lint.client import LintHttpClient, LintRequestLimits
    from hven.plugins.lint.findings import CheckedRowCoverage

SERVICES_POINT = "lint.services"


class ExaminedService(Protocol):
    """What a validation uses of a service of another package.

    Attributes
    ----------
    protocol
        As in `LintServiceKind`.
    url
        Address of the service.
    version
        Version of the protocol that the service states.
    """

    protocol: str
    url: str
    version: str
    client: LintHttpClient
    table_coverages: list[CheckedRowCoverage]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintServiceKind:
    """A kind of services.

    Attributes
    ----------
    protocol
        The protocol of its groups of checks; the key of the version in JSON.
    title
        Name of the protocol for people.
    url_pattern
        A regular expression for whole addresses of such services.
    service_class
        Opens a service: called with its address and the limits of requests. It raises a
        `hven.plugins.lint.client.ServiceNotCheckableError` if there is no such service.
    groups
        Groups of checks.
    """

    protocol: str
    title: str
    url_pattern: str
    service_class: Callable[[str, LintRequestLimits], ExaminedService]
    groups: tuple[CheckGroup, ...]


@plugins.cache_until_selection
def load_service_kinds() -> tuple[LintServiceKind, ...]:
    """Load the kinds of services that packages in use add."""
    return tuple(module.SERVICE_KIND for module in plugins.load_extensions(SERVICES_POINT))


def find_service_kind(url: str) -> LintServiceKind | None:
    """Find the kind of the service at an address; None: it is a TAP service."""
    return next((kind for kind in load_service_kinds() if re.fullmatch(kind.url_pattern, url)), None)
