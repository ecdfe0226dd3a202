"""CelebA as its authors publish it (Liu et al. 2015), and `celebfaces`, the part of it that is trained on here."""

import csv
import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from facelib import runtime
from facelib.data import archives, images, layouts
from facelib.data.archives import DatasetError
from facelib.files import checksum, whole

PHOTOS = 202_599
PHOTOS_MD5 = "00d2c5bc6d35e252742224ab0c1e8fcb"  # of img_align_celeba.zip
IDENTITIES_MD5 = "32bd1bd63d3c78cd57e08160ec5ed1e2"  # of identity_CelebA.txt
FOLDERS = ("", *(f"{name}{part}" for name in ("celeba", "CelebA") for part in ("", "/Img", "/Anno")))
WIDTH, HEIGHT = 178, 218  # of the aligned photos, in pixels
EYES = (69.5, 111.0, 108.0, 111.0)  # their mean places there: x and y of the left one in the photo, and the right
FRAMED_EYES = (0.335, 0.665, 0.365)  # and are to lie in a framed face: x, x and y as shares of its side
# What a celebfaces photo shows of the aligned one, by the width of its file: left, top, right and bottom in pixels. For
# 64 found by registering 32 photos (median correlation .99, each edge within .1 pixel), for 112 from the mean face and
# the mean positions of five landmarks beside those of the first (within 1 pixel).
SQUARES = {64: (31.0, 71.4, 149.0, 189.4), 112: (29.0, 67.0, 149.0, 187.0)}
LIST = runtime.ROOT / "data" / "celebfaces.csv"
VERSION = 1  # raised when celebfaces is cut otherwise

MISSING = (
    "'{name}' is not under '{folder}'. It is made of CelebA, whose terms do not allow it to be shipped here: get "
    "img_align_celeba.zip and identity_CelebA.txt from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put both "
    "there (missing: {lacking}); see data/README.md."
)


def celebfaces(progress: bool = True) -> Path | None:
    """Archive of the photos that ``data/celebfaces.csv`` lists, cut from CelebA once; None where CelebA is not there.

    Its folders are CelebA's numbers of identities and its files those of images, and the files are as wide as the ones
    that the shipped weights were trained on, so that splits are of the same people.
    """
    if lacking():
        return None
    target = _home() / "celebfaces.tar"
    if not target.exists():
        _write_celebfaces(target, progress)
    return target


def whole_set(progress: bool = True) -> Path | None:
    """Table (see `layouts`) of all photos of CelebA; None where CelebA is not there. Framed by `crop`."""
    if lacking():
        return None
    target = _home() / "celeba.csv"
    if not target.exists():
        found, _ = _photos()
        if progress and len(found) < PHOTOS:
            print(f"'{_images()}' holds {len(found):,} of CelebA's {PHOTOS:,} photos.")
        people, place = read_identities(_identities()), _images().absolute()
        rows = ((place / path, _folder(people[number])) for number, path in sorted(found.items()) if number in people)
        layouts.write_table(rows, target)
    return target


def lacking() -> str:
    """What of CelebA is missing under `runtime.data_dir`; nothing if it is complete."""
    found = {"img_align_celeba.zip": _images(), "identity_CelebA.txt": _identities()}
    return " and ".join(name for name, place in found.items() if place is None)


