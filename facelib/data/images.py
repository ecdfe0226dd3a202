"""Photo files to small uint8 arrays: everything that real image files do differently."""

import ctypes
import io
import logging
import math
import os
import struct
import warnings
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from facelib.data import photofiles

# What Pillow may take a file for; of its others some start programs, and none holds photos.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_BYTES = 2**27  # of a file; one of `MAX_PIXELS` has less unless it is not compressed
MAX_PIXELS = 100_000_000
LARGE = 20_000_000  # pixels; copies of such an image are made small, where they are not for the resize alone
MARGIN = 1.5  # times the wanted resolution that JPEG's reduced decoding keeps, so that the resize decides the quality
# Segments of a JPEG's header by their markers; the plain ones are JFIF, comments, tables and frames.
FRAME_SEGMENTS = frozenset((0xC0, 0xC1, 0xC2))
PLAIN_SEGMENTS = FRAME_SEGMENTS | {0xE0, 0xFE, 0xDB, 0xC4, 0xDD}
START_OF_SCAN = 0xDA
MODES = {1: "L", 3: "RGB"}  # by number of channels
Crop = tuple[float, float, float, float]

# Pillow's own default for resize, and so what the paper's "resize" most likely did.
INTERPOLATION = Image.Resampling.BICUBIC
_NOWHERE = logging.NullHandler()


class Unreadable(ValueError):
    """An image that cannot be used; the message is the reason, in words for the skip report."""


class Decoded(NamedTuple):
    """A face ready for packing, and the size of the photo it came from."""

    pixels: np.ndarray  # (size, size, 3) uint8, RGB
    width: int  # of the file, in pixels
    height: int


def decode(data: bytes, size: int, crop: Crop | None = None) -> Decoded:
    """Decode the bytes of an image file and resize it, as the paper does: open, resize to ``size`` x ``size`` pixels.

    The EXIF rotation is applied, transparency is laid on white, CMYK, palette, grey and 16-bit images become RGB, and
    of an animation the first frame counts. ``crop`` is left, top, right, bottom as fractions of width and height,
    applied before resizing. `Unreadable` where it is empty, no image, truncated, too large, or of unknown pixels.
    """
    if not data:
        raise Unreadable("empty file")
    return _decode_plain(data, size, crop) or _decode_any(data, size, crop)


