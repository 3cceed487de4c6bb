"""A small HTTP server that behaves as the hub, a plain server or a bad one, on the loopback device."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file and how it is served."""

    content: bytes
    hub: bool = False
    """Answer as the hub does for a large file: a redirection to a store on another host, with size and SHA-256."""
    ranges: bool = True
    etag: str | None = '"v1"'
    drops: list[int] = field(default_factory=list)
    """Bytes of each of the first answers after which the connection is cut."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the first requests, before the file is given."""
    answers: int | None = None
    """So many requests are answered, all later ones refused with 403."""
    redirect: str | None = None
    head: bool = True
    stated_sha256: str | None = None
    stated_size: int | None = None
    """What the hub states, where it is not the truth."""

    @property
    def sha256(self) -> str:
        return self.stated_sha256 or hashlib.sha256(self.content).hexdigest()


class Server(ThreadingHTTPServer):
    """Keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("range") for method, _, headers in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """The behaviour of `Served`."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.close_connection = True
        # a proxy is asked for whole addresses
        path = "/" + self.path.split("/", 3)[3] if self.path.startswith("http://") else self.path
        served = self.server.files.get(path.removeprefix("/store"))
        if served is not None and served.answers is not None:
            served.answers -= 1
        if served is None:
            self._reply(404)
        elif served.answers is not None and served.answers < 0:
            self._reply(403)
        elif served.statuses:
            self._reply(served.statuses.pop(0), {"Retry-After": "7"})
        elif self.command == "HEAD" and not served.head:
            self._reply(405)
        elif served.redirect:
            self._reply(302, {"Location": served.redirect})
        elif served.hub and not path.startswith("/store"):
            size = str(served.stated_size or len(served.content))
            headers = {"X-Linked-Etag": f'"{served.sha256}"', "X-Linked-Size": size, "X-Repo-Commit": "0" * 40}
            headers |= {
                "ETag": f'"{served.sha256}"',
                "Location": f"http://localhost:{self.server.server_port}/store{path}",
            }
            self._reply(302, headers)
        else:
            self._file(served)

    def _file(self, served: Served) -> None:
        start, content = 0, served.content
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked and served.ranges and condition in (None, served.etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._reply(416)
                return
        headers = {"Content-Length": str(len(content) - start)}
        headers |= {"ETag": served.etag} if served.etag else {}
        headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._reply(206 if start else 200, headers)
        if self.command == "GET":
            until = served.drops.pop(0) if served.drops else len(content)
            self.wfile.write(content[start : start + until])

    def _reply(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Server]:
    """A server in a thread of its own."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
