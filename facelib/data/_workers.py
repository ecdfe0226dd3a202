"""Image files to the rows of one file of pixels: in this process, or in several where that is worth their start."""

import hashlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
    detect: str | None = None  # the face that is meant, where the detector is to frame it


class Chunk(NamedTuple):
    """Files that are handed over together."""

    row: int  # of the first one's face
    files: list[File]


def write_faces(
    job: Job, files: Iterable[File], count: int, workers: int, told: Callable[[int], object]
) -> list[tuple[str, Result]]:
    """Decode ``count`` files and write their faces to ``job.target``, in order; a file without a face gets no row.

    So many ``workers`` share the work if it takes longer than `WORTHWHILE`; they end with this process, however it
    ends. ``told`` is called with the number of further files that are done. Returns path and result of each file.
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
        results += _write_rows(job, chunk)
        told(len(chunk.files))
        now = time.thread_time(), len(results)
        start = start or now  # the first chunk is slower
        spent, done = now[0] - start[0], now[1] - start[1]
        if workers > 1 and spent > MEASURED and spent / done * (count - len(results)) > WORTHWHILE:
            break
    return results


def _write_together(job: Job, chunks: Iterator[Chunk], workers: int, told: Callable):
    # Unlike the standard library's, these processes do not run the script again that started them.
    from loky import ProcessPoolExecutor

    results, waiting = [], deque()
    pool = ProcessPoolExecutor(workers, initializer=_prepare, initargs=(os.getpid(),), env={"OMP_NUM_THREADS": "1"})

    def take():
        results.extend(waiting[0][1].result())
        told(len(waiting.popleft()[0].files))

    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(_write_rows, job, chunk)))
            if len(waiting) > 2 * workers:
                take()
        while waiting:
            take()
    except BrokenExecutor:
        chunks_lost = [lost for lost, _ in waiting] or [chunk]
        first, last = chunks_lost[0].files[0][0], chunks_lost[-1].files[-1][0]
        raise RuntimeError(
            f"A packing process was ended between '{first}' and '{last}', perhaps for want of memory. "
            "Nothing is kept of this set; run again, with workers=1 to see the error."
        ) from None
    finally:
        pool.shutdown(kill_workers=True)
    return results


def _prepare(parent: int) -> None:
    """Let a process of the pool end with the one that started it, however that ends, and by nothing else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the other process decides

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_rows(job: Job, chunk: Chunk) -> list[tuple[str, Result]]:
    results: list[tuple[str, Result]] = []
    faces = np.zeros((len(chunk.files), job.size, job.size, 3), np.uint8)
    with images.quiet_about_size():
        for row, (path, data) in enumerate(chunk.files):
            data = images.read_file(job.folder + path) if data is None else data
            try:
                face = _decode(job, data)
            except ValueError as reason:  # `images.Unreadable` or `detection.FaceError`
                results.append((path, str(reason)))
            else:
                faces[row] = face.pixels
                digest = hashlib.sha256(data).hexdigest()  # type: ignore[arg-type]  # only bytes have a face
                results.append((path, (digest, face.width)))
    with open(job.target, "r+b") as pixels:
        pixels.seek(chunk.row * faces[0].nbytes)
        pixels.write(faces)
    return results


def _decode(job: Job, data: bytes | str) -> images.Decoded:
    """The face as the detector frames it, if it is asked and finds one, else as the crop does."""
    if isinstance(data, str):
        raise images.Unreadable(data)
    if job.detect:
        from facelib.data import detection

        photo = images.decode_whole(data, detection.LONGEST)
        try:
            return images.Decoded(detection.align(photo, job.size, job.detect), photo.shape[1], photo.shape[0])
        except detection.FaceError:
            if job.crop is None:
                raise
    return images.decode(data, job.size, job.crop)


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
