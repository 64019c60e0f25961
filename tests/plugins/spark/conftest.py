"""Modules beside these tests, and those of the engine hats."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parent
for folder in (FOLDER.parent / "hats", FOLDER):
    sys.path.insert(0, str(folder))
