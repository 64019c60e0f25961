"""Run code of curators: import their files, call their functions, and send the results.

Run by `hven.sources.curator_process` alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import json
import mmap
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # of prctl(2): this process dies with the thread that began it


class PandasImportHook:
    """A finder that tells Arrow of pandas as soon as the curator's code imports it; until then Arrow does without.

    Arrow imports pandas itself when it first makes a column of a list or an array, which takes twice the time that this
    process starts in.
    """

    def __init__(self) -> None:
        self._hidden = True
        sys.meta_path.insert(0, self)
        pa.array([0])  # Arrow looks for it in vain, and not again
        self._hidden = False

    def find_spec(self, name: str, *_: Any) -> Any:
        """Find pandas as others do, with a loader that tells Arrow."""
        if name != "pandas":
            return None
        if self._hidden:
            raise ModuleNotFoundError(name)
        sys.meta_path.remove(self)
        spec: Any = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module
            # what needs pandas makes Arrow look again
            spec.loader.exec_module = lambda module: (execute(module), pa.table({}).to_pandas())
        return spec


def main() -> None:
    """Answer requests until the parent closes the connection."""
    channel = Connection(int(sys.argv[1]))
    counter = mmap.mmap(int(sys.argv[2]), 8)
    module: Any = None
    functions: dict[tuple[str, str], Callable[..., Any]] = {}
    while True:
        try:
            # of the process that began this one
            verb, *request_arguments = pickle.loads(channel.recv_bytes())  # noqa: S301
            if verb == "call":
                argument_bytes = channel.recv_bytes()
            else:
                argument_bytes = b""
        except (EOFError, OSError):  # the parent is gone
            return
        path = ""
        if verb != "begin":
            path = str(request_arguments[0])
        try:
            if verb == "begin":
                module = prepare_worker_process(*request_arguments)
                channel.send_bytes(b"O")
            elif verb == "load":
                functions[request_arguments[0], request_arguments[1]] = load_curator_function(
                    request_arguments[0], request_arguments[1]
                )
                channel.send_bytes(b"O")
            elif verb == "call":
                function = functions[request_arguments[0], request_arguments[1]]
                arguments = pa.ipc.open_stream(argument_bytes).read_next_batch().columns
                channel.send_bytes(encode_answer(function(*arguments)))
            else:
                module.send_function_rows(channel, counter, *request_arguments[1:])
        except BaseException as error:  # noqa: BLE001  (whatever the code raises is told, sys.exit too)
            message = json.dumps(describe_error(error, path))
            try:
                channel.send_bytes(b"E" + message.encode())
            except OSError:  # the parent is gone, and wants no answer
                return


def prepare_worker_process(
    parent_pid: int,
    is_main_thread: bool,
    import_paths: list[str],
    memory_limit_bytes: int,
    support_module_name: str | None,
) -> Any:
    """Set the limits, and end when the parent does; return the module that is needed beside the curator's file."""
    sys.path[:] = import_paths
    PandasImportHook()
    if support_module_name is not None:
        support_module = importlib.import_module(support_module_name)
    else:
        support_module = None
    sys.dont_write_bytecode = True
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not every system has it)

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
    if is_main_thread:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def end_with_parent() -> None:
        while os.getppid() == parent_pid:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    return support_module


def load_curator_function(path: str, name: str) -> Callable[..., Any]:
    """Import a file, which may import its neighbours, and find its function."""
    place, file = os.path.split(path)
    spec = importlib.util.spec_from_file_location(f"hven_beside_{file.removesuffix('.py')}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, place)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise LookupError(f"{file} has no function {name!r}")  # noqa: TRY004  (it is looked for by its name)
    return function  # type: ignore[no-any-return]


def encode_answer(values: Any) -> bytes:
    """Write an answer: a column, or the name of the type of something else."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        return b"V" + type(values).__name__.encode()
    batch = pa.RecordBatch.from_arrays([values], names=["answer"])
    sink = pa.BufferOutputStream()
    sink.write(b"A")
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()  # type: ignore[no-any-return]


def describe_error(error: BaseException, path: str) -> dict[str, Any]:
    """Describe an error with the deepest line of the curator's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if isinstance(error, LookupError) and not lines:
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    if lines:
        line = lines[-1]
    elif isinstance(error, SyntaxError):
        line = error.lineno
    else:
        line = None
    return {"text": text, "line": line, "memory": isinstance(error, MemoryError)}


if __name__ == "__main__":
    main()
