import shutil

import numpy as np
import pytest
from PIL import Image

from facelib import models
from facelib.benchmarks import serving
from facelib.data import packing, rendered
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


def test_engines_take_turns_and_each_tells_its_medians(weights, monkeypatch):
    asked, threads = [], []

    def run(program, engine, files, *_, env):
        asked.append(engine)
        threads.append(env and (env["OMP_NUM_THREADS"], env["OPENCV_FOR_THREADS_NUM"]))
        return [{"weights": file} for file in files]

    monkeypatch.setattr(serving.fresh, "run", run)
    serving.latency({"onnx": ["a"]}, rounds=1, threads=1)
    assert threads == [("1", "1")]
    asked.clear()
    table = serving.latency({"onnx": ["a", "b"], "torch": ["a"]}, rounds=2)
    assert asked == ["onnx", "torch", "torch", "onnx"] and threads[1:] == [None] * 4
    assert table.to_dict("list") == {
        "round": [0, 0, 0, 1, 1, 1],
        "engine": ["onnx", "onnx", "torch", "torch", "onnx", "onnx"],
        "weights": ["a", "b", "a", "a", "a", "b"],
    }


def test_a_timed_engine_is_the_network_that_was_asked_for(weights):
    (row,) = serving.latency({"dygraph": [weights]}, batch=3, repeats=2, warm_up=1, rounds=1).to_dict("records")
    assert row["weights"] == str(weights) and 0 < row["single_ms"] and 0 < row["pair_ms"] and 0 < row["batch_ms"]


def test_the_parts_of_a_decision_add_up_and_the_light_one_knows_no_paddle(tmp_path):
    for shot in (0, 1):
        rendered.render_face(104, shot, size=256).save(tmp_path / f"{shot}.png")
    table = serving.deciding(
        ["light", "inference"], [tmp_path / "0.png", tmp_path / "1.png"], {"light": 2, "inference": 1}
    )
    assert table["engine"].tolist() == ["light", "inference", "light"]
    assert table.drop(columns=["engine", "total"]).sum(axis=1).tolist() == pytest.approx(table["total"].tolist())
    assert table["import paddle"].isna().tolist() == [True, False, True]
    assert table["import onnxruntime"].isna().tolist() == [False, True, False]


def test_a_failing_process_shows_its_error(tmp_path):
    with pytest.raises(RuntimeError, match="No weights at"):
        serving.startup(tmp_path / "none.npz", runs=1)


def test_sample_folder_holds_the_first_images(folder, tmp_path):
    sample = serving.sample_folder(folder, tmp_path / "sample", 5)
    assert sorted(str(p.relative_to(sample)) for p in sample.rglob("*.png")) == [
        "p0/0.png", "p0/1.png", "p0/2.png", "p0/3.png", "p1/0.png",
    ]  # fmt: skip
