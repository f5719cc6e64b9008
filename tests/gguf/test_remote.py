"""The header of a file on a web server."""

from __future__ import annotations

import http.server
import re
import threading
import urllib.request

import numpy as np
import pytest

from qviz import gguf
from qviz.errors import GGUFError
from qviz.gguf import remote


class Server(http.server.ThreadingHTTPServer):
    """Serves `data`; what it does wrong stands in `fault`."""

    data = b""
    fault = ""
    asked: list

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/models/a%20model.gguf"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server, fault, data = self.server, self.server.fault, self.server.data
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        server.asked.append((int(asked[1]), int(asked[2])))
        if fault.isdigit():
            self.answer(int(fault))
        elif fault == "circle" or (fault == "moved" and self.path != "/there"):
            self.answer(302, Location="/there")
        elif fault == "to a file":
            self.answer(302, Location="file:///etc/passwd")
        elif fault == "no ranges":
            self.answer(200, data)
        elif fault == "page":
            self.answer(200, b"<html>", Content_Type="text/html; charset=utf-8")
        else:
            start, stop = int(asked[1]), min(int(asked[2]) + 1, len(data))
            if start >= len(data):
                self.answer(416)
                return
            size = len(data) + 1 if fault == "changed" and len(server.asked) > 1 else len(data)
            where = {"silent": "", "unknown": f"bytes {start}-{stop - 1}/*"}.get(
                fault, f"bytes {start}-{stop - 1}/{size}"
            )
            if fault == "shifted":
                where = f"bytes {start + 1}-{stop}/{size}"
            more = {"Content_Encoding": "gzip"} if fault == "packed" else {}
            body = data[start:stop]
            if fault == "broken":
                more["Content_Length"] = len(body)
                body = body[:100]
            if fault == "tag":
                more["ETag"] = f'"{len(server.asked)}"'
            self.answer(206, body, Content_Range=where, **more)


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def model(tmp_path):
    """A header of a megabyte and more, and eight megabytes of tensors."""
    metadata = {
        "general.name": "far",
        "tokenizer.ggml.tokens": gguf.Array([f"token {i}" for i in range(80_000)], "str"),
    }
    return gguf.write(tmp_path / "m.gguf", metadata, {n: np.zeros((1000, 1000), np.float32) for n in "ab"})


def test_it_tells_what_the_file_tells(server, model):
    server.data = model.read_bytes()
    with gguf.read(model) as near, remote.read_header(server.url) as far:
        assert far.metadata == near.metadata
        told = [(i.name, i.shape, i.format, i.offset, i.nbytes) for i in far.tensor_info.values()]
        assert told == [(i.name, i.shape, i.format, i.offset, i.nbytes) for i in near.tensor_info.values()]
        assert (far.nbytes, far.data_offset, far.path.name) == (near.nbytes, near.data_offset, "a model.gguf")
        assert str(far.path) == server.url
        assert far.parts[0].regions == near.parts[0].regions
    # no byte twice, and none of the tensors but what the last request brought
    assert server.asked[0][0] == 0
    assert all(b == a + 1 for (_, a), (b, _) in zip(server.asked, server.asked[1:], strict=False))
    assert len(server.asked) < 8
    assert server.asked[-1][1] < near.data_offset + (near.data_offset - server.asked[-1][0] + 1) + (1 << 22)


def test_tensors_stay_there(server, model):
    server.data = model.read_bytes()
    with remote.read_header(server.url) as far, pytest.raises(GGUFError, match="only the header of this file"):
        far["a"]


def test_a_small_file_and_a_redirection(server, tmp_path):
    server.data = gguf.write(tmp_path / "s.gguf", {"x": 1}, {"a": np.zeros(3, np.float32)}).read_bytes()
    server.fault = "moved"
    assert remote.read_header(server.url).metadata["x"] == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "the server answers 404 Not Found: check the address"),
        ("401", "answers 401 Unauthorized: the server wants to know who asks"),
        ("503", "answers 503 Service Unavailable: try again later"),
        ("no ranges", "the server sends all of the file or nothing (it answers a range with 200); download it"),
        ("page", "this is a web page, not the file; give the address of the file itself"),
        ("silent", "the server does not say which bytes it sends"),
        ("unknown", "the server does not say which bytes it sends"),
        ("shifted", "its ranges are broken"),
        ("changed", "the file was changed on the server"),
        ("tag", "the file was changed on the server"),
        ("packed", "the server compresses what it was asked to leave as it is"),
        ("broken", "the connection broke in the middle of an answer"),
        ("circle", "answers 302"),
        ("to a file", "answers 302"),
    ],
)
def test_servers_that_cannot(server, model, fault, said):
    server.data, server.fault = model.read_bytes(), fault
    with pytest.raises(GGUFError) as caught:
        remote.read_header(server.url)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) < 10


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/m.gguf", "cannot be reached"),
        ("http:///m.gguf", "cannot be re"),
        ("https://", "cannot be re"),
        ("http://127.0.0.1:x/m.gguf", "cannot be re"),
        ("http://127.0.0.1/a b", "cannot be re"),
        ("http://[::1/m.gguf", "cannot be re"),
    ],
)
def test_addresses_that_lead_nowhere(url, said):
    with pytest.raises(GGUFError, match=said):
        remote.read_header(url)


def test_no_gguf_file(server):
    server.data = b"tjgg" + bytes(1000)
    with pytest.raises(GGUFError, match="looks like a GGJT file from before GGUF"):
        remote.read_header(server.url)
    server.data = b""
    with pytest.raises(GGUFError, match="answers 416"):
        remote.read_header(server.url)


def test_a_header_without_end(server, model, monkeypatch):
    server.data = model.read_bytes()
    monkeypatch.setattr(remote, "MAX_HEADER", 500_000)
    with pytest.raises(GGUFError, match="the header is longer than that of any model"):
        remote.read_header(server.url)
    assert server.asked[-1][1] < 1_100_000


def test_no_way_back_from_encryption():
    request = urllib.request.Request("https://example.org/m.gguf")
    with pytest.raises(urllib.error.URLError, match="without encryption"):
        remote._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/m.gguf")
