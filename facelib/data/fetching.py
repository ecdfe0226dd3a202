"""Files from the web: fetched once, resumed where a download broke off, and checked."""

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from facelib import runtime
from facelib.data.archives import DatasetError
from facelib.files import checksum, locked

TRIES = 3  # in a row that bring nothing further, before a download is given up
PAUSE = 1.0  # seconds between them
TIMEOUT = 30  # seconds without an answer
BLOCK = 2**14  # bytes that are written together; what has arrived of the next block is lost with the connection


class Remote(NamedTuple):
    """A file on the web: its name here, its address, and the sha256 it must have."""

    name: str
    url: str
    sha256: str


def fetch(remote: Remote, progress: bool = True) -> Path:
    """Download a file once into the cache, and check its hash; a DatasetError says how to do it by hand.

    What has arrived when a download breaks off stays beside the target as ``<name>.part``; the next try asks for the
    rest alone (RFC 9110, section 14). Processes that want the same file wait for one another.
    """
    target = runtime.cache_dir() / "downloads" / remote.name
    if _is(target, remote):
        return target
    with locked(target):
        if not _is(target, remote):
            _download(remote, target, progress)
    return target


def _is(path: Path, remote: Remote) -> bool:
    return path.exists() and checksum(path) == remote.sha256


def _download(remote: Remote, target: Path, progress: bool) -> None:
    part, failures, reason = target.with_name(f"{remote.name}.part"), 0, ""
    while failures < TRIES:
        before = _size(part)
        try:
            resumed = _receive(remote, part, progress)
        except OSError as error:  # those of requests, too
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if "Max retries" in reason:  # the end tells why
                host, why = remote.url.split("/")[2], reason.rpartition(": ")[2].rstrip("\"')")
                reason = f"no connection to {host}: {why}"
            refused = getattr(getattr(error, "response", None), "status_code", 500) < 500
            if refused or not isinstance(error, requests.RequestException):  # no such file; or a full disk
                break
            failures = 0 if _size(part) > before else failures + 1
            time.sleep(PAUSE)
        else:
            found = checksum(part)
            if found == remote.sha256:
                os.replace(part, target)
                return
            part.unlink()
            reason = f"what arrived has another sha256: {found}"
            failures = failures + 1 if resumed else TRIES  # what was there may be of another file: from its start
    raise DatasetError(
        f"'{remote.name}' could not be fetched ({reason}). Run again"
        + (f", it goes on after the {_size(part):,} bytes that are there" if _size(part) else "")
        + f"; or download {remote.url} by hand, check that its sha256 is {remote.sha256}, and put it into "
        f"'{runtime.data_dir()}' or '{target.parent}'."
    )


def _receive(remote: Remote, part: Path, progress: bool) -> bool:
    """Append to the partial file what it lacks; whether it had a beginning that was kept."""
    start = _size(part)
    wanted = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with requests.get(remote.url, headers=wanted, stream=True, timeout=TIMEOUT) as answer:
        if start and answer.status_code == 416:  # nothing lies behind what is there
            return True
        answer.raise_for_status()
        if answer.status_code != 206:  # the server sends all of it
            start = 0
        total = start + int(answer.headers.get("Content-Length", 0))
        about = {"desc": f"fetching {remote.name}", "unit": "B", "unit_scale": True, "disable": not progress}
        bar = tqdm(total=total or None, initial=start, file=sys.stdout, **about)
        with bar, open(part, "ab" if start else "wb") as file:
            for block in answer.iter_content(BLOCK):
                bar.update(file.write(block))
    if _size(part) < total:
        raise requests.ConnectionError(f"it broke off after {_size(part):,} of {total:,} bytes")
    return start > 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
