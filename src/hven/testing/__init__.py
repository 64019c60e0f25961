"""Contract suites and a tiny site in memory, for plugin authors and for ourselves."""

import pkgutil
import sys

if "pytest" in sys.modules:  # what is asserted there is told with its values
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{one.name}" for one in pkgutil.iter_modules(__path__)))
