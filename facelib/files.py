"""Files that several processes write: whole or not at all, one writer at a time."""

import glob
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from facelib import runtime

HASH = hashlib.sha256().digest_size
FORSAKEN = 24 * 3600  # seconds after which nobody writes any more; machines that share a cache do not know each other's


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put a file in place, or leave what was there."""
    with whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file, or a folder, that then takes the place of ``path``; nothing happens there if that fails.

    A folder takes the place of nothing or of an empty one: OSError where there is something.
    """
    with _told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    with part as folder:
        yield Path(folder, path.name)
        if os.name == "nt" and path.is_dir():
            path.rmdir()  # Windows does not do so itself
        os.replace(Path(folder, path.name), path)


@contextmanager
def _told(place: Path) -> Iterator[None]:
    """Say where nothing can be written, and which variable names another folder."""
    try:
        yield
    except OSError as error:
        folders = {"FACELIB_CACHE": runtime.cache_dir(), "FACELIB_OUTPUT": runtime.output_dir()}
        name = next((name for name, folder in folders.items() if place.is_relative_to(folder)), "")
        more = f": set {name} to a folder that can be written to" if name else ""
        raise type(error)(f"'{place}' cannot be written ({error.strerror}){more}.") from error


def sweep(folder: Path, name: str = "", age: float = FORSAKEN) -> None:
    """Remove what killed processes left of `whole`, by default all that nobody has written to for a day."""
    for left in folder.glob(f".{glob.escape(name)}*.part"):
        with suppress(OSError):  # another process was faster
            if time.time() - max(each.stat().st_mtime for each in (left, *left.rglob("*"))) >= age:
                shutil.rmtree(left)


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, in UTF-8 or, if it begins so, UTF-16; ValueError names one that is neither."""
    with open(path, "rb") as file:
        marks = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    try:
        return Path(path).read_text(encoding="utf-16" if marks else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is no text in UTF-8 ({error}): save it as such.") from None


def checksum(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Hash of a file as hexadecimal digits; ``algorithm`` as in `hashlib`."""
    hashed = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()


def kept_array(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of a file that ends with its own hash; where there is none, or no whole one, ``make`` makes it."""
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content[:-HASH]).digest() == content[-HASH:]:
        return np.load(io.BytesIO(content[:-HASH]))
    buffer, made = io.BytesIO(), make()
    np.save(buffer, made)
    write_atomically(path, buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    return made


@contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold the lock of a file, ``<path>.lock``, which is left behind: removing it would race. Other processes wait.

    A process that has to wait says ``waiting``, if that is given.
    """
    from filelock import FileLock, Timeout

    with _told(Path(f"{path}.lock")):
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{path}.lock").touch()  # an error where none can be made, as in /proc: the lock would wait for ever
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(waiting, end="\n" * bool(waiting), flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
