"""Programs of job types, as a site has them: small scripts beside their declarations."""

from __future__ import annotations

import sys
from pathlib import Path

ECHO_PROGRAM = f"""#!{sys.executable}
import json, os, resource, sys
print(json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ),
    "limits": [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)],
    "stdin": sys.stdin.read(), "session": os.getsid(0) == os.getpid()}}))
"""


def write_job_type(site: Path, name: str, text: str, **programs: str) -> Path:
    """Write a declaration and its programs; `_` in the name of a program stands for the dot before its extension."""
    place = site / "jobs"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.yaml").write_text(text, encoding="utf-8")
    for program, script in programs.items():
        path = place / program.replace("_", ".")
        path.write_text(script if script.startswith("#!") else f"#!{sys.executable}\n{script}", encoding="utf-8")
        path.chmod(0o755)
    return place / f"{name}.yaml"
