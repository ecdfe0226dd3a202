"""Which files may be photos: by their suffix, else by how they begin."""

from collections.abc import Callable

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
HEAD = 16  # bytes that show them
# Formats that cameras and archives have and that are not read: what stands in bytes 4 to 12.
OTHERS = {
    "HEIC": (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc", b"ftypmsf1", b"ftypheim", b"ftypheis"),
    "AVIF": (b"ftypavif", b"ftypavis"),
    "JPEG 2000": (b"jP  \r\n\x87\n",),
    "JPEG XL": (b"JXL \r\n\x87\n",),
}
COPIES = ("~", ".bak", ".jpg_original", ".jpeg_original", ".png_original", ".thm")  # of a photo beside them


def why_no_photo(path: str, head: Callable[[], bytes | str]) -> str:
    """Why a file is no candidate for a photo; empty if it is one.

    ``head`` gives the first `HEAD` bytes of the file, or in words why they cannot be read; it is asked for files
    without an image's suffix alone. Whether the others are images shows when they are decoded.
    """
    if path[path.rfind(".") :].lower() in SUFFIXES:
        return ""
    if path.lower().endswith(COPIES):
        return "a copy of a photo, by its name"
    first = head()
    if isinstance(first, str):
        return first
    if first.startswith(SIGNATURES) or (first[:4], first[8:12]) == (b"RIFF", b"WEBP"):
        return ""
    return other_kind(first) or "not an image"


def other_kind(data: bytes) -> str:
    """What a file is that others take for a photo and `images.FORMATS` do not hold; empty for all others."""
    kind = next((name for name, beginnings in OTHERS.items() if data[4:12] in beginnings), "")
    return f"{'an' if kind == 'AVIF' else 'a'} {kind} photo, which is not read here: convert it to JPEG" if kind else ""


def read_head(path: str) -> bytes | str:
    """The first `HEAD` bytes of a file, or in words why they cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(HEAD)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
