"""The verb ``hven deploy``: write files for a service manager from the settings of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hven.app.api import load_site_settings
from hven.model.errors import UserError, suggest_spelling
from hven.plugins.deployment.deployment_files import TEMPLATE_FOLDERS, render_deployment_files, write_files


def write_deployment_files(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Directory for the files.")],
    *,
    to: Annotated[str, typer.Option(help="What runs the site: systemd, container, compose or kubernetes.")],
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE@DIGEST", help="Digest of an image that the files use. Can be given several times."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace files that you have changed.")] = False,
) -> None:
    """Write files for systemd, containers or Kubernetes.

    The files contain the name, address, port, number of workers and store from hven.toml. Run the command again after
    you change these settings or upgrade Hven. If you have changed one of the files, it writes nothing.
    """
    settings = load_site_settings(context)
    if to not in TEMPLATE_FOLDERS:
        raise UserError(
            f"--to {to}: Hven has no deployment files for this target",
            remedy=suggest_spelling(to, TEMPLATE_FOLDERS) or "see hven deploy -h",
        )
    actions = write_files(
        render_deployment_files(settings, to, pinned_images=pin or ()), directory, overwrite=overwrite
    )
    for name, action in actions.items():
        print(f"{action}: {directory / name}")
    print("The first lines of each file say how to use it.")
