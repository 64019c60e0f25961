"""What this package adds: the verbs ``hven deploy`` and ``hven ready``, and a list of the servers on ``/health``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="deployment",
    title="Run a site under systemd or in containers, and switch between two versions",
    uses=("operations",),
    store_tables=PackageStateTables(
        names=("running_servers",), definitions="hven.plugins.deployment.running_servers:TABLES"
    ),
    request_observers=("hven.plugins.deployment.running_servers:ServerRegistration",),
    extensions={
        "hven.health": ("hven.plugins.deployment.health_facts",),
        "operations.checks": ("hven.plugins.deployment.proxy_check",),
    },
    pages="hven.plugins.deployment.health_page:PAGES",
    translations="hven.plugins.deployment:texts",
    verbs={
        "deploy": CommandLineVerb(
            function="hven.plugins.deployment.deploy_verb:write_deployment_files",
            after="serve",
            examples=(
                "hven deploy deploy --to systemd",
                "hven deploy deploy --to compose --overwrite",
                "hven deploy deploy --to container --pin docker.io/library/debian:12-slim@sha256:DIGEST",
            ),
        ),
        "ready": CommandLineVerb(
            function="hven.plugins.deployment.ready_verb:check_server_readiness",
            after="deploy",
            examples=("hven ready", "hven ready http://127.0.0.1:8081 --wait 60 --process 4711", "hven ready --json"),
        ),
    },
)
