"""A training set of the paper's size on a small machine: links to real photographs, packed and trained on."""

import json
import os
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

from facelib import runtime
from facelib.benchmarks import fresh, serving
from facelib.data import catalog

WATCHED = 0.2  # seconds between two looks at the memory; a look takes some milliseconds of a core
LOOPS = 3  # the short measurement is made so often, and the median taken


def paper_scale(source: str, people: int, images: int, steps: int, batch_size: int, sample: int = 2000) -> dict:
    """Pack, open and train on ``images`` files in ``people`` folders, in a temporary folder of the cache.

    The files are links to the first photographs (up to ``sample``) of the set ``source``; the network is ResNet-18. Per
    name a value and its unit: ``pack_images_per_s``; ``pack_ratio`` to the paper's loop over ``sample`` of the files,
    the median of `LOOPS` runs; ``pack_peak_mib`` and ``train_peak_mib``, the largest resident memory of each process,
    summed over those that share the work (pages that they have in common count in each); ``first_batch_s`` from finding
    the packed set to its first batch.
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
            loops = [_watched(*fresh.command("loading", "paper", str(part))) for _ in range(LOOPS)]
            packed = _watched(*fresh.command("loading", "packed", str(tree)))
            trained = _watched(*fresh.command("first_batch", str(tree), steps, batch_size))
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


def _watched(*command: str) -> dict:
    """What a command prints as JSON, with the peaks of the processes that it starts added to its own ``peak_mib``.

    It knows its own peak best, however short it runs. Its helpers may be killed, so that their peaks are read from
    here as long as they live; the kernel's figure never falls, so that the last one read counts.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks, ended = {}, threading.Event()

    def watch():
        while not ended.wait(WATCHED):
            with suppress(psutil.Error):
                for helper in psutil.Process(process.pid).children(recursive=True):
                    peaks[helper] = max(peaks.get(helper, 0), runtime.peak_memory(helper.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, errors = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"The timed process failed:\n{errors[-2000:]}")
    found = json.loads(out.splitlines()[-1])
    return found | {"peak_mib": found["peak_mib"] + sum(peaks.values()) / 2**20}
