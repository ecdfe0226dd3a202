import shutil

import numpy as np
import pytest
from PIL import Image

from facelib import models
from facelib.benchmarks import serving
from facelib.data import packing
from facelib.inference.embedder import Embedder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for person in range(3):
        (root / f"p{person}").mkdir()
        for shot in range(4):
            Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(root / f"p{person}" / f"{shot}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    models.save_weights(models.Embedding(), path)
    return path


def test_the_papers_lists_hold_the_same_pixels_as_the_packed_set(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path))
    lists = serving.load_as_lists(folder)
    packed = packing.pack(folder, progress=False)
    assert len(lists) == len(packed) == 12 and lists[0].shape == (3, 64, 64) and lists[0].dtype == np.float32
    np.testing.assert_array_equal(np.stack(lists), packed.take(range(12)).transpose(0, 3, 1, 2))


def test_what_packing_skips_the_papers_way_passes_over(folder, tmp_path, monkeypatch, recwarn, capfd):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    photo = (damaged / "p1" / "2.png").read_bytes()
    (damaged / "p1" / "2.png").write_bytes(photo[: len(photo) // 2])
    (damaged / "p2" / "3.png").write_bytes(b"text")
    (damaged / "p2" / "notes.txt").write_bytes(b"text")
    assert len(serving.load_as_lists(damaged)) == len(packing.pack(damaged, progress=False)) == 10
    table = serving.loading(serving.sample_folder(damaged, tmp_path / "sample", 8), runs=1)
    assert list(table["images"]) == [7, 7]
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_loading_alternates_both_ways_over_all_images(folder):
    table = serving.loading(folder, runs=1)
    assert list(table["way"]) == ["paper", "packed"] and set(table["images"]) == {12}
    assert (table[["seconds", "images_per_s"]] > 0).all(axis=None)


def test_startup_is_split_into_parts_that_add_up(weights):
    table = serving.startup(weights, runs=1)
    assert table["total"][0] == pytest.approx(table[["import", "model", "first"]].sum(axis=1)[0])
    assert (table > 0).all(axis=None)


def test_inference_times_every_repetition_of_every_call(weights):
    faces = np.zeros((4, 64, 64, 3), np.uint8)
    table = serving.inference(Embedder(weights), faces, repeats=3, warm_up=1)
    assert list(table) == ["single", "pair", "batch"] and len(table) == 3 and (table > 0).all(axis=None)


def test_a_failing_process_shows_its_error(tmp_path):
    with pytest.raises(RuntimeError, match="No weights at"):
        serving.startup(tmp_path / "none.npz", runs=1)


def test_sample_folder_holds_the_first_images(folder, tmp_path):
    sample = serving.sample_folder(folder, tmp_path / "sample", 5)
    assert sorted(str(p.relative_to(sample)) for p in sample.rglob("*.png")) == [
        "p0/0.png", "p0/1.png", "p0/2.png", "p0/3.png", "p1/0.png",
    ]  # fmt: skip
