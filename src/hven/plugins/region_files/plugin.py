"""What this package adds: the verb ``region``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="region_files",
    title="Convert files of contours and regions to formats of the Virtual Observatory",
    uses=("image_regions",),
    verbs={
        "region": CommandLineVerb(
            function="hven.plugins.region_files.verb:region",
            after="resolve",
            examples=(
                "hven region contours.csv --to polygon --date DATE_OBS",
                (
                    "hven region contours.csv --to moc --out all.fits --chain CC --x CC_X "
                    "--y CC_Y --origin 1 --directions freeman"
                ),
                (
                    "hven region list.csv --to dali --radius 960arcsec --centre 512.5,512.5 "
                    "--scale 1.2 --observer 120.5,-3.2"
                ),
                "hven region list.csv --to ds9 --date DATE_OBS --rotation C_ROTATION --longitudes stonyhurst",
                (
                    "hven region regions.csv --to geojson --region s_region --name obs_id "
                    "--frame IAU_2015:49900 --view body"
                ),
            ),
        ),
    },
)
