"""Groups of checks. The checks of a group run together, because they need the same answers of the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.plugins.lint.findings import FindingCollector, LintCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGroup:
    """Checks that run together, for services of one `protocol`. `run` may only report findings of its own `checks`."""

    name: str
    title: str
    checks: tuple[LintCheck, ...]
    run: Callable[[Any, FindingCollector], None]
    protocol: str = "tap"
