"""Photo files to small uint8 arrays: everything that real image files do differently."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
MAX_PIXELS = 100_000_000
CHUNK = 32  # files per task: enough work to hide the hand-over to a thread,
CHUNK_BYTES = 2**23  # but not more of large photos than fits into memory for every thread
SMALL_FILE = 6_000  # bytes; below, opening costs more than decoding, and threads only wait for Python's lock
Crop = tuple[float, float, float, float]

# Pillow's own default for resize, and so what the paper's "resize" most likely did.
INTERPOLATION = Image.Resampling.BICUBIC


class Unreadable(ValueError):
    """An image that cannot be used; the message is the reason, in words for the skip report."""


class Decoded(NamedTuple):
    """A face ready for packing, and the size of the photo it came from."""

    pixels: np.ndarray  # (size, size, 3) uint8, RGB
    width: int  # of the file, in pixels
    height: int


def decode(data: bytes, size: int, crop: Crop | None = None) -> Decoded:
    """Decode an image file and resize it, as the paper does: open, resize to ``size`` x ``size``.

    The EXIF rotation is applied, transparency is laid on white, CMYK, palette, grey and 16-bit
    images become RGB, and of an animation the first frame counts.

    Parameters
    ----------
    data
        The bytes of the file.
    size
        Side of the square result in pixels.
    crop
        Left, top, right, bottom as fractions of width and height, applied before resizing.

    Raises
    ------
    Unreadable
        With the reason: empty, not an image, truncated, too large, or of an unknown pixel format.
    """
    if not data:
        raise Unreadable("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Unreadable(f"{width} x {height} pixels: over the limit of {MAX_PIXELS:,}")
            _shrink_on_load(image, size, crop)
            upright = ImageOps.exif_transpose(image)
            return Decoded(_resize(_to_rgb(upright), size, crop), width, height)
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable(f"over the limit of {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        raise Unreadable(_reason(error)) from None


def decode_all(
    files: Iterable[tuple[str, bytes | str]], size: int, crop: Crop | None, workers: int
) -> Iterator[tuple[str, str, Decoded | str]]:
    """Decode many files in threads, in order, with a bounded number of them in memory.

    Parameters
    ----------
    files
        Path and bytes of each; where a file could not be read, the reason in place of the bytes.
    size, crop
        As for `decode`.
    workers
        Number of threads.

    Yields
    ------
    Path, sha256 and face of each file; where there is no face, the reason in place of it.
    """

    def decode_chunk(chunk):
        return [(path, *_hash_and_decode(data, size, crop)) for path, data in chunk]

    with ThreadPoolExecutor(workers) as pool, quiet_about_size():
        waiting = deque()
        for chunk in _chunks(files):
            if sum(len(data) for _, data in chunk) < SMALL_FILE * len(chunk):
                while waiting:
                    yield from waiting.popleft().result()
                yield from decode_chunk(chunk)
                continue
            waiting.append(pool.submit(decode_chunk, chunk))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        yield from chain.from_iterable(task.result() for task in waiting)


def _hash_and_decode(data: bytes | str, size: int, crop: Crop | None) -> tuple[str, Decoded | str]:
    if isinstance(data, str):
        return "", data
    try:
        return hashlib.sha256(data).hexdigest(), decode(data, size, crop)
    except Unreadable as reason:
        return "", str(reason)


def _chunks(files: Iterable[tuple[str, bytes | str]]) -> Iterator[list[tuple[str, bytes | str]]]:
    chunk, held = [], 0
    for path, data in files:
        chunk.append((path, data))
        held += len(data)
        if len(chunk) == CHUNK or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    yield chunk


@contextmanager
def quiet_about_size():
    """Silence Pillow's warnings about large or odd images; `decode` has its own limit and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def _shrink_on_load(image: Image.Image, size: int, crop: Crop | None) -> None:
    # JPEG draft mode decodes at 1/2, 1/4 or 1/8 scale. Twice the wanted resolution is kept, the
    # margin that Pillow's own thumbnail() uses, so that the resize decides the quality.
    if image.format != "JPEG":
        return
    left, top, right, bottom = crop or (0.0, 0.0, 1.0, 1.0)
    wanted = 2 * size / min(right - left, bottom - top)
    image.draft(None, (int(np.ceil(wanted)), int(np.ceil(wanted))))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, held as I;16 or I
        grey = np.asarray(image, dtype=np.int64)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise Unreadable("pixels of more than 16 bits have no defined range")
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no defined range")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")


def _resize(image: Image.Image, size: int, crop: Crop | None) -> np.ndarray:
    box = None
    if crop is not None:
        width, height = image.size
        box = (crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height)
    return np.asarray(image.resize((size, size), INTERPOLATION, box=box), dtype=np.uint8)


def _reason(error: Exception) -> str:
    text = str(error)
    if "cannot identify" in text:
        return "not an image that Pillow can read"
    if "truncated" in text.lower():
        return "truncated file"
    return f"damaged image ({type(error).__name__}: {text[:80]})"
