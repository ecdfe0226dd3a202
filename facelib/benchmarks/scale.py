"""A training set of the paper's size on a small machine: links to real photographs, packed and trained on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median

import psutil

from facelib import runtime
from facelib.benchmarks import serving
from facelib.data import catalog

WATCHED = 0.5  # seconds between two looks at the memory; a look takes some milliseconds of a core
LOOPS = 3  # the short measurement is made so often, and the median taken

PACK = """
import json, sys, time
from facelib.data import packing
started = time.perf_counter()
faces = packing.pack(sys.argv[1], progress=False)
print(json.dumps({"images": len(faces), "seconds": time.perf_counter() - started}))
"""

PAPER = """
import json, sys, time
from facelib.benchmarks import serving
started = time.perf_counter()
faces = serving.load_as_lists(sys.argv[1])
print(json.dumps({"images": len(faces), "seconds": time.perf_counter() - started}))
"""

TRAIN = """
import json, sys, time
from facelib import runtime
from facelib.data import packing
from facelib.training import loop, recipe, samplers
from paddle.io import DataLoader
runtime.use_device("cpu")
steps, batch_size = int(sys.argv[2]), int(sys.argv[3])
started = time.perf_counter()
faces = packing.pack(sys.argv[1], progress=False)
sampler = samplers.EpochSampler(faces.labels, batch_size, seed=0)
batches = iter(DataLoader(loop.FaceDataset(faces, faces.labels), batch_sampler=sampler, num_workers=0))
image, label = next(batches)
first = time.perf_counter() - started
model = recipe.build(len(faces.names), 64, len(sampler), recipe.Recipe(batch_size=batch_size))
for _ in range(steps):
    model.train_batch([image, label])
    image, label = next(batches)
print(json.dumps({"first_batch_s": first}))
"""


def paper_scale(source: str, people: int, images: int, steps: int, batch_size: int, sample: int = 2000) -> dict:
    """Pack, open and train on ``images`` files in ``people`` folders, in a temporary folder of the cache.

    Parameters
    ----------
    source
        Name of the set whose first photographs (up to ``sample``) the files are links to.
    people, images
        Folders, and files in all.
    steps, batch_size
        Training steps of ResNet-18, and images in each.

    Returns
    -------
    Per name a value and its unit: ``pack_images_per_s``; ``pack_ratio`` to the paper's loop over ``sample`` of the
    files, the median of `LOOPS` runs; ``pack_peak_mib`` and ``train_peak_mib``, the largest resident memory of the
    processes together; ``first_batch_s`` from finding the packed set to its first batch.
    """
    place = runtime.cache_dir() / "scale"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        real, tree, part = (Path(folder) / name for name in ("real", "tree", "part"))
        serving.sample_folder(catalog.source(source), real, min(sample, images))
        photos = sorted(path for path in real.rglob("*") if path.is_file())
        link_tree(photos, tree, people, images)
        link_tree(photos, part, max(1, people * sample // images), min(sample, images))
        os.environ["FACELIB_CACHE"], before = str(Path(folder) / "cache"), os.environ.get("FACELIB_CACHE")
        try:
            loops = [_watched(PAPER, str(part)) for _ in range(LOOPS)]
            packed = _watched(PACK, str(tree))
            trained = _watched(TRAIN, str(tree), str(steps), str(batch_size))
        finally:
            os.environ.pop("FACELIB_CACHE")
            if before is not None:
                os.environ["FACELIB_CACHE"] = before
    if packed["images"] != images:
        raise RuntimeError(f"Of {images} files only {packed['images']} could be packed: choose another source.")
    ours, *theirs = (run["images"] / run["seconds"] for run in (packed, *loops))
    return {
        "pack_images_per_s": (ours, "images/s"),
        "pack_ratio": (ours / median(theirs), ""),
        "pack_peak_mib": (packed["peak_mib"], "MiB"),
        "train_peak_mib": (trained["peak_mib"], "MiB"),
        "first_batch_s": (trained["first_batch_s"], "s"),
    }


def link_tree(photos: list[Path], target: Path, people: int, images: int) -> None:
    """Make ``people`` folders with ``images`` hard links to the photographs, taken in turn."""
    for number in range(images):
        person = target / f"person_{number * people // images:05d}"
        if number == 0 or number * people // images != (number - 1) * people // images:
            person.mkdir(parents=True)
        photo = photos[number % len(photos)]
        os.link(photo, person / f"{number:07d}{photo.suffix}")


def _watched(code: str, *arguments: str) -> dict:
    """What a new interpreter prints as JSON, with the peak of its and its children's resident memory, in MiB."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peak, ended = [0], threading.Event()

    def watch():
        while True:
            peak[0] = max(peak[0], _resident(process.pid))
            if ended.wait(WATCHED):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, errors = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"The timed process failed:\n{errors[-2000:]}")
    return json.loads(out.splitlines()[-1]) | {"peak_mib": peak[0] / 2**20}


def _resident(pid: int) -> int:
    total = 0
    try:
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total
