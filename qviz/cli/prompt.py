"""Messages of a kernel leave Jupyter's server at once: an extension of the server that ``qviz lab`` starts.

A hand on a control is answered by two short messages, "busy" and the picture. TCP keeps the second one back until the
first is acknowledged (Nagle's algorithm), and the other end waits with that for something to send along, on Linux for
40 ms. About every other picture came that much later.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """The server's own connection of a page to a kernel, without the wait."""

    def connect(self) -> Any:
        """Start to pass messages on, each at once."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Replace the server's own connection; one that somebody has configured, such as a gateway's, stays."""
    settings, name = server.web_app.settings, "kernel_websocket_connection_class"
    if settings.get(name) is ZMQChannelsWebsocketConnection:
        settings[name] = PromptConnection
