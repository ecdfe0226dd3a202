import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from facelib import models
from facelib.data import packing, splits
from facelib.training import loop, processes, runs
from facelib.training.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))
import together  # noqa: E402  (the tests' folder is no package)

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-2, seed=5)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for person in range(6):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for shot in range(5):
            noisy = rng.normal(40 * person, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "faces" / f"p{person}" / f"{shot}.png")
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return splits.hold_out(packing.pack(tmp_path / "faces", size=32, progress=False), 5, seed=0)


def arrays(run):
    with np.load(run.weights) as stored:
        return {name: stored[name] for name in stored if name != "architecture"}


def test_two_processes_give_the_weights_of_one(parts, monkeypatch, tmp_path):
    monkeypatch.setitem(models.BACKBONES, "resnet18", together.without_batch_norm)
    alone = loop.train("test", parts[0], RECIPE, parts[1], progress=False)
    recipe = replace(RECIPE, processes=2)
    with processes.Bar(2, progress=False) as bar:
        processes.run(together.train, ("test", parts[0], recipe, parts[1]), 2, bar)
    both = runs.find_run("test", runs.run_key(parts[0], recipe, parts[1]))
    assert both.row["options"] == '{"processes": 2}'
    for name, values in arrays(alone).items():
        np.testing.assert_allclose(arrays(both)[name], values, rtol=0, atol=2e-3 * np.abs(values).max())  # float16
    # Each number is that of all images, though either process sees one half of every batch.
    numbers = ["epoch", "loss", "accuracy", "held_out_accuracy"]
    np.testing.assert_allclose(both.history[numbers], alone.history[numbers], rtol=1e-4)
    assert both.accuracy == alone.accuracy


@pytest.mark.parametrize(("rank", "status", "said"), [(0, 3, "disk is full"), (1, 3, "disk is full"), (1, 0, "-9")])
def test_a_dead_process_ends_the_others_with_its_last_words(parts, rank, status, said):
    with processes.Bar(1, progress=False) as bar, pytest.raises(RuntimeError, match=f"process {rank + 1}.*{said}"):
        processes.run(together.die, (rank, status), 2, bar)
    assert not [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_the_processes_end_with_the_one_that_started_them(parts):
    code = (
        "import together\n"
        "from facelib.training import processes\n"
        "with processes.Bar(1, False) as bar:\n"
        "    processes.run(together.wait, (), 2, bar)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert "waiting" in parent.stdout.readline()
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(children, timeout=20)[1]


def test_progress_of_a_worker_reaches_the_bar_and_other_lines_are_printed(capsys, monkeypatch):
    monkeypatch.setenv("FACELIB_WORKER", "1")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
    with processes.Bar(4, progress=True) as worker:
        worker.start(1)
        worker.show(1.5, loss=2.0)
    lines = capsys.readouterr().out.splitlines(keepends=True)
    monkeypatch.delenv("FACELIB_WORKER")
    with processes.Bar(4, progress=True) as bar:
        for line in [*lines, "something else\n"]:
            bar.follow(line)
    shown = capsys.readouterr().out
    assert "1.50/4" in shown and "loss=2.000" in shown and "something else" in shown


def test_free_ports_differ():
    assert len(set(processes._free_ports(8))) == 8
