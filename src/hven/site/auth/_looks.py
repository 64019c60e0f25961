"""Looks at files that are not everybody's: each is written into the log of rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.site.auth._permit import ANONYMOUS, alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.site.auth._permit import Policy, Reader
    from hven.site.store import Store


def looked(
    store: Store, who: Reader, what: str, path: str, files: Table, named: Sequence[Table], policies: Sequence[Policy]
) -> None:
    """Write down that somebody was given a file, or what it says of itself, if not everybody is.

    Parameters
    ----------
    store
        Of the site.
    who
        The reader.
    what
        They did, in two words.
    path
        Of the file.
    files
        The collection's table of files.
    named
        Those of its tables whose policy says who takes the files that their rows name.
    policies
        What readers may see.
    """
    rights = [(table.rights, str(table.policy.path)) for table in named if table.policy and table.rights]
    shut = any(one.locked(ANONYMOUS, {column: path}) for one, column in rights)
    if who.person and (shut or not (named or alike(files, who, policies))):
        seen = {"as": who.name or "anonymous"} if who.by else {}
        store.grants.note(who.person, what, files.schema, {"file": path, **seen})
