"""Several threads read types with a shape at once, as `cdflib`, `astropy` and the headers of `.npy` files have them."""

from __future__ import annotations

import ast
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hven import _ast_lock

THREADS, ROUNDS = 6, 6000


class _Cycle:
    """Garbage whose finalizer is Python code, in which the interpreter changes threads."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(20):
            pass


@pytest.fixture
def busy_collector() -> Iterator[None]:
    """Collect garbage, and change threads, as often as the interpreter can: what happens once in many runs happens at once."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


def run_in_threads(work: Callable[[], object], rounds: int) -> list[Exception]:
    """Repeat work in several threads; give what was raised."""
    faults: list[Exception] = []

    def repeat() -> None:
        for _ in range(rounds):
            _Cycle()
            try:
                work()
            except Exception as fault:  # noqa: BLE001  (all of them are shown)
                faults.append(fault)

    threads = [threading.Thread(target=repeat) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


@pytest.mark.usefixtures("busy_collector")
def test_types_with_a_shape_are_read_in_several_threads() -> None:
    assert run_in_threads(lambda: np.dtype(">(3,1)f8"), ROUNDS) == []


def test_a_child_parses_although_a_thread_of_its_parent_held_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every version, so that the lock is tried where it is not needed, too."""
    parse = getattr(ast.parse, "__wrapped__", ast.parse)
    entered, leave = threading.Event(), threading.Event()

    def parse_slowly(*arguments: object, **named: object) -> object:
        if arguments[0] == "slow":
            entered.set()
            leave.wait(60)
        return parse(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(ast, "parse", parse_slowly)
    _ast_lock.patch_ast_parse_with_lock()
    thread = threading.Thread(target=ast.parse, args=("slow",))
    thread.start()
    assert entered.wait(60)
    pid = os.fork()
    if not pid:
        os._exit(0 if ast.literal_eval("(1, 2)") == (1, 2) else 1)
    leave.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(
    ("version", "affected"),
    [((3, 11, 2), True), ((3, 11, 7), True), ((3, 11, 8), False), ((3, 12, 1), True), ((3, 12, 2), False), ((3, 13, 0), False)],
)  # fmt: skip
def test_versions_without_the_fault_keep_their_own_function(version: tuple[int, int, int], affected: bool) -> None:
    assert _ast_lock.has_shared_ast_depth_counter(version) is affected
