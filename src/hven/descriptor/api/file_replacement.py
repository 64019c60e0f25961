"""Replace files that operators write, whole or not at all."""

from __future__ import annotations

from hven.descriptor._file_replacement import replace_file, stage_file

__all__ = ["replace_file", "stage_file"]
