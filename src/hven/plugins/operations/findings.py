"""What an examination of a site finds, and the checks that find it.

Other packages add checks with the extension point ``operations.checks``: a module with a `SiteCheck` under the name
``CHECK``, which gets the open `hven.site.Site`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.errors import Fault

CHECKS_POINT = "operations.checks"
HARMS = ("critical", "error", "warning", "hint")  # the worst first
_COMMAND_PATTERN = re.compile(r"`((?:[A-Z_]+=\S+ )?hven [^`]+)`|^run `([^`]+)`")  # in remedies

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong with a site, or will be.

    Attributes
    ----------
    harm
        ``critical``: data or secrets are in danger, or queries fail; ``error``: readers get old or incomplete data;
        ``warning``: it will do harm; ``hint``: it could be better.
    subject
        What it is about: a collection, a disk, a file.
    message
        What is wrong, and why.
    remedy
        What to do.
    command
        The command that does it, as a user types it; empty if there is none.
    check
        Name of the check that found it.

    Raises
    ------
    ValueError
        There is no such harm.
    """

    harm: str
    subject: str
    message: str
    remedy: str = ""
    command: str = ""
    check: str = ""

    def __post_init__(self) -> None:
        if self.harm not in HARMS:
            raise ValueError(f"{self.harm!r} is not a level of harm; use one of {', '.join(HARMS)}")

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCheck(Generic[T]):
    """A check of a site. It runs in a thread of its own, and must write nothing.

    Attributes
    ----------
    name
        A word for it.
    title
        What it checks, with an article: it continues "There was no time left for ..".
    find
        Yields the findings; it gets the open site, or the settings.
    """

    name: str
    title: str
    find: Callable[[T], Iterable[Finding]]


def convert_fault(fault: Fault, subject: str = "", *, harm: str = "") -> Finding:
    """Convert a fault, as ``hven check`` reports it, to a finding.

    Parameters
    ----------
    fault
        The fault.
    subject
        What it is about; empty: the file that it is in.
    harm
        Its harm; empty: an error or a warning, as the fault says.
    """
    place = fault.place
    location = ":".join(str(part) for part in (place.file, place.line, place.column) if part)
    command = ""
    if command_match := _COMMAND_PATTERN.search(fault.remedy):
        command = command_match[1] or command_match[2]
    return Finding(
        harm=harm or fault.severity,
        subject=subject or location or "hven.toml",
        message=f"{location}: {fault.message}" if subject and location else fault.message,
        remedy=fault.remedy,
        command=command,
    )


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, the most harmful first; those of equal harm stay in their order."""
    return sorted(findings, key=lambda finding: HARMS.index(finding.harm))
