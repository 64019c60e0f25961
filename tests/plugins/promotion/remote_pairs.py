"""A served test site, and a public site that promotes from its address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from promotion_sites import SitePair, create_sites

from faulty_proxy import FaultyProxy, run_proxy
from hven.plugins.promotion.promotion import PromotionOptions, promote_collections
from hven.plugins.promotion.promotion_reports import PromotionReport
from hven.plugins.promotion.remote_sites import RemoteSite
from hven.plugins.promotion.settings import find_target
from process_runner import Server, serve_site

ACCOUNT = "gold"


@dataclass(frozen=True)
class RemotePair:
    """A served test site, and the public site, whose ``[targets.dev]`` has the address of a proxy before it."""

    pair: SitePair
    server: Server
    proxy: FaultyProxy
    token: str

    def promote(self, *names: str, **options: bool) -> list[PromotionReport]:
        """Promote collections, and forget earlier requests."""
        self.proxy.requests.clear()
        with self.pair.open_gold() as gold, RemoteSite(find_target(gold.settings, "dev"), gold.settings) as source:
            return promote_collections(source, gold, names or ("stars",), PromotionOptions(**options))

    def list_requests(self) -> list[str]:
        """Return the last parts of the paths of all requests since the last promotion began."""
        return [urlsplit(path).path.rpartition("/")[2] for _, path, _ in self.proxy.requests]

    def is_nothing_published(self) -> bool:
        """Whether the public site publishes nothing, and has neither rows nor files of a failed promotion."""
        with self.pair.open_gold() as gold:
            kept_rows = list(gold.settings.data_directory.glob("snapshots/stars.*/*"))
            kept_files = [path for path in self.pair.gold.glob("promoted/*/*") if not path.name.startswith("before-")]
            return not gold.store.read_published_records()[1] and not kept_rows and not kept_files


@contextmanager
def serve_pair(directory: Path) -> Iterator[RemotePair]:
    pair = create_sites(directory)
    (pair.dev / "hven.toml").write_text(f'[targets.gold]\naccount = "{ACCOUNT}"\n')
    pair.publish_version(1)
    with pair.open_dev() as dev:
        token = dev.store.users.add_account(ACCOUNT)
    with serve_site(pair.dev) as server, run_proxy(server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        (pair.gold / "hven.toml").write_text(
            f'keep_snapshots = 4\nallow_private = true\n[targets.dev]\nurl = "{url}"\ntoken = "$DEV_TOKEN"\n'
        )
        (pair.gold / "secrets.toml").write_text(f"DEV_TOKEN = '{token}'\n")
        (pair.gold / "secrets.toml").chmod(0o600)
        yield RemotePair(pair=pair, server=server, proxy=proxy, token=token)
