"""The validator of any TAP, EPN-TAP, ObsCore or HAPI service, over its public faces only; it shares nothing with ingest's checks but facts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hven.lint.client import Limits, Unjudgeable
from hven.lint.findings import SEVERITIES, Check, Finding, Notes, Report
from hven.lint.groups import GROUPS
from hven.lint.hapi_server import Server
from hven.lint.service import Service
from hven.model.errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.lint.group import Group

__all__ = ["GROUPS", "SEVERITIES", "Check", "Finding", "Limits", "Report", "lint"]


def lint(
    url: str, *, only: Sequence[str] = (), limits: Limits | None = None, progress: Callable[[str], None] | None = None
) -> Report:
    """Judge a service.

    Parameters
    ----------
    url
        Base address of a TAP service, or of the site whose ``/tap`` it is; of a HAPI server, which ends in ``/hapi``.
    only
        Groups (``epn``) or codes (``epn.ucd``); empty: all.
    limits
        Of requests, rows and seconds; None: the usual ones.
    progress
        Called with the title of each group as it begins.

    Returns
    -------
    Report
        `judged` is False, with the `reason`, where there is nothing that could be judged.

    Raises
    ------
    UsageError
        `only` names no group and no code.
    """
    chosen = _chosen(only)
    begun = time.monotonic()
    try:
        service: Service | Server = (Server if url.rstrip("/").endswith("/hapi") else Service)(url, limits or Limits())
    except Unjudgeable as error:
        return Report(url=url, judged=False, reason=str(error), seconds=time.monotonic() - begun)
    chosen = tuple(group for group in chosen if group.protocol == service.protocol)
    notes = Notes(check for group in chosen for check in group.checks)
    for group in chosen:
        notes.group = group.name
        if progress is not None:
            progress(group.title)
        try:
            group.run(service, notes)
        except UserError as error:
            notes.skip(error.message)
    wanted = set(only)
    found = tuple(one for one in notes.findings if not wanted or wanted & {one.code, one.code.partition(".")[0]})
    return Report(
        url=service.url,
        judged=True,
        tap=service.version if isinstance(service, Service) else "",
        adql=service.capabilities.adql if isinstance(service, Service) else (),
        hapi=service.version if isinstance(service, Server) else "",
        groups=tuple(group.name for group in chosen),
        findings=tuple(sorted(found, key=lambda one: -SEVERITIES.index(one.severity))),
        looked=tuple(service.looked),
        unjudged=tuple(notes.unjudged),
        requests=service.client.sent,
        seconds=time.monotonic() - begun,
        counts={severity: sum(one.severity == severity for one in found) for severity in reversed(SEVERITIES)},
    )


def _chosen(only: Sequence[str]) -> tuple[Group, ...]:
    names = {name for group in GROUPS for name in (group.name, *(check.code for check in group.checks))}
    strange = [word for word in only if word not in names]
    if strange:
        raise UsageError(
            f"--only {strange[0]}: there is no such group or code",
            remedy="groups are " + ", ".join(one.name for one in GROUPS),
        )
    wanted = {word.partition(".")[0] for word in only}
    return tuple(group for group in GROUPS if not wanted or group.name in wanted)
