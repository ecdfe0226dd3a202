"""Folders and archives of photos, packed once into one file of pixels; several packed sets joined to one."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facelib import runtime
from facelib.data import _workers, images, people
from facelib.data.aligned import ALIGNED_VERSION
from facelib.data.archives import DatasetError, Listing, digest, fingerprint, members
from facelib.data.packed import DAMAGED, FORMAT, UTF8, PackedFaces, _open, checksum, widths_part_people
from facelib.files import locked, sweep, whole

LAYOUT = 2  # raised when sets in the cache are to be packed again, with the same content


def pack(
    source: str | os.PathLike,
    size: int = 64,
    crop: images.Crop | None = None,
    workers: int | None = None,
    progress: bool = True,
    detect: str | None = None,
) -> PackedFaces:
    """Read an identity-folder tree, a table (see `layouts`) or an archive, and pack it; reuse what is packed already.

    Every folder that holds images is an identity, named by its path below the common folder of all of them; images
    directly in that folder are skipped. The packed set lies in `runtime.cache_dir`, keyed by the source's files (path,
    size, time) and the arguments, whole or not at all. DatasetError where there is no identity with a readable image.

    Faces have ``size`` pixels a side; ``crop`` is left, top, right, bottom as fractions of each photo, for sets that
    frame faces loosely. With ``detect`` the detector frames the face that is meant, as in `detection.choose`; a photo
    without it is cropped where ``crop`` is given, and else skipped. By default one of ``workers`` per core shares a
    large set.
    """
    source = Path(os.path.abspath(source))
    arguments = {"format": FORMAT, "size": int(size), "crop": crop and _fractions(crop)}
    arguments |= {"detect": [detect, ALIGNED_VERSION]} if detect else {}
    key = digest([LAYOUT, str(source.resolve()), arguments, fingerprint(source)])
    home = runtime.cache_dir() / "packed" / f"{source.name.split('.')[0]}-{key}"

    def write(folder: Path) -> None:
        _write_pack(folder, source, arguments, workers or runtime.cores(), progress)

    return _opened(home, write)


def join(sets: dict[str, PackedFaces]) -> PackedFaces:
    """Several packed sets of one size as one more, in which ``<set>/`` stands before every path and identity."""
    sizes = {faces.pixels.shape[1] for faces in sets.values()}
    if len(sizes) > 1:
        raise DatasetError(f"Sets of faces of {' and '.join(map(str, sorted(sizes)))} pixels cannot be joined.")
    parts = [[name, faces.key] for name, faces in sets.items()]
    arguments = {"format": FORMAT, "size": sizes.pop(), "crop": None, "parts": parts}
    home = runtime.cache_dir() / "packed" / f"joined-{digest([LAYOUT, arguments])}"
    return _opened(home, lambda folder: _write_joined(folder, sets, arguments))


def store(name: str, made_of: list, size: int, faces: Iterable[tuple[str, np.ndarray]]) -> PackedFaces:
    """Pack computed (path, (size, size, 3) uint8); a set of the same ``made_of`` (as JSON) is not computed again."""
    arguments = {"format": FORMAT, "size": size, "crop": None, "made_of": made_of}
    key = digest([LAYOUT, arguments])

    def write(folder: Path) -> None:
        with open(folder / "pixels.u8", "wb") as pixels:
            packed = [(path, key, size) for path, face in faces if pixels.write(face.tobytes())]
        _write_index(folder, Path(name), packed, np.zeros(len(packed), np.uint64), {}, "", arguments)

    return _opened(runtime.cache_dir() / "packed" / f"{name}-{key}", write)


def _opened(home: Path, write: Callable[[Path], None]) -> PackedFaces:
    """The packed set at ``home``; where it is absent or damaged, ``write`` makes it, while others wait who want it."""
    try:
        return _open(home)
    except DAMAGED:
        home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home):
        try:
            return _open(home)  # another process was faster
        except DAMAGED:
            shutil.rmtree(home, ignore_errors=True)
        sweep(home.parent)
        sweep(home.parent, f"{home.name}.", age=0)  # whoever made it is gone: this one has the lock
        with whole(home) as temporary:
            temporary.mkdir()
            write(temporary)
    return _open(home)


def _write_joined(folder: Path, sets: dict[str, PackedFaces], arguments: dict) -> None:
    source = Path("+".join(sets))
    _check_space(folder.parent, source, sum(map(len, sets.values())) * arguments["size"] ** 2 * 3)
    packed = []
    with open(folder / "pixels.u8", "wb") as pixels:
        for name, faces in sets.items():
            for start in range(0, len(faces), _workers.BLOCK):
                pixels.write(faces.take(slice(start, start + _workers.BLOCK)))
            packed += [
                (f"{name}/{path}", faces.key, int(width)) for path, width in zip(faces.paths, faces.widths, strict=True)
            ]
    digests = np.concatenate([faces.digests for faces in sets.values()])
    _write_index(folder, source, packed, digests, {}, "", arguments)


def _fractions(crop: images.Crop) -> list[float]:
    left, top, right, bottom = map(float, crop)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"The crop {tuple(crop)} is not left, top, right, bottom as fractions from 0 to 1.")
    return [left, top, right, bottom]


def _write_pack(folder: Path, source: Path, arguments: dict, workers: int, progress: bool) -> None:
    listing = members(source)
    if riddle := people.twice({path.rpartition("/")[0].removeprefix(listing.root) for path in listing.images}):
        raise DatasetError(f"Who is who in '{source}'? {riddle}")
    _check_space(folder.parent, source, len(listing.images) * arguments["size"] ** 2 * 3)
    about = {"desc": f"packing {source.name}", "unit": " images", "disable": not progress}
    with tqdm(total=len(listing.images), file=sys.stdout, **about) as bar:  # a notebook shows stderr as an alarm
        packed, failed = _write_pixels(folder, listing, arguments, workers, bar)
    skipped = {**listing.skipped, **failed}
    if not packed:
        reasons = "; ".join(f"{path}: {why}" for path, why in islice(failed.items(), 3))
        raise DatasetError(f"Not one image of '{source}' could be read ({reasons}). Replace them.")
    digests = np.array([int(sha256[:16], 16) for _, sha256, _ in packed], dtype=np.uint64)
    _write_index(folder, source, packed, digests, skipped, listing.root, arguments)


def _check_space(folder: Path, source: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"Packing '{source}' needs {needed / 2**20:,.0f} MiB in '{folder}', where {free / 2**20:,.0f} MiB are "
            "free. Free some space or point FACELIB_CACHE elsewhere."
        )


def _write_pixels(folder: Path, listing: Listing, arguments: dict, workers: int, bar: tqdm):
    """Write the images that can be read, and return (path, hash, width) of each, and why others cannot."""
    home = os.path.join(listing.folder, "") if listing.folder else ""
    which, _ = arguments.get("detect", (None, None))
    job = _workers.Job(str(folder / "pixels.u8"), home, arguments["size"], arguments["crop"], which)
    files = ((path, None) for path in sorted(listing.images)) if home else listing.read(listing.images)
    results = _workers.write_faces(job, files, len(listing.images), workers, bar.update)
    packed = [(path, *result) for path, result in results if not isinstance(result, str)]
    return packed, {path: reason for path, reason in results if isinstance(reason, str)}


def _write_index(folder: Path, source: Path, packed: list, digests, skipped: dict, root: str, arguments: dict) -> None:
    order = sorted(range(len(packed)), key=lambda row: packed[row][0].rpartition("/")[::2])  # folder by folder
    paths = [packed[row][0].removeprefix(root) for row in order]
    folders = [path.rpartition("/")[0] for path in paths]
    names = {name: number for number, name in enumerate(dict.fromkeys(folders))}
    labels = np.array([names[name] for name in folders], dtype=np.int64)
    widths = np.array([packed[row][2] for row in order], dtype=np.int64)
    rows = np.array(order, dtype=np.int64)
    np.savez(folder / "index.npz", rows=rows, labels=labels, widths=widths, digests=digests[rows])
    (folder / "paths.json").write_text(json.dumps(paths))
    content = [[path, packed[row][1]] for path, row in zip(paths, order, strict=True)]
    manifest = {
        "source": source.name,
        "images": len(packed),
        "identities": len(names),
        "size": arguments["size"],
        "crop": arguments["crop"],
        "detect": arguments.get("detect"),
        "content": digest([arguments, content]),
        "widths_part_people": widths_part_people(widths, labels),
        "checksum": checksum(folder / "pixels.u8", len(packed), arguments["size"]),
        "skipped": {path.removeprefix(root): reason for path, reason in sorted(skipped.items())},
        "names": list(names),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), **UTF8)
