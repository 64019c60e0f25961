"""Root: where files of a collection lie, if not beside its descriptor, and which of its paths lead there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://.", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A directory, or an address, below which files of a collection lie.

    Attributes
    ----------
    at
        What their paths begin with in the collection, without a slash at its end; empty: nothing.
    address
        A directory, relative to the descriptor's; or ``https://..``, ``ftp://..``, ``s3://..``. Empty: beside the descriptor.
    options
        Of a store elsewhere; ``$NAME`` is a secret's.
    direct
        Readers are led to the address itself; else its bytes come through this site.
    """

    at: str = ""
    address: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    direct: bool = False

    @property
    def scheme(self) -> str | None:
        """``https``, ``ftp``, ``s3`` ..; None: a directory."""
        found = _ADDRESS.match(self.address) if self.address else None
        return None if found is None else found[1].lower()


def rooted(path: str, roots: Sequence[Root]) -> tuple[Root, str]:
    """Find where a file lies: its root, and its path below this.

    Parameters
    ----------
    path
        As the collection's table of files has it.
    roots
        Of the collection; none of them: beside the descriptor.

    Returns
    -------
    root, path
        The root with the longest `Root.at`.
    """
    if not roots:  # asked of each of thousands of files
        return _BESIDE, path
    if len(roots) == 1 and not roots[0].at:
        return roots[0], path
    found: Root | None = None
    for one in roots:
        if (not one.at or path.startswith(one.at + "/")) and (found is None or len(one.at) > len(found.at)):
            found = one
    if found is None:
        return _BESIDE, path
    return found, path[len(found.at) + 1 :] if found.at else path


_BESIDE = Root()
