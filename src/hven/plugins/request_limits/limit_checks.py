"""Check that limits name services that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import suggest_spelling
from hven.plugins.request_limits.settings import get_request_limits
from hven.services.face import load_service_faces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.settings import Settings


def find_limit_faults(settings: Settings) -> Iterator[str]:
    """Find limits that have no effect, and those for services that do not exist or are never limited.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    limits = get_request_limits(settings)
    services = load_service_faces() if limits else {}
    limited_names = sorted(name for name, service in services.items() if service.is_limited)
    for limit in limits:
        if limit.fits_all_users and not limit.has_limits:
            yield f"request_limits.{limit.name}: the section neither names users nor limits anything"
        for service in limit.services:
            if service not in services:
                suggestion = suggest_spelling(service, services) or f"use one of {', '.join(limited_names)}"
                yield f"request_limits.{limit.name}: there is no service {service!r}; {suggestion}"
            elif not services[service].is_limited:
                yield f"request_limits.{limit.name}: the service {service!r} is never limited; remove its name"
