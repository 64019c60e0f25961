"""Build the image's root file system by the lines of the Containerfile, and run a site in it.

No base image can be fetched from a registry in a test, so mmdebstrap builds one from Debian's packages, and each RUN line is
executed in a chroot. HVEN_IMAGE_MOUNTS lists directories with packages that pip uses on this machine, separated by colons.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from switched_servers import SUM_QUERY, MixedClient, build_site

from hven.model.settings import load_settings
from hven.plugins.deployment.deployment_files import render_deployment_files
from process_runner import reserve_port, wait_until
from requirements import require, require_program
from shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs("proof", "root", "mount")]
MAX_MEGABYTES = 600  # of these 130 are Debian's base; pyarrow, DuckDB, NumPy and astropy have 220
USER_ID = 10001
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
                subprocess.run(["cp", "-a", self._base, root], check=True)
                stages[name] = root
            elif instruction == "RUN":
                run_in_root(root, f"cd {work} && {rest}")
            elif instruction == "WORKDIR":
                work = words[0]
                (root / work.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                source = self._context
                if words[0].startswith("--from="):
                    source = stages[words.pop(0).removeprefix("--from=")]
                for name in words[:-1]:
                    target = root / words[-1].lstrip("/") if words[-1].startswith("/") else root / work.lstrip("/")
                    subprocess.run(["cp", "-a", source / name.lstrip("/"), target], check=True)
            elif instruction in {"ENTRYPOINT", "CMD"}:
                self.settings[instruction] = json.loads(rest)
            else:
                assert instruction in {"ARG", "LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}, line
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


def run_in_root(root: Path, command: str) -> None:
    """Run a shell command with the network of this machine, and with its settings of pip."""
    added = []
    for name in PIP_FILES:
        source, target = Path("/") / name, root / name
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aL", source, target], check=True)
            added.append(target)
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http", "https"))}
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
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


def measure_megabytes(root: Path) -> int:
    done = subprocess.run(["du", "-sxm", root], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_the_image_runs_a_site(tmp_path: Path) -> None:
    require("proof", "root", "mount")
    program = require_program("mmdebstrap")
    site = tmp_path / "site"
    build_site(site)
    context = tmp_path / "context"
    context.mkdir()
    files = {file.name: file.text for file in render_deployment_files(load_settings(site), "container")}
    for name, text in files.items():
        (context / name).write_text(text)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--directory", context, "--target", "wheel"], cwd=ROOT, check=True)  # fmt: skip
    base = tmp_path / "base"
    options = [f"--dpkgopt=path-exclude={path}" for path in EXCLUDED_PATHS]
    subprocess.run([program, "--quiet", "--variant=minbase", *options, "bookworm", base], check=True)
    builder = ImageBuilder(files["Containerfile"], context, base, tmp_path)
    root = builder.build()
    megabytes = measure_megabytes(root)
    print(
        f"\nroot file system: {megabytes} MB, of these /opt/hven {measure_megabytes(root / 'opt/hven')} MB, "
        f"Debian's base {measure_megabytes(base)} MB"
    )
    components = json.loads((root / "opt/hven/sbom.json").read_text())["components"]
    assert {"hven", "pyarrow", "duckdb"} <= {component["name"] for component in components}
    # the server runs as the image's user, on the image's site, and needs nothing else
    (root / "site").mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{site}/.", root / "site"], check=True)
    subprocess.run(["chown", "-R", f"{USER_ID}:{USER_ID}", root / "site"], check=True)
    port = reserve_port()
    words = [word.replace("8080", str(port)) for word in builder.settings["ENTRYPOINT"] + builder.settings["CMD"]]
    as_user = [shutil.which("chroot") or "chroot", f"--userspec={USER_ID}:{USER_ID}", str(root)]
    assert builder.settings["USER"] == [f"{USER_ID}:{USER_ID}"]
    log = tmp_path / "image.log"
    with mount_in_root(root), log.open("wb") as file:
        server = subprocess.Popen(
            [*as_user, *words], stdout=file, stderr=file, env={"HOME": "/tmp", "PATH": "/usr/bin:/bin"}
        )
        try:
            ready = [
                *as_user,
                "/opt/hven/bin/hven",
                "--site",
                "/site",
                "ready",
                f"http://127.0.0.1:{port}",
                "--wait",
                "120",
            ]
            done = subprocess.run(ready, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
            assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
            client = MixedClient(port, "", 0, stop_event=None)  # type: ignore[arg-type]
            assert client.ask(SUM_QUERY) == [[90_000]]
            client.run_job()
            client.close()
        finally:
            server.terminate()
            assert server.wait(120) == 0, log.read_text()
    wait_until(lambda: not list((root / "site/var/run").glob("serving.*")), 60)
    assert megabytes <= MAX_MEGABYTES
