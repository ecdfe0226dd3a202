"""Packed faces: one file of uint8 pixels with labels, names and a manifest, read by rows."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from facelib.data.archives import DatasetError

FORMAT = 1  # raised when packed files of an older layout must not be read
DAMAGED = (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what opening a damaged one raises
SAMPLE = 64  # faces that are compared with their checksum when a set is opened; all of them would take too long
PARTED = 0.9  # share of the people with several photos who have them in one width, where widths are sources
UTF8 = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names need not be valid text


@dataclass(frozen=True, eq=False)
class PackedFaces:
    """Faces of one set, or of a selection of it, in the order of their paths."""

    pixels: np.ndarray  # (N, H, W, 3) uint8, RGB: the memory map of the whole packed set
    rows: np.ndarray  # (n,) int64: which images of ``pixels`` belong to this selection
    labels: np.ndarray  # (n,) int64: index into ``names``; 0 to k - 1 without gaps
    names: tuple[str, ...]  # the k identities
    paths: tuple[str, ...]  # the n paths, relative to the common folder of the set
    widths: np.ndarray  # (n,) int64, pixels of the original files, which may tell sources apart (see `sources`)
    manifest: dict  # count, content hash, size, crop, skipped files with reasons, whether widths part the people
    digests: np.ndarray | None = None  # (n,) uint64: first bytes of the files' sha256; None of faces made in memory

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices) -> np.ndarray:
        """Read images, (m,) indices to (m, H, W, 3) uint8; pages of the memory map would count as memory in use."""
        rows = self.rows[indices]
        taken = np.empty((len(rows), *self.pixels.shape[1:]), np.uint8)
        with open(self.pixels.filename, "rb", buffering=0) as file:
            for row, image in zip(rows.tolist(), taken, strict=True):
                file.seek(row * image.nbytes)
                if file.readinto(image) != image.nbytes:
                    raise DatasetError(f"'{self.pixels.filename}' is cut off: delete its folder, it is packed again.")
        return taken

    def select(self, indices) -> "PackedFaces":
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
            digests=None if self.digests is None else self.digests[indices],
        )

    def without(self, people: Iterable[str]) -> "PackedFaces":
        """The same set without some people, by their names."""
        return self.select(~np.isin(np.array(self.names)[self.labels], list(people)))

    def filter(self, min_images: int = 1, max_images: int | None = None) -> "PackedFaces":
        """Keep identities with at least ``min_images``, and of each the first ``max_images``."""
        counts = self.images_per_identity
        if max(counts, default=0) == 1 < min_images:
            raise DatasetError(
                f"Each person of '{self.manifest['source']}' has one photo: how photos of a person differ is learned "
                "from two or more. Add photos, or train on another set and compare these people."
            )
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
        """(n,) int64 source of each image by the width of its file; all 0 where widths tell something else."""
        widths, source = np.unique(self.widths, return_inverse=True)
        parted = self.manifest.get("widths_part_people", True)
        return source if parted and len(widths) <= 4 else np.zeros(len(self), dtype=np.int64)

    def __reduce__(self):  # another process opens the memory map itself
        return _reopen, (Path(self.pixels.filename).parent, self.paths)

    @cached_property
    def key(self) -> str:
        """Hash of the content and of the selection, the same on every machine and in every container."""
        chosen = hashlib.sha256("\n".join(self.paths).encode(**UTF8)).hexdigest()
        return hashlib.sha256(f"{self.manifest['content']} {chosen}".encode()).hexdigest()[:16]


def to_input(faces: np.ndarray) -> np.ndarray:
    """Turn (n, H, W, 3) uint8 into the network's input, (n, 3, H, W) float32 in [-1, 1]: the one place that scales."""
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 2), dtype=np.float32) / 127.5 - 1.0


def _reopen(home: Path, paths: tuple[str, ...]) -> PackedFaces:
    faces = _open(home)
    row_of = {path: row for row, path in enumerate(faces.paths)}
    return faces.select([row_of[path] for path in paths])


def widths_part_people(widths: np.ndarray, labels: np.ndarray) -> bool:
    """Whether nearly all people have their photos in one width each; (n,) widths and labels of a whole set."""
    several = np.bincount(labels) > 1
    narrowest, widest = np.full(len(several), np.iinfo(np.int64).max), np.zeros(len(several), np.int64)
    np.minimum.at(narrowest, labels, widths)
    np.maximum.at(widest, labels, widths)
    return bool(np.mean((narrowest == widest)[several]) >= PARTED) if several.any() else True


def checksum(pixels: Path, count: int, size: int) -> int:
    """CRC-32 of `SAMPLE` faces spread over a file of ``count`` faces of ``size`` x ``size`` pixels."""
    crc, face = 0, size * size * 3
    with open(pixels, "rb", buffering=0) as file:
        for row in sorted({round(step * (count - 1) / SAMPLE) for step in range(SAMPLE + 1)}):
            file.seek(row * face)
            crc = zlib.crc32(file.read(face), crc)
    return crc


def _open(home: Path) -> PackedFaces:
    """The packed set in a folder; one of `DAMAGED` is raised if there is none, or no whole one."""
    manifest = json.loads((home / "manifest.json").read_text(**UTF8))
    names = tuple(manifest.pop("names"))
    size, count = manifest["size"], manifest["images"]
    with open(home / "index.npz", "rb") as file, np.load(file) as index:
        columns = {name: index[name] for name in ("rows", "labels", "widths", "digests")}
    faces = PackedFaces(
        pixels=np.memmap(home / "pixels.u8", np.uint8, "r", shape=(count, size, size, 3)),
        names=names,
        paths=tuple(json.loads((home / "paths.json").read_text())),
        manifest=manifest,
        **columns,
    )
    if manifest.pop("checksum") != checksum(home / "pixels.u8", count, size):
        raise ValueError(f"'{home}' is damaged")
    return faces
