"""systemd itself runs the units of ``hven deploy``, and restarts the service under load: no request is lost.

systemd-nspawn boots systemd on an overlay of this machine's root file system, which this proof discards.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from switched_servers import build_site, judge_clients, run_clients

from hven.model.settings import load_settings
from hven.plugins.deployment.deployment_files import render_deployment_files
from process_runner import reserve_port, wait_until
from requirements import require_program
from shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs("proof", "root", "mount")]
CLIENTS = 32
RESTARTS = int(os.environ.get("HVEN_RESTARTS") or 5)
REST_SECONDS = 1.0
PAUSE_SECONDS = 3.0
PYTHON_PREFIX = "/opt/python"
TARGET = "hven-proof.target"
TARGET_TEXT = """\
[Unit]
Description=What this proof needs
Requires=sysinit.target
After=sysinit.target
"""


class SystemdContainer:
    """A container in which systemd is the first process."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self._log = directory / "boot.log"
        self._first_process = ""

    @contextlib.contextmanager
    def mount_root(self, changes: Path) -> Iterator[None]:
        """Mount this machine's root file system, with changes in memory."""
        for path in (changes, self.root):
            path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "hven-proof", changes], check=True)
        try:
            for name in ("upper", "work"):
                (changes / name).mkdir()
            options = f"lowerdir=/,upperdir={changes}/upper,workdir={changes}/work"
            subprocess.run(["mount", "-t", "overlay", "hven-proof", "-o", options, self.root], check=True)
            try:
                yield
            finally:
                subprocess.run(["umount", self.root], check=True)
        finally:
            subprocess.run(["umount", "--lazy", changes], check=True)

    @contextlib.contextmanager
    def boot(self, program: str) -> Iterator[None]:
        """Boot, and power off in the end."""
        words = [program, "--quiet", f"--directory={self.root}", "--register=no", "--keep-unit", "--boot"]
        words.append(
            f"--bind-ro={sys.base_prefix}:{PYTHON_PREFIX}"
        )  # it may be in a home directory, which units cannot read
        with self._log.open("wb") as log:
            container = subprocess.Popen(
                [*words, f"systemd.unit={TARGET}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until(lambda: self._find_first_process(container.pid), 120)
            wait_until(lambda: self.run("systemctl", "is-active", TARGET, is_checked=False) == "active", 120)
            yield
        finally:
            container.terminate()  # powers the container off
            container.wait(300)

    def _find_first_process(self, pid: int) -> bool:
        """Find the process 1 of the container; before it, systemd-nspawn has other children."""
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                        self._first_process = child
                        return True
        return False

    def run(self, *words: str, is_checked: bool = True) -> str:
        """Run a command in the container, and return its output."""
        command = ["nsenter", f"--target={self._first_process}", "--all", "--", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not is_checked, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()


def install_site(root: Path, port: int) -> tuple[Path, str]:
    """Install a site and its units in a root file system; return the site and the token of a writer."""
    site = root / "srv/hven"
    token = build_site(site)
    with (site / "hven.toml").open("r+") as settings_file:
        text = settings_file.read()
        settings_file.seek(0)
        settings_file.write(f"port = {port}\n{text}")
    inner_site = Path("/srv/hven")
    for file in render_deployment_files(load_settings(site), "systemd"):
        text = file.text.replace(str(site), str(inner_site))
        (root / "etc/systemd/system" / file.name).write_text(text)
    (root / "etc/systemd/system" / TARGET).write_text(TARGET_TEXT)
    program = root / "opt/hven/bin/hven"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={PYTHON_PREFIX}/lib PYTHONPATH={ROOT / 'src'}:{sysconfig.get_path('purelib')} PYTHONDONTWRITEBYTECODE=1\n"
        f'exec {PYTHON_PREFIX}/bin/python3 -m hven "$@"\n'
    )
    program.chmod(0o755)
    subprocess.run(["chroot", root, "useradd", "--system", "hven"], check=True)
    subprocess.run(["chroot", root, "chown", "-R", "hven:", "/srv/hven"], check=True)
    return site, token


def read_states(container: SystemdContainer, names: Sequence[str]) -> dict[str, str]:
    lines = container.run("systemctl", "show", "hven.service", f"--property={','.join(names)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_systemd_restarts_the_service_without_losing_a_request(tmp_path: Path) -> None:
    program = require_program("systemd-nspawn")
    port = reserve_port()
    container = SystemdContainer(tmp_path)
    with container.mount_root(tmp_path / "changes"):
        site, token = install_site(container.root, port)
        with container.boot(program):
            begin = time.monotonic()
            container.run("systemctl", "start", "hven.socket", "hven.service", is_checked=False)
            assert container.run("systemctl", "is-active", "hven.service", is_checked=False) == "active", container.run(
                "journalctl", "--unit=hven.service", "--lines=40", "--no-pager"
            )
            print(
                f"\nstarted in {time.monotonic() - begin:.1f} s: {container.run('systemctl', '--version').splitlines()[0]}"
            )
            first = read_states(container, ("MainPID", "ActiveState", "User", "ExecStartPost"))
            assert (first["ActiveState"], first["User"]) == ("active", "hven")
            # systemd ignores what this command says, so that a database may be away
            assert " status=0 " in first["ExecStartPost"], first["ExecStartPost"]
            seconds = []
            with run_clients(port, token, CLIENTS, REST_SECONDS) as clients:
                for _ in range(RESTARTS):
                    time.sleep(PAUSE_SECONDS)
                    begin = time.monotonic()
                    container.run("systemctl", "restart", "hven.service")
                    seconds.append(time.monotonic() - begin)
            later = read_states(container, ("MainPID", "ActiveState", "NRestarts", "Result"))
            assert later["MainPID"] != first["MainPID"]
            assert (later["ActiveState"], later["NRestarts"], later["Result"]) == ("active", "0", "success")
            judge_clients(
                clients, site, port, f"{RESTARTS} restarts by systemd of {min(seconds):.1f} to {max(seconds):.1f} s"
            )
            # a killed server comes back, and systemd still has the socket
            container.run("systemctl", "kill", "--signal=KILL", "hven.service")
            wait_until(lambda: read_states(container, ("NRestarts",))["NRestarts"] == "1", 60)
            wait_until(lambda: read_states(container, ("ActiveState",))["ActiveState"] == "active", 120)
            container.run("systemctl", "stop", "hven.service")
            assert read_states(container, ("Result",))["Result"] == "success"
            assert "Deactivated successfully" in container.run("journalctl", "--unit=hven.service", "--lines=20")
