"""Run Aladin Desktop on a virtual screen: it executes commands and takes pictures of what it shows."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from requirements import require_program
from shared import ROOT

JAR = Path("/usr/share/java/aladin.jar")
CACHE = ROOT / ".cache" / "aladin"
SOURCE = Path(__file__).parent / "AladinTold.java"
# a short run needs little compiled code
JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx600m")


def run_aladin(lines: list[str], home: Path, *options: str) -> list[str]:
    """Run commands in Aladin, with a home directory of its own; return its output."""
    display, compiler = require_program("xvfb-run"), require_program("javac")
    require_program("aladin")
    classes = CACHE / hashlib.sha256(SOURCE.read_bytes() + str(JAR.resolve()).encode()).hexdigest()[:16]
    if not classes.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(dir=CACHE)
        subprocess.run([compiler, "-cp", JAR, "-d", made, SOURCE], check=True, timeout=300)
        try:
            Path(made).rename(classes)
        except OSError:  # another process was first
            shutil.rmtree(made)
    java = [require_program("java"), *JAVA, f"-Duser.home={home}", "-cp", f"{classes}:{JAR}", "AladinTold"]
    offline = ["-local", "-nohub", "-noreleasetest", "-nobanner", *options]
    done = subprocess.run(
        [display, "-a", "-s", "-screen 0 1000x760x24", *java, *offline], input="\n".join(lines) + "\n", capture_output=True, encoding="utf-8", timeout=600, check=False,
        env={**os.environ, "HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.strip() not in {"", "null"}]
