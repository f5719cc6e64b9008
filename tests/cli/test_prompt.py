"""What a kernel says is not kept back on its way to the page: the operating system is asked what it does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

from qviz.cli import course, prompt

# A server with a kernel and a page's end of the line, in one process; whether its socket may keep a message back.
SERVER = """
import json, socket
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection as Connection
from tornado.websocket import websocket_connect

app = ServerApp()
app.initialize(argv=["--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token="])

async def look():
    kernel = await app.kernel_manager.start_kernel()
    port = next(iter(app.http_server._sockets.values())).getsockname()[1]
    page = await websocket_connect(f"ws://127.0.0.1:{port}/api/kernels/{kernel}/channels?session_id=page")
    await page.read_message()
    (connection,) = Connection._open_sockets
    line = connection.websocket_handler.ws_connection.stream.socket
    found = [type(connection).__name__, bool(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))]
    page.close()
    await app.kernel_manager.shutdown_all(now=True)
    print("found", json.dumps(found), flush=True)

app.io_loop.run_sync(look, timeout=120)
"""


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        (Path(course.__file__).parent / "static", ["PromptConnection", True]),  # what `qviz lab` and Binder look at
        (None, ["ZMQChannelsWebsocketConnection", False]),  # any other server is left as it is
    ],
)
def test_a_kernels_messages_leave_the_server_at_once(tmp_path, folder, found):
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | own | {"JUPYTER_CONFIG_PATH": str(folder or tmp_path), "IPYTHONDIR": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", SERVER], env=environment, capture_output=True, text=True)
    said = [line for line in result.stdout.splitlines() if line.startswith("found ")]
    assert said, result.stderr
    assert json.loads(said[0].removeprefix("found ")) == found


@pytest.mark.parametrize(
    ("configured", "used"),
    [
        (ZMQChannelsWebsocketConnection, prompt.PromptConnection),
        (GatewayWebSocketConnection, GatewayWebSocketConnection),
    ],
)
def test_a_gateways_connection_stays(configured, used):
    settings = {"kernel_websocket_connection_class": configured}
    prompt._load_jupyter_server_extension(SimpleNamespace(web_app=SimpleNamespace(settings=settings)))
    assert settings == {"kernel_websocket_connection_class": used}
