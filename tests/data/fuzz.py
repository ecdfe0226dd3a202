"""Damaged images and archives by the thousand: each gives a face, or a reason in words, and nothing else.

``python -m tests.data.fuzz IMAGES ARCHIVES SEED`` prints what became of them as JSON. With a fourth argument,
``guided``, a file that ran new lines of Pillow or of facelib is damaged further. The test has a few hundred.
A run of 100,000 images and 1,000 archives, guided by the Python lines of Pillow and of facelib, had 165 MiB at most.
"""

import io
import json
import random
import signal
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from facelib import runtime
from facelib.data import archives, detection, images, packing

SECONDS = 20  # of the processor for one file, after which it counts as endless
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def originals() -> dict[str, bytes]:
    """An image of each kind, small."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (7, 6, 3), np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
    grey, alpha = smooth.convert("L"), smooth.copy()
    alpha.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    other = smooth.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def more():  # MPO leaves its settings in the images
        return {"save_all": True, "append_images": [other.copy(), smooth.copy()]}

    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    asked = {
        "jpeg": (smooth, "JPEG", {}),
        "jpeg progressive": (smooth, "JPEG", {"progressive": True}),
        "jpeg exif": (smooth, "JPEG", {"exif": exif, "icc_profile": bytes(200)}),
        "jpeg grey": (grey, "JPEG", {}),
        "jpeg cmyk": (smooth.convert("CMYK"), "JPEG", {}),
        "jpeg large": (smooth.resize((700, 500)), "JPEG", {}),
        "jpeg flat": (smooth.resize((3000, 4)), "JPEG", {}),
        "mpo": (smooth, "MPO", more()),
        "png": (smooth, "PNG", {}),
        "png alpha": (alpha, "PNG", {"exif": exif}),
        "png palette": (smooth.quantize(7), "PNG", {"transparency": 3}),
        "png 16": (sixteen, "PNG", {}),
        "apng": (smooth, "PNG", more()),
        "gif": (smooth, "GIF", more()),
        "bmp": (smooth, "BMP", {}),
        "bmp palette": (smooth.quantize(7), "BMP", {}),
        "webp": (smooth, "WEBP", {}),
        "webp lossless": (alpha, "WEBP", {"lossless": True}),
        "webp moving": (smooth, "WEBP", more()),
        "ppm": (smooth, "PPM", {}),
        "pgm 16": (sixteen, "PPM", {}),
    }
    for kind in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        asked[f"tiff {kind}"] = (smooth.convert("1") if kind == "group4" else smooth, "TIFF", {"compression": kind})
    asked["tiff 16"] = (sixteen, "TIFF", {"compression": "tiff_lzw"})
    asked["tiffs"] = (smooth, "TIFF", more())
    files = {name: _encoded(*how) for name, how in asked.items()}
    return files | {"plain ppm": b"P3 2 2 255\n" + b"1 2 3 " * 4, "heic": b"\0\0\0\x18ftypheic" + bytes(200)}


def packed(files: dict[str, bytes]) -> dict[str, bytes]:
    """An archive of each kind, by its suffix."""
    found = {}
    for suffix, mode in ((".tar", "w"), (".tgz", "w:gz")):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode=mode) as tar:
            for number, (name, data) in enumerate(files.items()):
                info = tarfile.TarInfo(f"faces/{name.split()[0]}{'x' * (number % 3 * 60)}/{number}.{name.split()[0]}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("faces/ann/1.png")
            link.type, link.linkname = tarfile.SYMTYPE, "../bmp/13.bmp"
            tar.addfile(link)
        found[suffix] = content.getvalue()
    for suffix, method in ((".zip", zipfile.ZIP_DEFLATED), (".ZIP", zipfile.ZIP_STORED)):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", method) as zipped:
            for number, (name, data) in enumerate(files.items()):
                zipped.writestr(f"faces/{name}/{number}.{name.split()[0] if number % 4 else ''}", data)
        found[suffix] = content.getvalue()
    return found


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The file with some damage: other bytes or numbers, parts lost, doubled, moved, or of another file."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 200, 2000))
        if rng.random() < 0.5:
            at = min(at, rng.randrange(200))  # where headers are
        kind = rng.randrange(8)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
            data[at : at + size] = (rng.choice(EXTREMES) % 256**size).to_bytes(size, order)
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif kind == 5:
            data[at : at + length] = rng.randbytes(length)
        elif kind == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            data[at : at + length] = other[start : start + length]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def use_image(data: bytes) -> str:
    """What becomes of an image, taken whole and by the detector: ``"face"`` or the reason's first words."""
    try:
        face = images.decode(data, 64)
    except images.Unreadable as reason:
        assert str(reason) and "\n" not in str(reason)
        return str(reason).partition(" (")[0]
    try:
        assert detection.align(images.decode_whole(data, detection.LONGEST)).shape == (64, 64, 3)
    except ValueError as reason:
        assert isinstance(reason, detection.FaceError | images.Unreadable) and "\n" not in str(reason)
    assert face.pixels.shape == (64, 64, 3) and face.pixels.dtype == np.uint8 and face.width > 0 < face.height
    return "face"


def use_archive(data: bytes, suffix: str, folder: Path) -> str:
    """What becomes of an archive: ``"set"`` or the error's first words."""
    path = folder / f"faces{suffix}"
    path.write_bytes(data)
    try:
        listing = archives.members(path)
        for name, content in listing.read(listing.images):
            assert name in listing.images and isinstance(content, str | bytes)
        assert len(packing.pack(path, size=8, workers=1, progress=False))
    except archives.DatasetError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return str(error).replace(str(path), "").partition(" (")[0][:40]
    return "set"


def _encoded(image: Image.Image, format: str, options: dict) -> bytes:
    content = io.BytesIO()
    image.copy().save(content, format, **options)
    return content.getvalue()


def _covered(seen: set):
    """A trace function that puts lines of Pillow and of facelib into a set."""

    def trace(frame, event, _):
        if "/PIL/" not in (file := frame.f_code.co_filename) and "/facelib/" not in file:
            return None
        seen.add((file, frame.f_lineno))
        return trace

    return trace


def _too_long(*arguments):
    raise SystemExit("endless")


def main(count: int, archive_count: int, seed: int, guided: bool = False) -> None:
    rng, became, files, lines = random.Random(seed), Counter(), originals(), set()
    sources, containers = list(files.values()), packed(files)
    signal.signal(signal.SIGPROF, _too_long)
    with tempfile.TemporaryDirectory() as folder, images.quiet_about_size():
        for kind, number in (("image", count), ("archive", archive_count)):
            for step in range(number):
                corpus, known = files if kind == "image" else containers, len(lines)
                name = rng.choice(list(corpus))
                data, suffix = mutated(corpus[name], rng, sources), name.partition(" ")[0]
                sys.settrace(_covered(lines) if guided else None)
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    found = use_image(data) if kind == "image" else use_archive(data, suffix, Path(folder))
                except BaseException:
                    Path(tempfile.gettempdir(), f"fuzz-{kind}-{seed}-{step}{name}").write_bytes(data)
                    raise
                sys.settrace(None)
                signal.setitimer(signal.ITIMER_PROF, 0)
                if len(lines) > known:
                    corpus[f"{suffix} {len(corpus)}"] = data
                became[f"{kind}: {found}"] += 1
    peak = runtime.peak_memory() / 2**20
    told = {"peak_mib": round(peak), "lines": len(lines), "corpus": len(files) + len(containers)}
    print(json.dumps(told | {"became": dict(became.most_common())}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), guided="guided" in sys.argv[4:])
