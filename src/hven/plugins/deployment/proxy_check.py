"""The check of the doctor that a server on Kubernetes knows its proxies: otherwise it can't tell users apart."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING

from hven.plugins.operations.findings import Finding, SiteCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site import Site

KUBERNETES_VARIABLE = "KUBERNETES_SERVICE_HOST"  # Kubernetes sets it in each container


def _find_unknown_proxies(site: Site) -> Iterator[Finding]:
    """Report a server on Kubernetes that believes X-Forwarded-For only if it comes from its own machine."""
    proxies = site.settings.trusted_proxies
    if KUBERNETES_VARIABLE in os.environ and all(ipaddress.ip_network(proxy).is_loopback for proxy in proxies):
        yield Finding(
            harm="warning",
            subject="trusted_proxies",
            message="all users without an account count as one, because trusted_proxies does not name the ingress",
            remedy="set HVEN_TRUSTED_PROXIES to the network of the ingress in hven.yaml, then apply the file",
            command="kubectl get pods --all-namespaces --output wide",
        )


CHECK: SiteCheck[Site] = SiteCheck(name="proxies", title="the network of the proxies", find=_find_unknown_proxies)
