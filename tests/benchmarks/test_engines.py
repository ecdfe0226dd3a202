import sys

import numpy as np
import psutil
import pytest
from PIL import Image

from facelib import runtime
from facelib.benchmarks import engines, fresh, scale
from facelib.data import catalog
from facelib.models import onednn
from facelib.training.augmentation import AUGMENTATIONS


def test_engines_take_turns_and_the_numbers_are_medians_and_ratios_of_a_round(monkeypatch):
    told = iter([10, 20, 30, 40, 50, 60])
    asked = []

    def measure(program, engine, *job, env):
        asked.append(engine)
        assert ("MKL_DEBUG_CPU_TYPE" in env) is (engine == "ours")
        return {"images_per_s": next(told), "peak_mib": 1.0}

    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "5")
    monkeypatch.setattr(fresh, "run", measure)
    table = engines.training_speed(["stock", "ours"], rounds=3)
    assert asked == ["stock", "ours", "ours", "stock", "stock", "ours"]
    assert engines.medians(table).to_dict() == {"stock": 40, "ours": 30}
    assert engines.ratios(table, "ours", "stock").tolist() == pytest.approx([2, 0.75, 1.2])


def test_engines_of_pytorch_are_left_out_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.setattr(fresh, "run", lambda *_, **__: {"images_per_s": 1.0, "peak_mib": 1.0})
    assert list(engines.training_speed(["ours", "torch_fp32"], rounds=1)["engine"]) == ["ours"]


@pytest.mark.slow
def test_a_real_measurement_of_each_engine_here():
    names = ["stock", "ours", "ours_processes", "ours_bf16", "torch_fp32"]
    table = engines.training_speed(names, batch_size=4, size=32, classes=5, steps=1, rounds=1)
    assert {"stock", "ours", "ours_processes", "ours_bf16"} <= set(table["engine"])
    assert (table["images_per_s"] > 0).all() and (table["peak_mib"] > 100).all()


@pytest.mark.slow
def test_a_student_is_measured_in_the_engines_that_can_train_it():
    options = {"width": 8, "backbone": "resnet18-fine", "neck": "plain", "dropout": 0.2, "features": 16}
    student = options | {"loss": "distillation", "optimizer": "sgd", "weight_decay": 0.005}
    names = ["ours", "torch_fp32", "torch_fp32_last", "torch_bf16_last"]
    table = engines.training_speed(names, batch_size=4, size=32, steps=1, rounds=1, student=student)
    assert "ours" in set(table["engine"]) and (table["images_per_s"] > 0).all()
    with pytest.raises(RuntimeError, match="paper's network alone"):
        engines.training_speed(["stock"], batch_size=4, size=32, steps=1, rounds=1, student=student)


def test_a_failing_measurement_says_why(monkeypatch):
    with pytest.raises(RuntimeError, match="KeyError: 'unknown'"):
        engines.training_speed(["unknown"], rounds=1)


@pytest.mark.skipif(not onednn.available(), reason="this build of Paddle brings no oneDNN")
def test_every_convolution_of_resnet18_is_compared_and_equal():
    layers = engines.layer_comparison(batch_size=2, repeats=1)
    assert layers["count"].sum() == 20 and layers["difference"].max() < 1e-5
    assert (layers[["stock_ms", "ours_ms"]] > 0).all(axis=None)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for person in range(2):
        (tmp_path / "photos" / f"p{person}").mkdir(parents=True)
        for shot in range(5):
            pixels = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / f"p{person}" / f"{shot}.jpg")
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog, "source", lambda name: tmp_path / "photos")
    return tmp_path


def test_the_tree_has_as_many_folders_and_files_as_asked_for(photos):
    real = sorted((photos / "photos").rglob("*.jpg"))
    scale.link_tree(real, photos / "tree", people=7, images=50)
    counts = [len(list(person.iterdir())) for person in sorted((photos / "tree").iterdir())]
    assert len(counts) == 7 and sum(counts) == 50 and max(counts) - min(counts) <= 1
    assert {path.stat().st_ino for path in (photos / "tree").rglob("*.jpg")} == {path.stat().st_ino for path in real}


