"""Files that several processes write: whole or not at all, one writer at a time."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

HASH = hashlib.sha256().digest_size


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put a file in place, or leave what was there: it is written under a name of its own and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with open(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is read, changed and written again; other processes wait.

    The lock is a file of the same name with ``.lock`` at its end, left behind on purpose: removing it would race.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
