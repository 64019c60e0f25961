"""Supervise a program for a worker: set limits, start it, and leave no process of it behind.

It runs alone (``python -I -S _process_supervisor.py``) and imports nothing of Hven, so that it starts in a few
milliseconds. Its standard input is a pipe that the worker holds. When the pipe closes, because the worker closes it or
dies, all processes below are killed. It ends with the exit code of the program; a signal becomes 128 + its number.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = (
    36  # of prctl(2): what the program leaves behind becomes our child, also what has a session of its own
)
PR_SET_PDEATHSIG = 1  # of prctl(2): the program dies with us
TERMINATION_GRACE_SECONDS = 0.2  # seconds between SIGTERM and SIGKILL
SESSION_NICENESS = 10  # as `hven.model.deadlines` has it
EXIT_CANNOT_START = 127  # the program cannot be started


def main() -> int:
    """Run the program that the first argument describes."""
    request = json.loads(sys.argv[1])
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux the group must do
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ended_read, ended_write = os.pipe()
    os.set_blocking(ended_write, False)
    signal.set_wakeup_fd(ended_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child == 0:
        _execute_program(request)
    status = None
    while status is None:
        ready, _, _ = select.select([0, ended_read], [], [])
        if 0 in ready and not os.read(0, 1):
            break
        if ended_read in ready:
            os.read(ended_read, 4096)
        status = _collect_ended_children(child)
    exit_status = _kill_descendants(child, status, immediately=status is not None)
    if os.WIFSIGNALED(exit_status):
        return 128 + os.WTERMSIG(exit_status)
    return os.WEXITSTATUS(exit_status)


def _execute_program(request: dict[str, object]) -> None:
    """Become the program: a group of its own, limits, no standard input but a file that was named."""
    try:
        os.setsid()
        _reduce_session_priority()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        # Python had others, which a program would inherit
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(str(request.get("stdin", os.devnull)), os.O_RDONLY), 0)
        os.closerange(3, 256)
        for name, value in request["limits"].items():  # type: ignore[attr-defined]
            resource.setrlimit(getattr(resource, name), (value, value))
        argv: list[str] = request["argv"]  # type: ignore[assignment]
        os.execve(argv[0], argv, request["environment"])  # type: ignore[arg-type]  # noqa: S606
    except OSError as error:
        os.write(2, f"the program cannot be started: {error.strerror}\n".encode())
    os._exit(EXIT_CANNOT_START)


def _reduce_session_priority() -> None:
    """Lower this session as `hven.model.deadlines.reduce_session_priority` does: to who began it."""
    steps = min(SESSION_NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
    with contextlib.suppress(OSError):
        for _ in range(20 if steps > 0 else 0):
            # this starts quickly
            with contextlib.suppress(BlockingIOError), open("/proc/self/autogroup", "w") as session:  # noqa: PTH123
                session.write(str(steps))
                session.flush()
                return
            time.sleep(0.05)


def _collect_ended_children(child: int) -> int | None:
    """Reap whoever has died; return the status of the program if it was among them."""
    child_status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                child_status = status
    return child_status


def _kill_descendants(child: int, status: int | None, *, immediately: bool) -> int:
    """Kill the program's group, and every process that came of it."""
    if not immediately:
        _send_signal(-child, signal.SIGTERM)
        select.select([], [], [], TERMINATION_GRACE_SECONDS)
    _send_signal(-child, signal.SIGKILL)
    while True:
        for pid in _list_child_pids():
            _send_signal(pid, signal.SIGKILL)
        try:
            pid, exit_status = os.waitpid(-1, 0)
        except ChildProcessError:
            if status is None:
                return signal.SIGKILL
            return status
        if pid == child:
            status = exit_status


def _list_child_pids() -> list[int]:
    try:
        # starts quicker without pathlib
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _send_signal(pid: int, signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal_number)


if __name__ == "__main__":
    sys.exit(main())