def _decode_plain(data: bytes, size: int, crop: Crop | None) -> Decoded | None:
    """`_decode_any`, in half the time, of a JPEG with nothing odd about it, as most photos are; else None."""
    frame = _plain_jpeg(data)
    if frame is None:
        return None
    mode, width, height = frame
    scale = _jpeg_scale(width, height, size, crop)
    try:
        image = Image.frombytes(mode, (-(-width // scale), -(-height // scale)), data, "jpeg", mode, "", scale, 0)
    except (ValueError, OSError):
        return None
    return Decoded(resized(image if mode == "RGB" else image.convert("RGB"), size, crop), width, height)


def _plain_jpeg(data: bytes) -> tuple[str, int, int] | None:
    """Mode, width and height of a JPEG whose header is free of EXIF, profiles and other frames; else None."""
    at, frame = 2, (0, 0, 0, 0)
    try:
        if not data.startswith(b"\xff\xd8\xff"):
            return None
        while data[at] == 0xFF and data[at + 1] in PLAIN_SEGMENTS:
            if data[at + 1] in FRAME_SEGMENTS:
                frame = struct.unpack_from(">BHHB", data, at + 4)
            at += 2 + (data[at + 2] << 8 | data[at + 3])
        complete = data[at] == 0xFF and data[at + 1] == START_OF_SCAN
    except (IndexError, struct.error):  # cut off
        return None
    bits, height, width, channels = frame
    if not complete or bits != 8 or channels not in MODES or not 0 < width * height <= MAX_PIXELS:
        return None
    return MODES[channels], width, height


def _decode_any(data: bytes, size: int, crop: Crop | None) -> Decoded:
    with _upright(data, _jpeg_wanted(size, crop)) as (image, width, height):
        return Decoded(resized(image, size, crop), width, height)


def decode_whole(data: bytes, longest: int) -> np.ndarray:
    """Decode an image file as `decode` does, whole: (H, W, 3) uint8 RGB, its longer side at most ``longest`` pixels."""
    if not data:
        raise Unreadable("empty file")
    with quiet_about_size(), _upright(data, longest // 2) as (image, _, _):  # a JPEG is halved fastest while decoded
        if max(image.size) > longest:
            image.thumbnail((longest, longest), INTERPOLATION)
        return np.array(image)


@contextmanager
def _upright(data: bytes, wanted: int):
    """The image of a file as RGB and upright, of ``wanted`` pixels at least where it has them; its width and height."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            limit = MAX_PIXELS // 2 if image.format == "WEBP" else MAX_PIXELS  # its decoder needs 16 bytes a pixel
            if width * height > limit:
                raise Unreadable(f"{width} x {height}, more pixels than the limit of {limit:,}: make a smaller copy")
            if image.format == "JPEG":
                image.draft(None, (wanted,) * 2)
            ImageOps.exif_transpose(image, in_place=True)
            yield _to_rgb(image, wanted), width, height
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable(f"more pixels than the limit of {MAX_PIXELS:,}: make a smaller copy") from None
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        raise Unreadable(_reason(error, data)) from None


def too_large(size: int) -> str:
    """Why a file of so many bytes is no photo, or nothing."""
    return f"{size / 2**20:,.0f} MiB: over the limit of {MAX_BYTES >> 20} MiB" if size > MAX_BYTES else ""


def read_file(path: str) -> bytes | str:
    """The bytes of a file, or in words why it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return too_large(os.fstat(file.fileno()).st_size) or file.readall()
    except OSError as error:
        return "a folder, where a photo is meant" if os.path.isdir(path) else f"cannot be read ({error.strerror})"


@contextmanager
def quiet_about_size():
    """Silence Pillow's warnings about large or odd images; `decode` has its own limit and says so."""
    logging.getLogger("PIL").addHandler(_NOWHERE)  # else they go to stderr
    with suppress(OSError, AttributeError):  # absent where libtiff is part of Pillow's own library
        libtiff = ctypes.CDLL(Image.core.__file__)
        libtiff.TIFFSetWarningHandler(None)
        libtiff.TIFFSetErrorHandler(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def _jpeg_wanted(size: int, crop: Crop | None) -> int:
    left, top, right, bottom = crop or (0.0, 0.0, 1.0, 1.0)
    return math.ceil(MARGIN * size / min(right - left, bottom - top))


def _jpeg_scale(width: int, height: int, size: int, crop: Crop | None) -> int:
    """By how much a JPEG is shrunk while it is decoded: 1, 2, 4 or 8, as in Pillow's draft mode."""
    times = max(1, min(width, height) // _jpeg_wanted(size, crop))
    return min(8, 1 << times.bit_length() - 1)


def _to_rgb(image: Image.Image, wanted: int) -> Image.Image:
    # Of an image so large that its copies would fill the memory, four times the wanted pixels are enough.
    times = max(1, min(image.size) // (4 * wanted)) if image.width * image.height > LARGE else 1
    if image.mode.startswith("I"):  # 16-bit grey, held as I;16 or I
        if times > 1:
            image = image.resize((image.width // times, image.height // times), Image.Resampling.NEAREST)
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise Unreadable("pixels of more than 16 bits have no defined range: convert it to 8 bits a channel")
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no defined range: convert it to 8 bits a channel")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        reducible = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        opaque = (reducible.reduce(times) if times > 1 else reducible).convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def resized(image: Image.Image, size: int, crop: Crop | None) -> np.ndarray:
    """An upright RGB image, cropped and resized as `decode` does: (size, size, 3) uint8."""
    box = None
    if crop is not None:
        width, height = image.size
        box = (crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height)
    if box or image.size != (size, size):
        image = image.resize((size, size), INTERPOLATION, box=box)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(size, size, 3)


def _reason(error: Exception, data: bytes) -> str:
    text = str(error)
    if "cannot identify" in text:
        return photofiles.other_kind(data) or "not an image that Pillow can read"
    if "truncated" in text.lower():
        return "truncated file"
    return f"damaged image ({type(error).__name__}: {text[:80]})"
