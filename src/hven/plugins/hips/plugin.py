"""What this package adds: the service ``hips``, the job type and the verb that build HiPS of images and layers."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="hips",
    title="Make HiPS of images, cubes and maps of planets, and list the HiPS of a site",
    uses=("previews",),
    protocols={"hips": "hven.plugins.hips.hips_service"},
    jobs={"hips": "hven.plugins.hips.survey_job"},
    verbs={
        "hips": CommandLineVerb(
            function="hven.plugins.hips.survey_verb:hips",
            after="prepare",
            examples=(
                "hven hips omega 'maps/*.fits' --name maps --title 'Maps of Mars'",
                "hven hips omega --order 8 --stretch asinh --colours viridis --with hipsgen",
                "hven hips psup --layer viking",
                "hven hips omega --name maps --drop --json",
            ),
        ),
    },
    collection_folders=("hips",),
)
