"""Run roc-validator without the network: the JSON-LD context of RO-Crate 1.3 comes from a file.

usage: offline_crate_judge.py FOLDER_OF_JUDGE CONTEXT CRATE SEVERITY; the last line is a list of issues
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import requests

CONTEXT_PATTERN = re.compile(r"ro/crate/1\.3/context")


def answer_from_file(_session, request, **_options):  # type: ignore[no-untyped-def]
    """Answer the addresses of contexts, and refuse others."""
    if not CONTEXT_PATTERN.search(request.url):
        raise requests.ConnectionError(f"there is no network: {request.url}")
    response = requests.Response()
    response.status_code = 200
    response._content = Path(sys.argv[2]).read_bytes()
    response.url = request.url
    response.request = request
    response.headers["content-type"] = "application/ld+json"
    return response


requests.Session.send = answer_from_file

from rocrate_validator import services  # noqa: E402
from rocrate_validator.models import Severity, ValidationSettings  # noqa: E402

settings = ValidationSettings(
    rocrate_uri=sys.argv[3],
    profile_identifier="ro-crate-1.3",
    requirement_severity=Severity[sys.argv[4]],
    no_cache=True,
)
print(json.dumps([f"{issue.check.identifier}: {issue.message}" for issue in services.validate(settings).get_issues()]))
