"""Runs the type checker, whose cache can be damaged by a run that was stopped."""

from __future__ import annotations

import shutil
import subprocess
import sys

from shared import ROOT


def run_mypy(*words: str) -> subprocess.CompletedProcess[str]:
    """Run mypy; where its cache is damaged, it says INTERNAL ERROR, and runs again without what it kept."""
    command = [sys.executable, "-m", "mypy", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "INTERNAL ERROR" in done.stderr + done.stdout:
        shutil.rmtree(ROOT / ".mypy_cache", ignore_errors=True)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done
