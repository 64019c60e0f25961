"""``python -m hven``: the same as the command ``hven``."""

from __future__ import annotations

import sys

from hven.app import main

sys.exit(main())
