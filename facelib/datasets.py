"""Faces packed once into a uint8 memory map, with labels, names and a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facelib import images, packing, runtime
from facelib.archives import DatasetError, Listing, digest, fingerprint, members

FORMAT = 1  # raised when packed files of an older layout must not be read
UTF8 = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names need not be valid text


@dataclass(frozen=True, eq=False)
class PackedFaces:
    """Faces of one set, or of a selection of it, in the order of their paths.

    Attributes
    ----------
    pixels
        (N, H, W, 3) uint8, RGB: the memory map of the whole packed set.
    rows
        (n,) int64: which images of ``pixels`` belong to this selection.
    labels
        (n,) int64: index into ``names``; 0 to k - 1 without gaps.
    names
        The k identities.
    paths
        The n paths, relative to the common folder of the set.
    widths
        (n,) int64: width in pixels of the original files, which tells sources apart.
    manifest
        Count, content hash, size, crop, skipped files with reasons.
    """

    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    paths: tuple[str, ...]
    widths: np.ndarray
    manifest: dict

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices) -> np.ndarray:
        """Read images: (m,) indices to (m, H, W, 3) uint8.

        From the file and not through the memory map, whose pages, and large blocks around them, would count as this
        process's memory: a pass over the whole set would seem to need as much as the set has.
        """
        rows = self.rows[indices]
        taken = np.empty((len(rows), *self.pixels.shape[1:]), np.uint8)
        with open(self.pixels.filename, "rb", buffering=0) as file:
            for row, image in zip(rows.tolist(), taken, strict=True):
                file.seek(row * image.nbytes)
                if file.readinto(image) != image.nbytes:
                    raise DatasetError(f"'{self.pixels.filename}' is cut off: delete its folder, it is packed again.")
        return taken

    def select(self, indices) -> PackedFaces:
        """The same set restricted to some images, by indices or mask; identities without images are dropped."""
        indices = np.arange(len(self))[np.asarray(indices) if len(indices) else []]
        kept, labels = np.unique(self.labels[indices], return_inverse=True)
        return replace(
            self,
            rows=self.rows[indices],
            labels=labels.astype(np.int64),
            names=tuple(self.names[k] for k in kept),
            paths=tuple(self.paths[i] for i in indices),
            widths=self.widths[indices],
        )

    def filter(self, min_images: int = 1, max_images: int | None = None) -> PackedFaces:
        """Keep identities with at least ``min_images``, and of each the first ``max_images``."""
        counts = self.images_per_identity
        if max(counts, default=0) < min_images:
            raise DatasetError(
                f"No identity of '{self.manifest['source']}' has {min_images} images or more "
                f"(the most is {max(counts, default=0)}). Lower min_images."
            )
        keep = counts[self.labels] >= min_images
        if max_images is not None:
            keep &= self.positions < max_images
        return self.select(keep)

    @property
    def images_per_identity(self) -> np.ndarray:
        """(k,) int64 number of images of each identity."""
        return np.bincount(self.labels, minlength=len(self.names))

    @property
    def positions(self) -> np.ndarray:
        """(n,) int64: 0 for the first image of each identity, 1 for its second, and so on."""
        grouped = np.argsort(self.labels, kind="stable")
        counts = self.images_per_identity
        positions = np.empty(len(self), dtype=np.int64)
        positions[grouped] = np.arange(len(self)) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions

    @property
    def sources(self) -> np.ndarray:
        """(n,) int64 source of each image, told apart by the width of its file; 0 where widths are many."""
        widths, source = np.unique(self.widths, return_inverse=True)
        return source if len(widths) <= 4 else np.zeros(len(self), dtype=np.int64)

    def __reduce__(self):  # another process opens the memory map itself
        return _reopen, (Path(self.pixels.filename).parent, self.paths)

    @cached_property
    def key(self) -> str:
        """Hash of the content and of the selection, the same on every machine and in every container."""
        chosen = hashlib.sha256("\n".join(self.paths).encode(**UTF8)).hexdigest()
        return hashlib.sha256(f"{self.manifest['content']} {chosen}".encode()).hexdigest()[:16]


def to_input(faces: np.ndarray) -> np.ndarray:
    """Turn (n, H, W, 3) uint8 into the network's input: (n, 3, H, W) float32 in [-1, 1].

    The one place where pixels are scaled and the channel axis moves to the front.
    """
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 2), dtype=np.float32) / 127.5 - 1.0


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
                for start in range(0, len(faces), packing.BLOCK):
                    pixels.write(faces.take(slice(start, start + packing.BLOCK)))
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
    job = packing.Job(str(folder / "pixels.u8"), home, arguments["size"], arguments["crop"])
    files = ((path, None) for path in sorted(listing.images)) if home else listing.read(listing.images)
    results = packing.write_faces(job, files, len(listing.images), workers, bar.update)
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


def _reopen(home: Path, paths: tuple[str, ...]) -> PackedFaces:
    faces = _open(home)
    row_of = {path: row for row, path in enumerate(faces.paths)}
    return faces.select([row_of[path] for path in paths])


def _open(home: Path) -> PackedFaces:
    manifest = json.loads((home / "manifest.json").read_text(**UTF8))
    names = tuple(manifest.pop("names"))
    size, count = manifest["size"], manifest["images"]
    with open(home / "index.npz", "rb") as file, np.load(file) as index:
        rows, labels, widths = index["rows"], index["labels"], index["widths"]
    return PackedFaces(
        pixels=np.memmap(home / "pixels.u8", np.uint8, "r", shape=(count, size, size, 3)),
        rows=rows,
        labels=labels,
        names=names,
        paths=tuple(json.loads((home / "paths.json").read_text())),
        widths=widths,
        manifest=manifest,
    )
