"""Shared by all tests: a cache of their own, small identity folders, and archives of them."""

import http.server
import io
import itertools
import os
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from facelib.data import fetching


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """No test sees what another one, or the user, has packed."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ.pop("FACELIB_RECORDS", None)
    monkeypatch.setenv("FACELIB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def encode():
    """An image, or a colour for a flat one of 8 x 8 pixels, as the bytes of an image file."""

    def encode(image, format="PNG", **options) -> bytes:
        if not isinstance(image, Image.Image):
            image = Image.new("RGB", (8, 8), image)
        target = io.BytesIO()
        image.save(target, format, **options)
        return target.getvalue()

    return encode


@pytest.fixture(scope="session")
def colour():
    """A colour for each number below 1000, no two alike, and far enough apart for JPEG."""

    def colour(number: int) -> tuple[int, int, int]:
        return 25 * (number // 100), 25 * (number // 10 % 10), 25 * (number % 10)

    return colour


@pytest.fixture
def tree(tmp_path, encode, colour):
    """Write files below a new folder: a list of paths (each gets its own colour), or path -> colour or bytes."""
    numbers = itertools.count()

    def tree(files, name="faces") -> Path:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        if not isinstance(files, dict):
            files = {path: colour(next(numbers)) for path in files}
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content if isinstance(content, bytes) else encode(content))
        return root

    return tree


@pytest.fixture
def containers(tmp_path):
    """The same files in every form that can be read, archived with the folder and from inside it."""

    def containers(root: Path) -> dict[str, Path]:
        made = {"folder": root}
        place = tmp_path / "archives"
        place.mkdir(exist_ok=True)
        for ending, mode in ((".tar", "w"), (".tgz", "w:gz"), (".tar.gz", "w:gz")):
            made[ending] = place / f"{root.name}{ending}"
            with tarfile.open(made[ending], mode) as tar:
                tar.add(root, root.name)
        made["tar of ."] = place / f"{root.name}-inside.tar"
        with tarfile.open(made["tar of ."], "w") as tar:
            tar.add(root, ".")
        for kind, above in ((".zip", root.parent), ("zip of .", root)):
            made[kind] = place / f"{root.name}{len(made)}.zip"
            with zipfile.ZipFile(made[kind], "w", zipfile.ZIP_DEFLATED) as zipped:
                for path in sorted(root.rglob("*"), reverse=True):
                    zipped.write(path, path.relative_to(above))
        return made

    return containers


@pytest.fixture
def make_tar(tmp_path):
    """A tar of hand-made members: name -> bytes, or a TarInfo for anything else."""

    def make_tar(members, name="made.tar", mode="w") -> Path:
        with tarfile.open(tmp_path / name, mode) as tar:
            for member, content in members:
                info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(member)
                if isinstance(content, bytes):
                    info.size = len(content)
                tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
        return tmp_path / name

    return make_tar


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
