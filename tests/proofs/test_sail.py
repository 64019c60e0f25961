"""What ADQL means on Sail: the suites of ADQL, run by the far road."""

from __future__ import annotations

import pytest

from far_suites import suites
from sail import NOTYET, sail

pytestmark = [
    pytest.mark.needs("proof"),
    pytest.mark.outside,
]
globals().update(suites(sail, notyet=NOTYET, most=1000))
