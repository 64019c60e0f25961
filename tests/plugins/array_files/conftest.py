"""The helpers of these tests are modules beside them, and the client of the tests of services."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1] / "protocols")]