def crop() -> images.Crop:
    """The square of an aligned photo, as fractions, around the eyes' mean places, of the published list if there."""
    file = _place("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
    left, left_y, right, right_y = mean_eyes(file) if file else EYES
    side = (right - left) / (FRAMED_EYES[1] - FRAMED_EYES[0])
    x, y = left - FRAMED_EYES[0] * side, (left_y + right_y) / 2 - FRAMED_EYES[2] * side
    return _fractions(x, y, x + side, y + side)


def mean_eyes(file: Path) -> list[float]:
    """Mean x and y of the left and the right eye, in pixels, in CelebA's list of landmarks (.txt, or Kaggle's .csv)."""
    lines = (re.split(r"[\s,]+", line.strip()) for line in file.read_text().splitlines())
    rows = [list(map(int, parts[1:5])) for parts in lines if len(parts) == 11 and parts[0][:6].isdigit()]
    if not rows:
        raise DatasetError(f"'{file}': expected lines of '000001.jpg' and the x and y of five landmarks.")
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def read_identities(file: Path) -> dict[int, int]:
    """Number of the identity by number of the photo, from ``identity_CelebA.txt`` or Kaggle's table of the same."""
    rows = re.findall(r"^(\d{6})\.jpg[ \t,]+(\d+)\s*$", file.read_text(), re.M)
    found = hashlib.md5("".join(f"{name}.jpg {identity}\r\n" for name, identity in rows).encode()).hexdigest()
    if found != IDENTITIES_MD5:
        raise DatasetError(
            f"'{file}' is not CelebA's list of identities ({len(rows):,} lines of '000001.jpg 2880', md5 {found}; "
            f"expected {PHOTOS:,} lines, md5 {IDENTITIES_MD5}). Fetch it again."
        )
    return {int(name): int(identity) for name, identity in rows}


def read_list(file: Path = LIST) -> dict[int, int]:
    """Numbers of the photos in celebfaces, and for each the width of its file: 64 or 112 pixels, two sources."""
    with open(file, encoding="utf-8", newline="") as lines:
        return {int(row["number"]): int(row["source"]) for row in csv.DictReader(lines)}


def _write_celebfaces(target: Path, progress: bool) -> None:
    widths, people, (found, read) = read_list(), read_identities(_identities()), _photos()
    if missing := sorted(widths.keys() - found.keys()):
        raise DatasetError(
            f"'{_images()}' lacks {len(missing):,} of the {len(widths):,} photos of celebfaces, such as "
            f"{missing[0]:06}.jpg. Unpack or fetch it again."
        )
    wanted = {found[number]: number for number in widths}
    bar = tqdm(read(wanted), "cutting celebfaces", len(wanted), unit=" images", disable=not progress, file=sys.stdout)
    with whole(target) as temporary, tarfile.open(temporary, "w") as tar:
        for path, data in bar:
            face = _cut(path, data, widths[wanted[path]])
            info = tarfile.TarInfo(f"celebfaces/{_folder(people[wanted[path]])}/{wanted[path]:06}.jpg")
            info.size = len(face)
            tar.addfile(info, io.BytesIO(face))


def _cut(path: str, data: bytes | str, width: int) -> bytes:
    try:
        if isinstance(data, str):
            raise images.Unreadable(data)
        face = images.decode(data, width, _fractions(*SQUARES[width]))
        if (face.width, face.height) != (WIDTH, HEIGHT):
            raise images.Unreadable(f"{face.width} x {face.height} pixels instead of {WIDTH} x {HEIGHT}")
    except images.Unreadable as reason:
        raise DatasetError(
            f"'{_images()}', '{path}': {reason}. Fetch or unpack CelebA's aligned photos again."
        ) from None
    content = io.BytesIO()
    Image.fromarray(face.pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


def _photos() -> tuple[dict[int, str], Callable]:
    """Path of each photo by its number, and what reads them."""
    place = _images()
    if place.is_file() and (found := checksum(place, "md5")) != PHOTOS_MD5:
        raise DatasetError(
            f"'{place}' is not CelebA's archive (md5 {found}; expected {PHOTOS_MD5}). Fetch it again, or, if it was "
            "packed anew, unpack it."
        )
    found, read = archives._lister(place)(place)
    names = (
        (path, re.fullmatch(r"(?:.*/)?(\d{6})\.(?:jpg|png)", path)) for path, reason in found.items() if not reason
    )
    return {int(name[1]): path for path, name in names if name}, read


def _home() -> Path:
    """Folder in the cache for what is made of the files that are there."""
    places = [(place.absolute(), place.stat()) for place in (_images(), _identities())]
    parts = [[str(place), found.st_size, found.st_mtime_ns] for place, found in places]
    return runtime.cache_dir() / "celeba" / archives.digest([VERSION, parts])


def _images() -> Path | None:
    return _place("img_align_celeba.zip", "img_align_celeba")


def _identities() -> Path | None:
    return _place("identity_CelebA.txt", "identity_CelebA.csv")


def _place(*names: str) -> Path | None:
    places = (runtime.data_dir() / folder / name for folder in FOLDERS for name in names)
    return next((place for place in places if place.exists()), None)


def _folder(identity: int) -> str:
    return f"{identity:05}"


def _fractions(left: float, top: float, right: float, bottom: float) -> images.Crop:
    return left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT
