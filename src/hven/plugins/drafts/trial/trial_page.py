"""Serve ``/trial``: a curator uploads a file and sees what each service would make of it. Nothing is stored."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import services
from hven.model.errors import (
    ForbiddenError,
    ParamError,
    TimeLimitError,
    TooLargeError,
    UnauthenticatedError,
    UserError,
    format_message,
)
from hven.model.settings import create_site_directory
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    record_to_dict,
)
from hven.services.addresses import is_cross_site_change_request
from hven.sources.site_programs import start_supervised_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from hven.model.params import UploadedFile
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

TRIAL_TIMEOUT_SECONDS = 60.0  # for one file
PROCESS_LIMITS = {"RLIMIT_CPU": 30, "RLIMIT_AS": 6 << 30, "RLIMIT_FSIZE": 256 << 20}
MAX_FILE_BYTES = 256 << 20  # of a file, if the site does not allow less for uploads
MAX_OUTPUT_BYTES = 4 << 20  # of the description of a file
CURATOR_GROUP_PATTERN = re.compile(r"project:.*:curator")
PRIVATE_HEADERS = {"cache-control": "private, no-store"}
WORKER_MODULE = "hven.plugins.drafts.trial.trial_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPage(TemplateContext):
    """The page on which curators try a file.

    Attributes
    ----------
    told
        What the worker tells of the file, or its ``error`` and ``remedy``; None if there is no file yet.
    name
        Name of the file.
    most
        Size of the largest file, in MiB.
    """

    template = "drafts/trial.html"
    told: Mapping[str, object] | None
    name: str
    most: int


def is_curator_or_operator(principal: Principal, context: ServiceContext) -> bool:
    """Return whether a user is an operator of the site, or a curator or owner of a project."""
    return context.is_operator(principal) or any(CURATOR_GROUP_PATTERN.fullmatch(group) for group in principal.groups)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page, which also takes the file."""
    trial_limiter = anyio.CapacityLimiter(1)  # one file at a time: others wait
    settings = context.site.settings
    max_file_bytes = min(MAX_FILE_BYTES, settings.limits.upload)

    def check_curator(page_context: PageContext) -> None:
        if page_context.principal.is_anonymous:
            raise UnauthenticatedError("this page requires a login", remedy="log in at /login")
        if not is_curator_or_operator(page_context.principal, context):
            raise ForbiddenError(
                "only curators may try files here",
                remedy="ask to become a curator of a project, or to be added to health.operators in hven.toml",
            )

    async def show_form(page_context: PageContext) -> PageContent:
        check_curator(page_context)
        return _build_trial_page(None, "", page_context, max_file_bytes)

    async def run_trial(page_context: PageContext) -> PageContent:
        check_curator(page_context)
        if is_cross_site_change_request(page_context.request, settings):
            raise ForbiddenError("the request comes from a page on another site", remedy="use the form on this page")
        params = await services.read_params(page_context.request, max_file_bytes)
        try:
            file = params.files.get("file")
            if file is None or not file.size:
                raise ParamError("no file was chosen, or the file is empty", name="FILE", remedy="choose a file")
            name = _sanitize_file_name(file.filename)
            trial_result = await anyio.to_thread.run_sync(_run_file_trial, file, name, limiter=trial_limiter)
        finally:
            params.close()
        return _build_trial_page(trial_result, name, page_context, max_file_bytes)

    page_endpoint = build_page_endpoint(show_form, context)
    return [
        Route("/trial", page_endpoint, methods=["GET"]),
        Route("/trial", build_page_endpoint(run_trial, context), methods=["POST"]),
    ]


def _sanitize_file_name(name: str) -> str:
    """Reduce a file name to safe characters; the extension stays, because it tells the format."""
    base_name = name.replace("\\", "/").rsplit("/", 1)[-1]
    safe_name = re.sub(r"[^A-Za-z0-9._+-]+", "_", base_name).lstrip(".-")
    return safe_name[-100:] or "data"


def _run_file_trial(file: UploadedFile, name: str) -> dict[str, Any]:
    """Examine a file in a separate process and a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="hven-trial-") as scratch:
        scratch_path = Path(scratch)
        site = scratch_path / "site"
        create_site_directory(site)
        (site / "collections/trial/data").mkdir(parents=True)
        with (site / "collections/trial/data" / name).open("wb") as copy:
            file.file.seek(0)
            while chunk := file.file.read(1 << 20):
                copy.write(chunk)
        with (scratch_path / "out").open("w+b") as out, (scratch_path / "err").open("w+b") as err:
            argv = [sys.executable, "-I", "-m", WORKER_MODULE, str(site), name]
            with start_supervised_program(argv, scratch_path, out, err, limits=PROCESS_LIMITS) as process:
                try:
                    status = process.wait(TRIAL_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    message = format_message(
                        "Hven needs more than {seconds:g} s to examine the file", TRIAL_TIMEOUT_SECONDS
                    )
                    raise TimeLimitError(message, remedy="try the first part of the file, or use `hven new`") from None
                finally:
                    if process.stdin is not None:
                        process.stdin.close()  # ends the remaining processes
            return _read_trial_result(status, out)


def _read_trial_result(status: int, out: BinaryIO) -> dict[str, Any]:
    size = out.seek(0, 2)
    out.seek(0)
    if size > MAX_OUTPUT_BYTES:
        raise TooLargeError(
            "the description of the file is too long to be shown",
            remedy="use `hven new`; it writes the description to a file",
        )
    if status or not size:
        raise UserError(
            "the file cannot be examined within the limits of time and memory",
            remedy="try the first part of the file, or use `hven new`",
        )
    trial_result: dict[str, Any] = orjson.loads(out.read())
    return trial_result


def _build_trial_page(
    trial_result: dict[str, Any] | None, name: str, page_context: PageContext, max_file_bytes: int
) -> PageContent:
    for table in (trial_result or {}).get("tables", ()):
        serving_faces = set(table["faces"])
        shown_faces = [
            face for face in page_context.context.faces.values() if face.name in serving_faces or face.params
        ]
        shown_faces.sort(key=lambda face: (face.name not in serving_faces, face.title))
        table["faces"] = [
            {
                "name": face.name,
                "title": face.title,
                "description": face.description,
                "serves": face.name in serving_faces,
                "lacking": face.missing_requirement,
            }
            for face in shown_faces
        ]
    page = TrialPage(told=trial_result, name=name, most=max_file_bytes >> 20)
    return PageContent(page=page, json_content=record_to_dict(page), headers=PRIVATE_HEADERS)


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"health.curators": "health_link.html", "project.curators": "project_link.html"},
)
