"""Let one thread at a time build Python's syntax trees, where the interpreter mixes up those of several threads.

`numpy` reads the shape in a type such as ``(3,2)f8`` and the header of a `.npy` file by `ast.literal_eval`, and so do
`astropy` and `cdflib`, which call it for each column. CPython before 3.11.8, and 3.12.0 and 3.12.1, count the depth of
all trees that are being built in one counter (gh-106905). If the garbage collector lets another thread run in between,
both raise a `SystemError`, and a file that is whole looks damaged.
"""

from __future__ import annotations

import ast
import os
import sys
import threading
from functools import wraps
from typing import Any


def has_shared_ast_depth_counter(version: tuple[int, int, int]) -> bool:
    """Return whether a version of CPython counts the depth of all threads' trees in one counter."""
    return (3, 11) <= version < (3, 11, 8) or (3, 12) <= version < (3, 12, 2)


def patch_ast_parse_with_lock() -> None:
    """Replace `ast.parse`, which `ast.literal_eval` calls, by a function that holds a lock."""
    parse = ast.parse
    lock = threading.RLock()  # reentrant: the collector may run a finalizer that parses

    @wraps(parse)
    def parse_alone(*arguments: Any, **named: Any) -> Any:
        with lock:
            return parse(*arguments, **named)

    def renew_lock() -> None:
        """Replace the lock in a forked child, where the thread that holds it does not exist."""
        nonlocal lock
        lock = threading.RLock()

    os.register_at_fork(after_in_child=renew_lock)
    ast.parse = parse_alone


if has_shared_ast_depth_counter(sys.version_info[:3]):
    patch_ast_parse_with_lock()
