"""The process that runs a curator's code ends without a word when its parent is gone."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import hven.sources

WORKER_SCRIPT = Path(hven.sources.__file__).with_name("_curator_worker.py")


def test_a_parent_that_closes_before_the_answer_is_no_error():
    ours, theirs = socket.socketpair()
    with theirs, tempfile.TemporaryFile() as shared:
        shared.write(bytes(8))
        shared.flush()
        process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER_SCRIPT), str(theirs.fileno()), str(shared.fileno())],
            pass_fds=(theirs.fileno(), shared.fileno()),
            stderr=subprocess.PIPE,
        )
    channel = Connection(ours.detach())
    channel.send_bytes(pickle.dumps(("load", "nowhere.py", "rows")))
    channel.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
