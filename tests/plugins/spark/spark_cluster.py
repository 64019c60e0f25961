"""A local Spark cluster for tests: a master, two workers of one core and 1 GiB, and the Connect server.

All programs listen on loopback only and stop by themselves.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import coverage_recorder
from process_runner import reserve_port, wait_until
from requirements import require
from shared import ROOT

HOME = ROOT / ".cache" / "spark" / "pyspark"
JVM = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true"


# the programs die with the tests; executors end with their worker
KILL_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


def find_spark() -> Path:
    """Find Spark: the package `pyspark` in a folder of its own, because the client package has the same name."""
    found = Path(os.environ.get("HVEN_SPARK") or HOME)
    require("spark", "java")
    return found


class LocalSpark:
    """The cluster, whose programs can be killed, stopped and started again.

    Parameters
    ----------
    python
        The Python of the workers; by default this one, which has Hven.
    local
        The directory for temporary files of workers.
    """

    called = r"Spark 4\.\d"  # by `hven check`
    blind = "the Connect server, "  # the program, beside the workers, that reports a missing root directory

    def __init__(self, directory: Path, python: str = sys.executable, local: Path | None = None, **conf: str) -> None:
        self.directory = directory
        self._home = find_spark()
        self._master, self._port = reserve_port(), reserve_port()
        self.url = f"sc://127.0.0.1:{self._port}"
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(directory), "SPARK_HOME": str(self._home), "SPARK_LOCAL_IP": "127.0.0.1", "LANG": "C.UTF-8",
            "SPARK_CONF_DIR": str(directory), "SPARK_LOCAL_DIRS": str(local or directory / "local"), "SPARK_WORKER_DIR": str(directory / "work"),
            "SPARK_DAEMON_JAVA_OPTS": f"{JVM} -Djava.io.tmpdir={directory}", "PYSPARK_PYTHON": python, "OMP_NUM_THREADS": "1",
            "HVEN_SPARK_CLUSTER": str(directory),
            # workers run functions of Hven that a recorded process marked: they have to find its map
            **{name: os.environ[name] for name in (coverage_recorder.FOLDER_VARIABLE, coverage_recorder.MODULE_VARIABLE) if name in os.environ},
        }  # fmt: skip
        self._conf = {
            "spark.master": f"spark://127.0.0.1:{self._master}", "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(self._port), "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "1g", "spark.executor.memory": "700m", "spark.executor.cores": "1", "spark.cores.max": "2", "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2", "spark.driver.extraJavaOptions": f"{JVM} -Djava.io.tmpdir={directory}", "spark.executor.extraJavaOptions": f"{JVM} -Djava.io.tmpdir={directory}",
            "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000", "spark.sql.warehouse.dir": str(directory / "warehouse"), "spark.python.worker.reuse": "true",
            "spark.pyspark.python": python, "spark.sql.artifact.isolation.enabled": "false",
            "spark.executor.processTreeMetrics.enabled": "false", "spark.eventLog.enabled": "false",
            # compiled loops do not check for interruption: kill the executor of a task that does not end
            "spark.task.reaper.enabled": "true", "spark.task.reaper.pollingInterval": "100ms", "spark.task.reaper.killTimeout": "500ms",
            # operations of a client that is gone end soon, not after five minutes
            "spark.connect.execute.manager.detachedTimeout": "4s", "spark.connect.execute.manager.maintenanceInterval": "1s",
            "spark.connect.execute.reattachable.senderMaxStreamDuration": "3s",
            # a stopped session can be stopped again with its new operations
            "spark.connect.execute.manager.abandonedTombstonesSize": "0", "spark.connect.session.inactiveOperations.cacheExpiration": "0s",
            **conf,
        }  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log4j2.properties").write_text(
            "rootLogger.level = warn\nrootLogger.appenderRef.stdout.ref = console\n"
            "appender.console.type = Console\nappender.console.name = console\nappender.console.target = SYSTEM_ERR\n"
            "appender.console.layout.type = PatternLayout\nappender.console.layout.pattern = %d %p %c: %m%n%ex\n",
            encoding="utf-8",
        )

    def _start_program(self, name: str, *words: object) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                [*KILL_WITH_PARENT, str(self._home / "bin" / "spark-class"), *map(str, words)],
                # of the Connect server this is the driver's memory, too
                env=self._environment | {"SPARK_DAEMON_MEMORY": "1g" if name == "connect" else "256m"},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start all programs and wait until the Connect server listens."""
        deploy = "org.apache.spark.deploy"
        self._start_program(
            "master", f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", self._master, "--webui-port", 0
        )
        wait_for_port(self._master, self)
        self.start_worker("one")
        self.start_worker("two")
        self.start_connect_server()

    def start_worker(self, name: str) -> None:
        """Start a worker."""
        self._start_program(f"worker-{name}", "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", 1, "--memory", "1g", "--webui-port", 0, "--work-dir",
                  self.directory / f"work-{name}", self._conf["spark.master"])  # fmt: skip

    def start_connect_server(self) -> None:
        """Start the Connect server and wait until it listens."""
        conf = [word for key, value in self._conf.items() for word in ("--conf", f"{key}={value}")]
        connect = "org.apache.spark.sql.connect.service.SparkConnectServer"
        self._start_program(
            "connect", "org.apache.spark.deploy.SparkSubmit", *conf, "--class", connect, "spark-internal"
        )
        wait_for_port(self._port, self)

    def kill_worker(self) -> None:
        """Kill one of the executors."""
        os.kill(self.wait_for_executor(), signal.SIGKILL)

    def executors(self, worker: str = "") -> list[int]:
        """List the executors of one worker or of all."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                here = str(self.directory).encode() in (path / "environ").read_bytes()
                if here and b"org.apache.spark.executor.CoarseGrainedExecutorBackend" in words:
                    found += [int(path.name)] * (f"work-{worker}" in str((path / "cwd").readlink()))
            except OSError:  # it has ended, or belongs to another user
                continue
        return found

    def wait_for_executor(self, worker: str = "") -> int:
        """Wait for an executor and return it."""
        wait_until(lambda: self.executors(worker))
        return self.executors(worker)[0]

    def read_ticks(self) -> dict[str, int]:
        """Read the processor time of each executor thread that computes tasks, in hundredths of a second.

        Other threads are left out, because a starting executor is busy, too.
        """
        found = {}
        for process in self.executors():
            for path in Path(f"/proc/{process}/task").glob("*/stat"):
                try:
                    name, words = path.read_text(encoding="ascii", errors="replace").rpartition(")")[::2]
                except OSError:
                    continue
                if "(Executor task" in name:
                    found[path.parent.name] = sum(map(int, words.split()[11:13]))
        return found

    def kill_program(self, name: str) -> None:
        """Kill a program and what it started, as a crash of its machine does."""
        program = self.programs.pop(name)
        if name.startswith("worker-"):
            for executor in self.executors(name.removeprefix("worker-")):
                os.kill(executor, signal.SIGKILL)
        program.send_signal(signal.SIGKILL)
        program.wait(30)

    def stop(self) -> None:
        """Stop all programs."""
        for executor in self.executors():
            _kill_process(executor)
        for program in self.programs.values():
            _kill_process(program.pid)
            program.wait(30)
        self.programs.clear()
        for executor in self.executors():  # a worker may have started another one
            _kill_process(executor)


def count_ticks(before: dict[str, int], after: dict[str, int]) -> int:
    """Count the hundredths of a second between two results of `LocalSpark.read_ticks`."""
    return sum(now - before.get(thread, 0) for thread, now in after.items())


def _kill_process(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


class StartedPrograms(Protocol):
    """Started programs and the directory of their logs."""

    directory: Path
    programs: dict[str, subprocess.Popen[bytes]]


def wait_for_port(port: int, started: StartedPrograms, seconds: float = 120) -> None:
    """Wait until a program listens at a port."""
    end = time.monotonic() + seconds
    waiting = threading.Event()
    while True:
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        dead = [name for name, program in started.programs.items() if program.poll() is not None]
        if dead or time.monotonic() > end:
            log = (started.directory / f"{(dead or ['connect'])[0]}.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"it did not start: {log[-3000:]}")
        waiting.wait(0.1)


@contextmanager
def run_cluster(**options: Any) -> Iterator[LocalSpark]:
    """Run a cluster."""
    find_spark()
    directory = Path(tempfile.mkdtemp(prefix="spark-"))
    found = LocalSpark(directory, **options)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(directory, ignore_errors=True)
