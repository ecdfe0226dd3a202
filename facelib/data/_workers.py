"""Image files to the rows of one file of pixels: in this process, or in several where that is worth their start."""

from __future__ import annotations

import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facelib import runtime
from facelib.data import images

CHUNK = 512  # files that are handed over together,
CHUNK_BYTES = 2**23  # but not more of large photos than fits into memory for every process
MEASURED = 0.05  # seconds of work after which the rest is estimated;
WORTHWHILE = 1.0  # with fewer seconds left, processes take longer to start than they save
BLOCK = 1024  # rows that are moved together

File = tuple[str, bytes | str | None]  # path, and bytes; why there are none; or None where they are yet to be read
Result = tuple[str, int] | str  # sha256 and width in pixels, or why there is no face


class Job(NamedTuple):
    """What is the same for all files."""

    target: str  # the file of pixels: (rows, size, size, 3) uint8
    folder: str  # what stands before the paths of files that are yet to be read
    size: int  # as for `images.decode`
    crop: images.Crop | None


class Chunk(NamedTuple):
    """Files that are handed over together."""

    row: int  # of the first one's face
    files: list[File]


def write_faces(
    job: Job, files: Iterable[File], count: int, workers: int, told: Callable[[int], object]
) -> list[tuple[str, Result]]:
    """Decode files and write their faces to ``job.target``, one row each, in order; a file without a face gets none.

    Parameters
    ----------
    job
        What is the same for all files.
    files
        Path and bytes of each.
    count
        How many there are.
    workers
        Processes to share the work if it takes longer than `WORTHWHILE`; they end with this one, however it ends.
    told
        Called with the number of further files that are done.

    Returns
    -------
    Path and result of each file, in order.

    Raises
    ------
    RuntimeError
        One of the processes ended early; the others are stopped.
    OSError
        The target cannot be written.
    """
    Path(job.target).touch()
    chunks = _chunks(files)
    results = _write_alone(job, chunks, count, workers, told)
    if len(results) < count:
        results += _write_together(job, chunks, workers, told)
    _close_gaps(job, np.array([not isinstance(result, str) for _, result in results]))
    return results


def _chunks(files: Iterable[File]) -> Iterator[Chunk]:
    row, chunk, held = 0, [], 0
    for path, data in files:
        chunk.append((path, data))
        held += len(data or "")
        if len(chunk) == min(CHUNK, row + 4) or held >= CHUNK_BYTES:  # few at first, to know soon how long they take
            yield Chunk(row, chunk)
            row, chunk, held = row + len(chunk), [], 0
    if chunk:
        yield Chunk(row, chunk)


def _write_alone(job: Job, chunks: Iterator[Chunk], count: int, workers: int, told: Callable):
    """Write in this process until nothing is left, or so much that more processes are worth their start."""
    results, start = [], None
    for chunk in chunks:
        results += _named(chunk, _write_rows(job, chunk))
        told(len(chunk.files))
        now = time.thread_time(), len(results)
        start = start or now  # the first chunk is slower
        spent, done = now[0] - start[0], now[1] - start[1]
        if workers > 1 and spent > MEASURED and spent / done * (count - len(results)) > WORTHWHILE:
            break
    return results


def _write_together(job: Job, chunks: Iterator[Chunk], workers: int, told: Callable):
    results, waiting = [], deque()

    def take():
        chunk, future = waiting.popleft()
        results.extend(_named(chunk, future.result()))
        told(len(chunk.files))

    with _team(job, workers) as submit:
        for chunk in chunks:
            waiting.append((chunk, submit(chunk)))
            if len(waiting) > 2 * workers:
                take()
        while waiting:
            take()
    return results


def _named(chunk: Chunk, results: list[Result]) -> list[tuple[str, Result]]:
    return [(path, result) for (path, _), result in zip(chunk.files, results, strict=True)]


def _write_rows(job: Job, chunk: Chunk) -> list[Result]:
    results, faces = [], np.zeros((len(chunk.files), job.size, job.size, 3), np.uint8)
    with images.quiet_about_size():
        for row, (path, data) in enumerate(chunk.files):
            data = images.read_file(job.folder + path) if data is None else data
            face = data if isinstance(data, str) else _decode(job, data)
            if isinstance(face, str):
                results.append(face)
            else:
                faces[row] = face.pixels
                results.append((hashlib.sha256(data).hexdigest(), face.width))
    with open(job.target, "r+b") as pixels:
        pixels.seek(chunk.row * faces[0].nbytes)
        pixels.write(faces)
    return results


def _decode(job: Job, data: bytes) -> images.Decoded | str:
    try:
        return images.decode(data, job.size, job.crop)
    except images.Unreadable as reason:
        return str(reason)


def _close_gaps(job: Job, kept: np.ndarray) -> None:
    """Keep some rows of the target, (rows,) bool, and move them together."""
    if kept.all():
        return
    size, end = job.size**2 * 3, int(kept.argmin())
    with open(job.target, "r+b") as pixels:
        pixels.truncate(len(kept) * size)  # the last rows may have no face
        for start in range(end, len(kept), BLOCK):
            pixels.seek(start * size)
            block = np.frombuffer(pixels.read(BLOCK * size), np.uint8).reshape(-1, size)
            pixels.seek(end * size)
            end += pixels.write(block[kept[start : start + BLOCK]]) // size
        pixels.truncate(end * size)


@contextmanager
def _team(job: Job, count: int) -> Iterator[Callable[[Chunk], Future]]:
    """Start processes that write chunks; they are gone afterwards."""
    idle, processes, threads = queue.SimpleQueue(), [], ThreadPoolExecutor(count)

    def write(chunk: Chunk) -> list[Result]:
        process = idle.get()
        try:
            return _ask(process, chunk)
        finally:
            idle.put(process)

    try:
        for _ in range(count):
            processes.append(_start(job))
            idle.put(processes[-1])
        yield lambda chunk: threads.submit(write, chunk)
    finally:
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            process.communicate()


def _start(job: Job) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, (str(runtime.ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "facelib.data._workers"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,  # closes when this process ends, however it ends
        stdout=subprocess.PIPE,
    )
    pickle.dump(job, process.stdin)
    return process


def _ask(process: subprocess.Popen, chunk: Chunk) -> list[Result]:
    try:
        pickle.dump(chunk, process.stdin)
        process.stdin.flush()
        answer = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError):
        raise RuntimeError(
            f"A packing process ended with status {process.wait()} between '{chunk.files[0][0]}' and "
            f"'{chunk.files[-1][0]}'. Nothing is kept of this set; run again, with workers=1 to see the error."
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve() -> None:
    """Write chunks for `write_faces` of the process that started this one, until it closes stdin or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may get between the answers
    received = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(received,), daemon=True).start()
    job = received.get()
    with suppress(BrokenPipeError):
        while True:
            pickle.dump(_answer(job, received.get()), answers)
            answers.flush()


def _receive(received: queue.SimpleQueue) -> None:
    with suppress(EOFError, pickle.UnpicklingError):
        while True:
            received.put(pickle.load(sys.stdin.buffer))
    os._exit(0)


def _answer(job: Job, chunk: Chunk) -> list[Result] | Exception:
    try:
        return _write_rows(job, chunk)
    except Exception as error:
        return error


if __name__ == "__main__":
    serve()
