"""Contract test suites for plug-ins, and a small site in memory to run them on."""

import pkgutil
import sys

if "pytest" in sys.modules:  # failed assertions in these modules then show their values
    module_names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    sys.modules["pytest"].register_assert_rewrite(*module_names)
