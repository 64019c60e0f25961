"""What plug-in packages tell the tests of rights: ``rights.py`` beside the tests of each package.

``QUERY_STRINGS`` has the query strings of each of its routes, ``PATH_VALUES`` the values of the parameters in their
paths, ``ROUTE_CHOICES`` all values of one of these parameters, ``DIFFERING_ROUTES`` the routes whose answers may differ under
another policy, ``PUBLIC_ROUTES`` those that use only rows that everybody may see, and ``STORE`` says of each of its
tables in the system state which test covers the rights to it.
``OPERATOR_JOBS`` has parameters of its types of jobs that only operators may run, beside COLLECTION, and
``KEPT_DIRECTORIES`` says the same of its directories in ``var`` as ``STORE``. ``FILE_JOBS`` has the path and the parameters of its types
of jobs that read a file of a collection, and ``FILE_ADDRESSES`` addresses of what it makes of such a file, both with ``{collection}``.
``KEEPING_REQUESTS`` has bodies of requests that fill directories of the site, and
``SHARED_ADDRESSES`` lists addresses of rows that a reader may share with others.
``TABLE_KEYS`` has the lines of its keys in the descriptor of the tests, ``TABLES`` the lines of further tables, and ``WAYS`` the addresses of further requests.
``ROUTE_VALUES`` has the values of parameters of single routes, and ``REFUSED_WAYS`` its routes that refuse everybody on
the site of the tests, and why. ``ACCOUNT_ROUTES`` has routes that answer only the account itself, and why.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from plugin_needs import list_package_directories
from shared import ROOT


def merge_package_rights(name: str, core: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a table of the core with those of the packages that this process uses."""
    merged = dict(core)
    for rights in _read_package_rights():
        merged |= rights.get(name, {})
    return merged


def _read_package_rights() -> Sequence[Mapping[str, Any]]:
    paths = [ROOT / "tests/plugins" / directory.name / "rights.py" for directory in list_package_directories()]
    return [runpy.run_path(str(path)) for path in paths if path.exists()]
