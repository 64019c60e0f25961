"""Root: where files of a collection lie, if not beside its descriptor, and which of its paths lead there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_URL_PATTERN = re.compile(r"([a-z][a-z0-9+.-]*)://.", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRoot:
    """A directory, or an address, below which files of a collection lie.

    Attributes
    ----------
    path_prefix
        What their paths begin with in the collection, without a slash at its end; empty: nothing.
    address
        A directory, relative to the descriptor's; or ``https://..``, ``ftp://..``, ``s3://..``. Empty: beside the
        descriptor.
    options
        Options of a store elsewhere; ``$NAME`` is a secret's.
    redirects_clients
        Readers are led to the address itself; else its bytes come through this site.
    """

    path_prefix: str = ""
    address: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    redirects_clients: bool = False

    @property
    def scheme(self) -> str | None:
        """``https``, ``ftp``, ``s3`` ..; None: a directory."""
        if self.address:
            match = _URL_PATTERN.match(self.address)
        else:
            match = None
        if match is None:
            return None
        return match[1].lower()


def find_file_root_and_relative_path(path: str, roots: Sequence[FileRoot]) -> tuple[FileRoot, str]:
    """Find where a file lies: its root, and its path below this.

    Parameters
    ----------
    path
        As the collection's table of files has it.
    roots
        Roots of the collection; none of them: beside the descriptor.

    Returns
    -------
    root, path
        The root with the longest `FileRoot.path_prefix`.
    """
    if not roots:  # asked of each of thousands of files
        return _DESCRIPTOR_ROOT, path
    if len(roots) == 1 and not roots[0].path_prefix:
        return roots[0], path
    longest_root: FileRoot | None = None
    for root in roots:
        if (not root.path_prefix or path.startswith(root.path_prefix + "/")) and (
            longest_root is None or len(root.path_prefix) > len(longest_root.path_prefix)
        ):
            longest_root = root
    if longest_root is None:
        return _DESCRIPTOR_ROOT, path
    return longest_root, path[len(longest_root.path_prefix) + 1 :] if longest_root.path_prefix else path


_DESCRIPTOR_ROOT = FileRoot()
