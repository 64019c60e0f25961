"""A SAMP hub with the Web Profile on a port of its own, a dialog that grants or rejects access, and a client."""

from __future__ import annotations

from typing import Any

from pyvo.samp import SAMPHubServer, SAMPIntegratedClient, WebProfileDialog

from process_runner import wait_until

HUB_ADDRESS = "localhost:21012"  # the address of the standard; the browser resolves it to the hub of the tests


class ConsentDialog(WebProfileDialog):  # type: ignore[misc]
    """Grant or reject access, as the user of a hub would."""

    answer = True

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def show_dialog(self, samp_name: str, details: Any, client: Any, origin: str) -> None:
        self.asked.append((samp_name, origin))
        if self.answer:
            self.consent()
        else:
            self.reject()


class TopcatClient:
    """A client that stores the messages that it receives."""

    def __init__(self, hub: SAMPHubServer) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.client = SAMPIntegratedClient(name="Topcat of the test", addr="127.0.0.1")
        self.client.connect(hub=hub)
        for mtype in ("table.load.votable", "table.select.rowList", "table.highlight.row", "coord.pointAt.sky", "image.load.fits", "spectrum.load.ssa-generic", "script.aladin.send"):  # fmt: skip
            self.client.bind_receive_notification(mtype, self.receive_message)

    def receive_message(
        self, private_key: str, sender: str, mtype: str, params: dict[str, Any], extra: dict[str, Any]
    ) -> None:
        self.messages.append((mtype, dict(params)))

    def wait_for_message(self, mtype: str) -> dict[str, Any]:
        wait_until(lambda: any(one == mtype for one, _ in self.messages))
        return next(params for one, params in reversed(self.messages) if one == mtype)
