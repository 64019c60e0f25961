"""What this package adds: the verbs ``hven deploy`` and ``hven ready``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="deployment",
    title="Run a site under systemd or in containers, and switch between two versions",
    uses=("operations",),
    verbs={
        "deploy": CommandLineVerb(
            function="hven.plugins.deployment.deploy_verb:write_deployment_files",
            after="serve",
            examples=("hven deploy deploy --to systemd", "hven deploy deploy --to compose --overwrite"),
        ),
        "ready": CommandLineVerb(
            function="hven.plugins.deployment.ready_verb:check_server_readiness",
            after="deploy",
            examples=("hven ready", "hven ready http://127.0.0.1:8081 --wait 60", "hven ready --json"),
        ),
    },
)
