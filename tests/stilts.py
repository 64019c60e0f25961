"""Run STILTS, the engine of TOPCAT; each task starts with the class archive that its first run wrote."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from process_runner import CompletedCommand
from requirements import require, require_program
from shared import ROOT

CACHE = ROOT / ".cache" / "stilts"
# little compilation halves the time of a short run; messages of Java would mix with those of STILTS
JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:disable")


def run_stilts(*words: object, code: int | None = 0) -> CompletedCommand:
    """Run a task of STILTS and check its exit code; with None any code is accepted.

    Java reads a thousand classes from two dozen archives when it starts. The first run of a task stores them as a
    shared archive. Java checks that the archive is current and ignores it otherwise.
    """
    line = [str(word) for word in words]
    known = CACHE / f"{next(word for word in line if not word.startswith('-'))}-{_identify_installation()}.jsa"
    if known.exists():
        return _run_java([f"-XX:SharedArchiveFile={known}"], line, code)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        made = Path(place) / "classes.jsa"
        done = _run_java([f"-XX:ArchiveClassesAtExit={made}"], line, code)
        if made.exists():  # several may make it at once: each is whole
            made.replace(known)
    return done


def validate_tfcat(path: Path) -> CompletedCommand:
    """Run the TFCat validator of STILTS, which Debian packages as a library; exit code 0 means valid."""
    require("tfcat.jar")
    command = [require_program("java"), *JAVA, "-jar", "/usr/share/java/starlink-tfcat.jar", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8", timeout=300)
    return CompletedCommand(stdout=done.stdout, stderr=done.stderr, returncode=done.returncode)


def _run_java(java: list[str], line: list[str], code: int | None) -> CompletedCommand:
    command = [require_program("stilts"), *JAVA, *java, *line]
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=900,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert code in {None, done.returncode}, done.stdout + done.stderr
    return CompletedCommand(stdout=done.stdout, stderr=done.stderr, returncode=done.returncode)


def _identify_installation() -> str:
    """Identify an installation by the modification times of STILTS and Java."""
    return "-".join(f"{Path(require_program(name)).resolve().stat().st_mtime_ns:x}" for name in ("stilts", "java"))
