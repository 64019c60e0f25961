"""``hven prepare``: make pictures and rotated copies of a collection's files now, or stop the job that does."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from hven.app._cli.context import open_site, show_json
from hven.jobs.job_service import ACTIVE_PHASES, JobRequester, JobService
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import UsageError
from hven.model.params import collect_params
from hven.services import file_preparation
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL


def prepare(
    context: typer.Context,
    *,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Whose files.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES", help="Patterns of their paths: 'cubes/*.fits'.")
    ] = None,
    with_previews: Annotated[bool, typer.Option("--previews", help="Thumbnails and quicklooks.")] = False,
    with_spectra: Annotated[
        bool, typer.Option("--spectra", help="Copies of cubes from which spectra are read at once: as much disk again.")
    ] = False,
    part: Annotated[str | None, typer.Option("--part", help="Of files with cubes: index or name.")] = None,
    through: Annotated[
        int | None, typer.Option("--through", min=1, help="Axis along which spectra are read, as FITS counts.")
    ] = None,
    prepare_again: Annotated[
        bool, typer.Option("--again", help="What was prepared before, or could not be, too.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the jobs that prepare it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Make pictures and copies of a collection's new files."""
    with open_site(context) as site:
        if stop:
            job_service = JobService(site, "prepare")
            requester = JobRequester(principal=OWNER_PRINCIPAL, address="")
            for ref in job_service.list_jobs(collect_params([("PHASE", phase) for phase in ACTIVE_PHASES]), requester):
                job = job_service.get_job(ref.id, requester)
                if ("COLLECTION", collection) in job.parameters:
                    job_service.change_phase(job, "ABORT")
            return
        service_context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        resource = site.get_published_state().resources.get(collection)
        requested_kinds = [
            kind
            for kind, is_requested in zip(file_preparation.PRODUCT_KINDS, (with_previews, with_spectra), strict=True)
            if is_requested
        ]
        prepared_kinds = requested_kinds or (resource.prepare if resource is not None else ())
        if resource is not None and not prepared_kinds:
            raise UsageError(
                "nothing says what is to be prepared", remedy="--previews, --spectra, or prepare: in its descriptor"
            )
        preparation_result = file_preparation.prepare_files(
            service_context,
            OWNER_PRINCIPAL,
            collection,
            prepared_kinds,
            patterns=files or (),
            part=part,
            depth_axis=through,
            redo=prepare_again,
            progress=ProgressMonitor(_print_progress),
        )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if as_json:
        show_json({"collection": collection, **asdict(preparation_result)})
        return
    print(
        f"{preparation_result.files:,} files were new: {preparation_result.pictures:,} pictures, "
        f"{preparation_result.copies:,} copies of cubes, {preparation_result.bytes / 1e6:,.1f} MB"
    )
    if preparation_result.left:
        print(f"{preparation_result.left:,} more have no pictures: files.pictures of hven.toml has no more room")
    for path, why in preparation_result.failed.items():
        print(f"failed: {path}: {why}")


def _print_progress(share: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{share:4.0%}", end="", file=sys.stderr, flush=True)
