"""Build the image's root file system by the lines of the Containerfile, and run a site in it.

No base image can be fetched from a registry in a test, so mmdebstrap builds one from Debian's packages, and each RUN line is
executed in a chroot. HVEN_IMAGE_MOUNTS lists directories with packages that pip uses on this machine, separated by colons.
HVEN_IMAGE_BASE is a directory with such a base, if you have one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from image_runner import ContainerOfImage
from switched_servers import ROWS, SUM_QUERY, MixedClient, build_site

from hven.model.settings import load_settings
from hven.plugins.deployment.deployment_files import render_deployment_files
from process_runner import reserve_port, wait_until
from requirements import require, require_program
from shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs("proof", "root", "mount")]
MAX_MEGABYTES = 400  # pyarrow, DuckDB and NumPy have 190 of them
USER_ID = 10001
MISSING_MODULE_PROGRAM = """
import sys
from hven.model import errors, plugins
try:
    plugins.require_modules("this file", sys.argv[1])
except errors.UserError as error:
    print(error, error.remedy)
"""
EXCLUDED_PATHS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
PIP_FILES = ("etc/pip.conf", "etc/xdg/pip", "root/.config/pip", "etc/ssl/certs/ca-certificates.crt", "etc/resolv.conf")


class ImageBuilder:
    """Executes the instructions of a Containerfile with several stages."""

    def __init__(self, containerfile: str, context: Path, base: Path, directory: Path) -> None:
        self._lines = re.sub(r"\\\n", " ", re.sub(r"^ *#.*\n", "", containerfile, flags=re.MULTILINE)).splitlines()
        self._context = context
        self._base = base
        self._directory = directory
        self.settings: dict[str, list[str]] = {}
        self.environment: dict[str, str] = {}

    def build(self) -> Path:
        """Build all stages, and return the root of the last one."""
        stages: dict[str, Path] = {}
        root, work = self._base, "/"
        for line in filter(None, map(str.strip, self._lines)):
            instruction, _, rest = line.partition(" ")
            words = shlex.split(rest) if instruction != "RUN" else []
            if instruction == "FROM":
                name = words[2] if len(words) == 3 else "last"
                root, work = self._directory / name, "/"
                if words[0] == "scratch":
                    root.mkdir()
                else:
                    subprocess.run(["cp", "-a", self._base, root], check=True)
                stages[name] = root
                self.environment = {}
            elif instruction == "RUN":
                run_in_root(root, f"cd {work} && {rest}", self.environment)
            elif instruction == "WORKDIR":
                work = words[0]
                (root / work.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                source = self._context
                if words[0].startswith("--from="):
                    source = stages[words.pop(0).removeprefix("--from=")]
                for name in words[:-1]:
                    target = root / words[-1].lstrip("/") if words[-1].startswith("/") else root / work.lstrip("/")
                    path = source / name.lstrip("/")
                    # of a directory, its content is copied
                    subprocess.run(["cp", "-a", f"{path}/." if path.is_dir() else path, target], check=True)
            elif instruction in {"ARG", "ENV"}:
                self.environment |= dict(word.split("=", 1) for word in words)
            elif instruction in {"ENTRYPOINT", "CMD"}:
                self.settings[instruction] = json.loads(rest)
            else:
                assert instruction in {"LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}, line
                self.settings[instruction] = words
        return root


@contextlib.contextmanager
def mount_in_root(root: Path) -> Iterator[None]:
    """Mount /proc and /dev, and the directories of HVEN_IMAGE_MOUNTS."""
    places = ["/proc", "/dev", *filter(None, os.environ.get("HVEN_IMAGE_MOUNTS", "").split(":"))]
    with contextlib.ExitStack() as stack:
        for place in places:
            target = root / place.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--rbind", place, target], check=True)
            subprocess.run(["mount", "--make-rslave", target], check=True)
            stack.callback(subprocess.run, ["umount", "--recursive", "--lazy", target], check=True)
        yield


def run_in_root(root: Path, command: str, variables: Mapping[str, str]) -> None:
    """Run a shell command with the network of this machine, and with its settings of pip."""
    added = []
    for name in PIP_FILES:
        source, target = Path("/") / name, root / name
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aL", source, target], check=True)
            added.append(target)
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http", "https"))}
    environment |= {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
    } | variables
    with mount_in_root(root):
        done = subprocess.run(
            ["chroot", str(root), "/bin/sh", "-c", command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    for target in added:
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def measure_megabytes(root: Path) -> float:
    """Add up the sizes of all files, as `podman image ls` shows them."""
    sizes = (path.lstat() for path in root.rglob("*"))
    return sum(entry.st_size for entry in sizes if stat.S_ISREG(entry.st_mode)) / 1e6


def test_the_image_runs_a_site(tmp_path: Path) -> None:
    require("proof", "root", "mount")
    program = require_program("mmdebstrap")
    require_program("crun")
    site = tmp_path / "site"
    build_site(site)
    context = tmp_path / "context"
    context.mkdir()
    files = {file.name: file.text for file in render_deployment_files(load_settings(site), "container")}
    for name, text in files.items():
        (context / name).write_text(text)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--directory", context, "--target", "wheel"], cwd=ROOT, check=True)  # fmt: skip
    base = Path(os.environ.get("HVEN_IMAGE_BASE") or tmp_path / "base")
    if not base.exists():
        options = [f"--dpkgopt=path-exclude={path}" for path in EXCLUDED_PATHS]
        subprocess.run([program, "--quiet", "--variant=minbase", *options, "bookworm", base], check=True)
    builder = ImageBuilder(files["Containerfile"], context, base, tmp_path)
    root = builder.build()
    megabytes = measure_megabytes(root)
    print(f"\nroot file system: {megabytes:.1f} MB, of these /opt/hven {measure_megabytes(root / 'opt/hven'):.1f} MB")
    components = json.loads((root / "opt/hven/sbom.json").read_text())["components"]
    assert {"hven", "pyarrow", "duckdb"} <= {component["name"] for component in components}
    # the server runs as the image's user, on the image's site, in a read-only root file system
    subprocess.run(["chown", "-R", f"{USER_ID}:{USER_ID}", site], check=True)
    assert builder.settings["USER"] == [f"{USER_ID}:{USER_ID}"]
    port = reserve_port()
    words = [word.replace("8080", str(port)) for word in builder.settings["ENTRYPOINT"] + builder.settings["CMD"]]
    container = ContainerOfImage(tmp_path / "container", root, site, builder.environment, USER_ID)
    log = tmp_path / "image.log"
    begin = time.monotonic()
    server = container.start(words, log)
    try:
        wait_until(lambda: container.execute("/bin/true").returncode == 0 or server.poll() is not None, 60)
        hven = "/opt/hven/bin/hven"
        done = container.execute(hven, "--site", "/site", "ready", f"http://127.0.0.1:{port}", "--wait", "300")
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        print(f"ready after {time.monotonic() - begin:.1f} s; writes compiled modules to /tmp")
        client = MixedClient(port, "", 0, stop_event=None)  # type: ignore[arg-type]
        assert client.ask(SUM_QUERY) == [[45 * ROWS // 10]]
        client.run_job()
        client.close()
        refused = container.execute("/bin/touch", "/opt/hven/new")
        assert "Read-only file system" in refused.stderr
        for extra in ("rasterio", "h5py"):
            checked = container.execute("/opt/hven/bin/python", "-c", MISSING_MODULE_PROGRAM, extra)
            assert "pip install 'hven[" in checked.stdout, checked.stdout + checked.stderr
    finally:
        begin = time.monotonic()
        container.send_signal("TERM")
        assert server.wait(120) == 0, log.read_text()
        print(f"ended {time.monotonic() - begin:.1f} s after SIGTERM")
    wait_until(lambda: not list((site / "var/run").glob("serving.*")), 60)
    assert megabytes <= MAX_MEGABYTES
