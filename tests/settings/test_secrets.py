"""Secrets and state of a site are its owner's alone, or people are told."""

from __future__ import annotations

import stat

from hven.model.settings import SECRETS_FILE, find_exposed_file_faults
from hven.site.store import StateStore


def test_what_other_accounts_can_read_is_told(tmp_path):
    secrets, var = tmp_path / SECRETS_FILE, tmp_path / "var"
    StateStore(var).close()
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    secrets.write_text("A = 'b'\n")
    secrets.chmod(0o640)
    assert find_exposed_file_faults(tmp_path, var, var, tmp_path / "none") == []
    secrets.chmod(0o644)
    var.chmod(0o755)
    assert [(fault.place.file, fault.severity) for fault in find_exposed_file_faults(tmp_path, var)] == [
        (str(secrets), "warning"),
        (str(var), "warning"),
    ]
