"""The header of a GGUF file on a web server, without the rest: read by HTTP range requests.

A model of a hundred gigabytes tells what is in it with its first few megabytes. They are asked for in pieces that grow,
from the front, and no more of them than `MAX_HEADER`; tensors are never asked for.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, NoReturn, cast
from urllib.parse import unquote

from qviz._files import OpenFile
from qviz.errors import GGUFError
from qviz.gguf.reader import GGUFFile, Part

MAX_HEADER = 1 << 27  # the largest vocabularies take some ten megabytes
_FIRST, _LARGEST = 1 << 18, 1 << 23  # bytes of a request
_TIMEOUT = 30.0  # seconds without a byte
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LOGIN = "the server wants to know who asks; download the file with a program that can log in"
_NEXT_STEPS = {
    401: _LOGIN,
    403: _LOGIN,
    404: "check the address",
    410: "check the address",
    416: "the file is empty, or the server mistakes its size; download it",
    429: "too many requests; wait a little, then try again",
}


def is_url(name: str) -> bool:
    """Whether this is the address of a file on a web server.

    Examples
    --------
    >>> is_url("https://example.org/model.gguf"), is_url("model.gguf")
    (True, False)
    """
    return name.lower().startswith(("http://", "https://"))


def read_header(url: str) -> GGUFFile:
    """Open a GGUF file on a web server, for its metadata and what it says of its tensors.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``; of a split model, any part: only that one is looked at.

    Returns
    -------
    GGUFFile
        Its tensors cannot be had.

    Raises
    ------
    GGUFError
        The server cannot be reached, refuses, serves no ranges, or what it serves is no GGUF file.
    """
    file = RemoteFile(url)
    part = Part(file.path, file)
    return GGUFFile((part,), part.metadata)


class _Address:
    """An address where a path is expected: it has a name, and is shown as it was given."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = unquote(url.partition("?")[0].rpartition("/")[2])

    def __str__(self) -> str:
        return self._url

    __fspath__ = __str__


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, a few, but not from https to http."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"it leads on to {newurl}, without encryption")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Web servers, through the proxy that the environment names; no files, no FTP."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        director.add_handler(handler)
    return director


class RemoteFile(OpenFile):
    """The beginning of a file on a web server, as far as it was asked for."""

    def __init__(self, url: str) -> None:  # not OpenFile's: there is no descriptor
        self.path = cast(Path, _Address(url))
        self._error = GGUFError
        self._url, self._opener = url, _opener()
        self._version: tuple[str | None, int] | None = None
        self._head = b""
        self._closed = False
        self.size = 0
        self._more(_FIRST)

    @property
    def fetched(self) -> int:
        """Bytes that have come so far."""
        return len(self._head)

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed

    def close(self) -> None:
        """Ask for nothing more."""
        self._closed = True

    def check(self, head: int = 0) -> None:
        """Nothing to do: each answer says of which version of the file it is."""

    def fileno(self) -> int:
        """Refuse: there is none."""
        self._only_header()

    def map(self) -> NoReturn:
        """Refuse: only the header is here."""
        self._only_header()

    def _only_header(self) -> NoReturn:
        raise GGUFError("only the header of this file is looked at; download it to use its tensors", path=self.path)

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill a buffer with bytes of the header."""
        with memoryview(buffer) as whole, whole.cast("B") as view:
            end = offset + len(view)
            if end > MAX_HEADER:
                raise GGUFError(
                    "the header is longer than that of any model", path=self.path, found=f"{end} bytes or more",
                    expected=f"at most {MAX_HEADER}",
                )  # fmt: skip
            while self.fetched < end:
                self._more(min(max(self.fetched, _FIRST, end - self.fetched), _LARGEST))
            view[:] = self._head[offset:end]

    def _more(self, length: int) -> None:
        """Ask for the next bytes, and see that they are those."""
        start = self.fetched
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity", "User-Agent": "qviz"}
        try:
            request = urllib.request.Request(self._url, headers=headers)
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                first, last, size = self._promised(answer)
                version = answer.headers.get("ETag"), size
                promised = first == start and last == min(start + length, size) - 1
                if not promised or version != (self._version or version):
                    self._fail("the file was changed on the server, or its ranges are broken; try again")
                self._version, self.size = version, size
                piece = answer.read(last - first + 1)
                if len(piece) != last - first + 1:
                    self._fail("the connection broke in the middle of an answer; try again")
        except urllib.error.HTTPError as problem:
            step = _NEXT_STEPS.get(problem.code, "try again later" if problem.code >= 500 else "check the address")
            step = "it leads on and on, or to no web server; check the address" if 300 <= problem.code < 400 else step
            self._fail(f"the server answers {problem.code} {str(problem.reason).splitlines()[0]}: {step}")
        except urllib.error.URLError as problem:
            self._fail(f"cannot be reached: {problem.reason}; check the address and the network connection")
        except (OSError, http.client.HTTPException, ValueError) as problem:
            said = str(problem) or type(problem).__name__
            self._fail(f"cannot be read: {said}; check the address and the network connection")
        self._head += piece

    def _promised(self, answer: Any) -> tuple[int, int, int]:
        """First byte, last byte and size of the file, as the answer's headers say."""
        if answer.status != 206:
            if answer.headers.get_content_type() == "text/html":
                page = "this is a web page, not the file"
                hint = "; its link has /resolve/ where the page has /blob/" if "/blob/" in self._url else ""
                self._fail(f"{page}{hint}; give the address of the file itself")
            self._fail(
                f"the server sends all of the file or nothing (it answers a range with {answer.status}); "
                "download it, and inspect it here"
            )
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            self._fail("the server compresses what it was asked to leave as it is; download the file")
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if match is None:
            said = answer.headers.get("Content-Range")
            raise GGUFError("the server does not say which bytes it sends", path=self.path, found=said)
        return int(match[1]), int(match[2]), int(match[3])

    def _fail(self, problem: str) -> NoReturn:
        raise GGUFError(problem, path=self.path) from None
