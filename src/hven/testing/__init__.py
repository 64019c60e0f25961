"""Contract test suites for plug-ins, and a small site in memory to run them on."""

import pkgutil
import sys

if "pytest" in sys.modules:  # what is asserted there is told with its values
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{one.name}" for one in pkgutil.iter_modules(__path__)))
