"""``python -m hven``: the same as the command ``hven``."""

from __future__ import annotations

import sys

from hven.cli import main

sys.exit(main())