@pytest.mark.slow
def test_paper_scale_packs_and_trains_and_leaves_nothing(photos):
    numbers = scale.paper_scale("any", people=4, images=60, steps=2, batch_size=8, sample=10)
    assert {name: unit for name, (_, unit) in numbers.items()} == {
        "pack_images_per_s": "images/s",
        "pack_ratio": "",
        "pack_peak_mib": "MiB",
        "train_peak_mib": "MiB",
        "first_batch_s": "s",
    }
    assert all(value > 0 for value, _ in numbers.values())
    assert numbers["pack_peak_mib"][0] > 25  # an interpreter with NumPy and Pillow
    assert numbers["train_peak_mib"][0] > 150  # and with Paddle
    assert not list((photos / "cache" / "scale").iterdir()) and not (photos / "cache" / "packed").exists()


def memory_of(code):
    """MiB that a short-lived process takes, and what it takes together with what it starts, as `scale` sees it."""
    tell = "import json; from facelib import runtime; print(json.dumps({'peak_mib': runtime.peak_memory() / 2**20}))"
    return scale._watched(sys.executable, "-c", f"{code}\n{tell}")["peak_mib"]


def test_the_peak_of_a_short_process_is_known_and_is_its_own():
    ballast = np.ones(2**20 * 200 // 8)  # of this process, from which the other one is forked
    alone, filled = memory_of(""), memory_of("bytearray(100 * 2**20)")
    assert 5 < alone < 100 < 90 + alone < filled < 110 + alone and ballast.all()


def test_the_peaks_of_helpers_that_are_killed_are_added(monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # which would make every process larger
    helper = "held = bytearray(100 * 2**20); del held; print(flush=True); import time; time.sleep(60)"
    code = (
        "import subprocess, sys, time\n"
        f"start = lambda: subprocess.Popen([sys.executable, '-c', {helper!r}], stdout=subprocess.PIPE)\n"
        "helpers = [start(), start()]\n"
        "[helper.stdout.readline() for helper in helpers]\n"
        f"time.sleep({5 * scale.WATCHED})\n"
        "[helper.kill() for helper in helpers]\n"
    )
    assert 200 < memory_of(code) - memory_of("import subprocess") < 240


def test_a_steps_memory_counts_although_it_is_given_back():
    held = psutil.Process().memory_info().rss
    size = runtime.peak_memory() - held + 100 * 2**20
    measured = fresh.median_step(lambda: np.ones(size // 8).sum(), batch_size=1, steps=1)
    assert measured["peak_mib"] > (held + size) / 2**20 - 10


@pytest.mark.parametrize(("long", "calls"), [(60.0, 5), (0.0, 2)])
def test_of_long_steps_the_second_alone_is_measured(long, calls):
    done = []
    assert fresh.median_step(lambda: done.append(1), batch_size=1, steps=3, long=long)["images_per_s"] > 0
    assert len(done) == calls


def test_a_photograph_that_cannot_be_packed_stops_the_measurement(photos):
    (photos / "photos" / "p0" / "0.jpg").write_bytes(b"no image")
    with pytest.raises(RuntimeError):
        scale.paper_scale("any", people=2, images=20, steps=1, batch_size=4, sample=10)


def test_cost_of_augmentation_is_per_image(photos, monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr(engines.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(catalog, "load", lambda *_, **__: Ten())
    assert engines.augmentation_cost("any", 10).to_dict() == pytest.approx(dict.fromkeys(AUGMENTATIONS, 50.0))


class Ten:
    def __len__(self):
        return 10

    def take(self, indices):
        return np.zeros((len(indices), 16, 16, 3), np.uint8)
