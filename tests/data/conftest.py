"""Shared by the tests of data: an empty data folder, and a web server on this machine."""

import http.server
import re
import threading

import pytest

from facelib.data import fetching


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("FACELIB_DATA", str(folder))
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, body = self.server, self.server.files.get(self.path)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.ranges else None
        start = int(wanted[1]) if wanted else 0
        server.asked.append(self.path if not start else f"{self.path} from {start}")
        status = 404 if body is None else 416 if wanted and start >= len(body) else 206 if wanted else 200
        rest = (body or b"")[start:] if status < 400 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(rest) + server.withheld))
        self.end_headers()
        self.wfile.write(rest[: server.breaks.pop(0)] if server.breaks else rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine: `files` maps paths to bytes, `asked` lists what was asked for.

    `ranges`: whether it can send the rest of a file; `breaks`: after how many bytes its next answers break off;
    `withheld`: how many bytes each answer promises too much.
    """
    monkeypatch.setattr(fetching, "PAUSE", 0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.withheld, server.ranges, server.breaks = {}, [], 0, True, []
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
