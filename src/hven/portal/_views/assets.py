"""Serve ``/assets/NAME-HASH.css|js``: styles and scripts of the pages.

The content of a name never changes, so browsers keep it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from hven import services
from hven.portal._pages import body_maps
from hven.portal._pages.assets import ASSET_MEDIA_TYPES, ASSETS_DIRECTORY, find_asset
from hven.portal._pages.brand import list_brand_colours
from hven.portal._pages.package_scripts import load_script_folders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.services.face import ServiceContext

IMMUTABLE_CACHE_CONTROL = "public, max-age=31536000, immutable"
MAX_COMPRESSED_BYTES = 300_000  # larger files are sent as they are; a proxy may compress them


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the assets."""

    async def send_asset(request: Request) -> Response:
        brand_colours = list_brand_colours(context.site.settings)
        asset = find_asset(request.path_params["file"], brand_colours)
        if asset is None:
            return PlainTextResponse("there is no such file; load the page again\n", 404)
        body, kind = asset
        headers = {"content-type": kind, "cache-control": IMMUTABLE_CACHE_CONTROL, "vary": "accept-encoding"}
        if isinstance(body, Path):
            if body.stat().st_size > MAX_COMPRESSED_BYTES:
                return FileResponse(body, headers=headers)
            body = body.read_bytes()
        return services.answer_with_body(request, body, headers)

    async def send_package_file(request: Request) -> Response:
        """Send a script or a style sheet of a package of another project."""
        folder = load_script_folders().get(request.path_params["package"])
        path = folder.files.get(request.path_params["path"]) if folder is not None else None
        if folder is None or path is None or request.path_params["digest"] != folder.digest:
            return PlainTextResponse("there is no such file; load the page again\n", 404)
        headers = {"content-type": ASSET_MEDIA_TYPES[path.suffix], "cache-control": IMMUTABLE_CACHE_CONTROL}
        return services.answer_with_body(request, path.read_bytes(), {**headers, "vary": "accept-encoding"})

    async def send_sky_tile(request: Request) -> Response:
        """Send a file of the drawn sky: a HiPS of a few tiles, for maps without access to other hosts."""
        path = (ASSETS_DIRECTORY / "sky" / request.path_params["path"]).resolve()
        if not path.is_relative_to(ASSETS_DIRECTORY.resolve() / "sky") or not path.is_file():
            return PlainTextResponse("there is no such tile\n", 404)
        kind = ASSET_MEDIA_TYPES.get(path.suffix, "text/plain; charset=utf-8")
        return FileResponse(path, headers={"content-type": kind, "cache-control": "public, max-age=86400"})

    async def send_base_map(request: Request) -> Response:
        """Send a base map of a body."""
        base_map = body_maps.find_base_map(request.path_params["name"], context.site.settings.directory)
        if base_map is None:
            return PlainTextResponse("there is no such map\n", 404)
        path, kind = base_map
        return FileResponse(path, headers={"content-type": kind, "cache-control": "public, max-age=86400"})

    package_routes = []
    if load_script_folders():
        package_routes.append(Route("/assets/packages/{package}/{digest}/{path:path}", send_package_file))
    return [
        *package_routes,
        Route("/assets/ground/{name}", send_base_map),
        Route("/assets/sky/{path:path}", send_sky_tile),
        Route("/assets/{file}", send_asset),
    ]
