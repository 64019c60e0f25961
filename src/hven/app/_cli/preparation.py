"""``hven prepare``: make pictures and rotated copies of a collection's files now, or stop the jobs that do."""

from __future__ import annotations

import itertools
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app._cli.context import open_site, print_json
from hven.app._cli.progress import print_percentage
from hven.jobs.job_service import ACTIVE_PHASES, JobRequester, JobService
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import UsageError
from hven.model.params import collect_params
from hven.services import file_preparation
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site import Site


def prepare(
    context: typer.Context,
    *,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection with the files.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help=("Patterns of the paths of the files, such as 'cubes/*.fits'.")),
    ] = None,
    with_previews: Annotated[bool, typer.Option("--previews", help="Make thumbnails and quicklooks.")] = False,
    with_spectra: Annotated[
        bool,
        typer.Option(
            "--spectra",
            help="Copy cubes so that Hven can read spectra fast. The copies need as much disk space as the cubes.",
        ),
    ] = False,
    part: Annotated[
        str | None, typer.Option("--part", help="Index or name of the part of the files that contains the cube.")
    ] = None,
    through: Annotated[
        int | None,
        typer.Option("--through", min=1, help="Number of the axis along which spectra are read, as in FITS."),
    ] = None,
    prepare_again: Annotated[
        bool, typer.Option("--again", help="Also prepare files that were prepared before, or that failed.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the jobs that prepare the collection.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Make pictures and copies of a collection's new files."""
    with open_site(context) as site:
        if stop:
            stopped_ids = _stop_preparation_jobs(site, collection)
            if as_json:
                print_json({"stopped": stopped_ids})
            return
        service_context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        resource = site.get_published_state().resources.get(collection)
        is_requested = (with_previews, with_spectra)
        prepared_kinds: Sequence[str] = list(itertools.compress(file_preparation.PRODUCT_KINDS, is_requested))
        if resource is not None:
            prepared_kinds = prepared_kinds or resource.prepare
            if not prepared_kinds:
                raise UsageError(
                    "neither the command nor the descriptor says what to prepare",
                    remedy="give --previews or --spectra, or add `prepare` to the descriptor",
                )
        preparation_result = file_preparation.prepare_files_and_remove_stale_products(
            service_context,
            OWNER_PRINCIPAL,
            collection,
            prepared_kinds,
            patterns=files or (),
            part=part,
            depth_axis=through,
            redo=prepare_again,
            progress=ProgressMonitor(print_percentage),
        )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if as_json:
        print_json({"collection": collection, **asdict(preparation_result)})
        return
    print(
        f"{preparation_result.files:,} new files ({preparation_result.pictures:,} pictures, "
        f"{preparation_result.copies:,} copies of cubes), {preparation_result.bytes / 1e6:,.1f} MB"
    )
    if preparation_result.left:
        print(
            f"{preparation_result.left:,} more files have no pictures, because the limit `files.pictures` in hven.toml "
            "has been reached"
        )
    for path, reason in preparation_result.failed.items():
        print(f"could not prepare {path}: {reason}")


def _stop_preparation_jobs(site: Site, collection: str) -> list[str]:
    """Stop the active jobs that prepare files of a collection, and return their ids."""
    job_service = JobService(site, "prepare")
    requester = JobRequester(principal=OWNER_PRINCIPAL, address="")
    phase_params = collect_params([("PHASE", phase) for phase in ACTIVE_PHASES])
    stopped_ids = []
    for job_ref in job_service.list_jobs(phase_params, requester):
        job = job_service.get_job(job_ref.id, requester)
        if ("COLLECTION", collection) in job.parameters:
            job_service.run_or_abort_job(job, "ABORT")
            stopped_ids.append(job.id)
    return stopped_ids
