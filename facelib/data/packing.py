"""Folders and archives of photos, packed once into one file of pixels; several packed sets joined to one."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import zipfile
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facelib import runtime
from facelib.data import _workers, images
from facelib.data.archives import DatasetError, Listing, digest, fingerprint, members
from facelib.data.packed import FORMAT, UTF8, PackedFaces, _open


def pack(
    source: str | os.PathLike,
    size: int = 64,
    crop: images.Crop | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> PackedFaces:
    """Read an identity-folder tree, or an archive of one, and pack it; reuse what is packed already.

    Every folder that holds images is an identity, named by its path below the common folder of all
    of them; images directly in that folder are skipped. The packed set lies in `runtime.cache_dir`
    and is keyed by the source's files (path, size, time) and the arguments; it appears there whole
    or not at all.

    Parameters
    ----------
    source
        A folder, or a ``.tar``, ``.tar.gz``, ``.tgz`` or ``.zip`` file (read without unpacking).
    size
        Side of the packed faces in pixels.
    crop
        Left, top, right, bottom as fractions of each photo; for sets that frame faces loosely.
    workers
        Processes to share the work of a large set; by default one per core.

    Raises
    ------
    FileNotFoundError
        The source does not exist.
    DatasetError
        It is damaged, unsafe, or holds no identity with a readable image.
    OSError
        The cache folder lacks the space.
    """
    source = Path(os.path.abspath(source))
    arguments = {"format": FORMAT, "size": int(size), "crop": crop and _fractions(crop)}
    key = digest([str(source.resolve()), arguments, fingerprint(source)])
    home = runtime.cache_dir() / "packed" / f"{source.name.split('.')[0]}-{key}"
    try:
        return _open(home)
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # absent, or damaged by a crash
        shutil.rmtree(home, ignore_errors=True)
    _write_pack(home, source, arguments, workers or runtime.cores(), progress)
    return _open(home)


def join(sets: dict[str, PackedFaces]) -> PackedFaces:
    """Several packed sets as one, in which ``<set>/`` stands before every path and identity.

    The joined pixels are a packed set of their own in `runtime.cache_dir`.

    Raises
    ------
    DatasetError
        The faces are not all of one size.
    OSError
        The cache folder lacks the space.
    """
    sizes = {faces.pixels.shape[1] for faces in sets.values()}
    if len(sizes) > 1:
        raise DatasetError(f"Sets of faces of {' and '.join(map(str, sorted(sizes)))} pixels cannot be joined.")
    parts = [[name, faces.key] for name, faces in sets.items()]
    arguments = {"format": FORMAT, "size": sizes.pop(), "crop": None, "parts": parts}
    home = runtime.cache_dir() / "packed" / f"joined-{digest(arguments)}"
    if not home.exists():
        _write_joined(home, sets, arguments)
    return _open(home)


def _write_joined(home: Path, sets: dict[str, PackedFaces], arguments: dict) -> None:
    source = Path("+".join(sets))
    count = sum(map(len, sets.values()))
    home.parent.mkdir(parents=True, exist_ok=True)
    _check_space(home.parent, source, count * arguments["size"] ** 2 * 3)
    temporary = home.with_name(f"{home.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    temporary.mkdir()
    try:
        packed = []
        with open(temporary / "pixels.u8", "wb") as pixels:
            for name, faces in sets.items():
                for start in range(0, len(faces), _workers.BLOCK):
                    pixels.write(faces.take(slice(start, start + _workers.BLOCK)))
                rows = zip(faces.paths, faces.widths, strict=True)
                packed += [(f"{name}/{path}", faces.key, int(width)) for path, width in rows]
        _write_index(temporary, source, packed, {}, "", arguments)
        _publish(temporary, home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fractions(crop: images.Crop) -> list[float]:
    left, top, right, bottom = map(float, crop)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"The crop {tuple(crop)} is not left, top, right, bottom as fractions from 0 to 1.")
    return [left, top, right, bottom]


def _write_pack(home: Path, source: Path, arguments: dict, workers: int, progress: bool) -> None:
    listing = members(source)
    home.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(home.parent)
    _check_space(home.parent, source, len(listing.images) * arguments["size"] ** 2 * 3)
    temporary = home.with_name(f"{home.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    temporary.mkdir()
    try:
        bar = tqdm(
            total=len(listing.images),
            desc=f"packing {source.name}",
            unit=" images",
            disable=not progress,
            file=sys.stdout,  # a notebook shows stderr as an alarm
        )
        with bar:
            packed, failed = _write_pixels(temporary, listing, arguments, workers, bar)
        skipped = {**listing.skipped, **failed}
        if not packed:
            reasons = "; ".join(f"{path}: {why}" for path, why in islice(skipped.items(), 3))
            raise DatasetError(f"Not one image of '{source}' could be read ({reasons}). Replace them.")
        _write_index(temporary, source, packed, skipped, listing.root, arguments)
        _publish(temporary, home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left; another one may be packing right now."""
    for leftover in folder.glob("*.tmp-*"):
        if _abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


def _abandoned(leftover: Path) -> bool:
    import psutil

    process = int(leftover.name.rpartition(".tmp-")[2].partition("-")[0])
    try:  # a later process may have got the same number
        return psutil.Process(process).create_time() > leftover.stat().st_mtime
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
    except psutil.AccessDenied:  # it runs, as another user
        return False


def _check_space(folder: Path, source: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"Packing '{source}' needs {needed / 2**30:.2f} GiB in '{folder}', where {free / 2**30:.2f} GiB are "
            "free. Free some space or point FACELIB_CACHE elsewhere."
        )


def _write_pixels(folder: Path, listing: Listing, arguments: dict, workers: int, bar: tqdm):
    """Write the images that can be read, and return (path, hash, width) of each, and why others cannot."""
    home = os.path.join(listing.folder, "") if listing.folder else ""
    job = _workers.Job(str(folder / "pixels.u8"), home, arguments["size"], arguments["crop"])
    files = ((path, None) for path in sorted(listing.images)) if home else listing.read(listing.images)
    results = _workers.write_faces(job, files, len(listing.images), workers, bar.update)
    packed = [(path, *result) for path, result in results if not isinstance(result, str)]
    return packed, {path: reason for path, reason in results if isinstance(reason, str)}


def _write_index(folder: Path, source: Path, packed: list, skipped: dict, root: str, arguments: dict) -> None:
    order = sorted(range(len(packed)), key=lambda row: packed[row][0].rpartition("/")[::2])  # folder by folder
    paths = [packed[row][0].removeprefix(root) for row in order]
    folders = [path.rpartition("/")[0] for path in paths]
    names = {name: number for number, name in enumerate(dict.fromkeys(folders))}
    np.savez(
        folder / "index.npz",
        rows=np.array(order, dtype=np.int64),
        labels=np.array([names[name] for name in folders], dtype=np.int64),
        widths=np.array([packed[row][2] for row in order], dtype=np.int64),
    )
    (folder / "paths.json").write_text(json.dumps(paths))
    content = [[path, packed[row][1]] for path, row in zip(paths, order, strict=True)]
    manifest = {
        "source": source.name,
        "images": len(packed),
        "identities": len(names),
        "size": arguments["size"],
        "crop": arguments["crop"],
        "content": digest([arguments, content]),
        "skipped": {path.removeprefix(root): reason for path, reason in sorted(skipped.items())},
        "names": list(names),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), **UTF8)


def _publish(temporary: Path, home: Path) -> None:
    try:
        os.replace(temporary, home)
    except OSError:
        if not home.exists():  # else another process was faster with the same set
            raise
