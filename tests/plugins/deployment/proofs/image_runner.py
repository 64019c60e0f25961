"""Run a root file system with crun as a container engine runs the image: read-only, without rights, as its user."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# crun needs version 2 of control groups, which this machine may have beside version 1
MOUNT_CONTROL_GROUPS = "umount --lazy /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "
CRUN_COMMAND = ("crun", "--cgroup-manager=disabled")


class ContainerOfImage:
    """A container with the network of this machine, and without any capability.

    Parameters
    ----------
    directory
        Directory for its configuration.
    root
        The root file system.
    site
        The site, which is mounted at /site; only its directory ``var`` can be written.
    """

    def __init__(self, directory: Path, root: Path, site: Path, environment: Mapping[str, str], user_id: int) -> None:
        directory.mkdir()
        self._directory = directory
        self._user = f"{user_id}:{user_id}"
        self.name = f"hven-proof-{directory.stat().st_ino}"
        subprocess.run([CRUN_COMMAND[0], "spec"], cwd=directory, check=True)
        configuration = json.loads((directory / "config.json").read_text())
        configuration["root"] = {"path": str(root), "readonly": True}
        configuration["process"] |= {
            "terminal": False,
            "cwd": "/site",
            "user": {"uid": user_id, "gid": user_id},
            "env": [f"{name}={value}" for name, value in environment.items()],
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [],
        }
        namespaces = configuration["linux"]["namespaces"]
        configuration["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "network"]
        configuration["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
            {"destination": "/site", "type": "bind", "source": str(site), "options": ["rbind", "ro"]},
            {"destination": "/site/var", "type": "bind", "source": str(site / "var"), "options": ["rbind", "rw"]},
        ]
        self._configuration = configuration

    def start(self, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start the first process of the container."""
        self._configuration["process"]["args"] = list(words)
        (self._directory / "config.json").write_text(json.dumps(self._configuration))
        command = [*CRUN_COMMAND, "run", "--bundle", str(self._directory), self.name]
        with log.open("ab") as file:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", MOUNT_CONTROL_GROUPS + '"$@"', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another process in the container, as `podman exec` does."""
        command = [*CRUN_COMMAND, "exec", f"--user={self._user}", self.name, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def send_signal(self, name: str) -> None:
        """Send a signal to the first process, as `podman stop` does."""
        subprocess.run([*CRUN_COMMAND, "kill", self.name, name], check=True)
