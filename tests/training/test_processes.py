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
    numbers = ["epoch", "loss", "accuracy", "held_out_loss", "held_out_accuracy"]
    np.testing.assert_allclose(both.history[numbers], alone.history[numbers], rtol=1e-4)
    assert both.accuracy == alone.accuracy


@pytest.fixture
def started(monkeypatch):
    """The processes that are started."""
    kept, start = [], processes._start
    monkeypatch.setattr(processes, "_start", lambda *arguments: kept.append(start(*arguments)) or kept[-1])
    return kept


def assert_over(started, count):
    assert len(started) == count and all(process.returncode is not None for process in started)
    assert all(pipe.closed for process in started for pipe in (process.stdin, process.stdout) if pipe)
    assert not {process.pid for process in started} & {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize(("rank", "status", "said"), [(0, 3, "disk is full"), (1, 3, "disk is full"), (1, 0, "-9")])
def test_a_dead_process_ends_the_others_with_its_last_words(parts, started, rank, status, said):
    words = f"process {rank + 1}.*{said}"
    with processes.Bar(1, progress=False) as bar, pytest.raises(RuntimeError, match=words) as error:
        processes.run(together.die, (rank, status), 2, bar)
    assert "checkpoint" not in str(error.value)  # what ran is not known to leave one
    assert_over(started, 2)


def test_the_last_lines_of_processes_are_printed_and_their_pipes_are_closed(parts, started, capsys):
    with processes.Bar(1, progress=True) as bar:
        processes.run(print, ("done",), 2, bar)
    assert "done" in capsys.readouterr().out
    assert_over(started, 2)


def test_a_process_that_cannot_be_started_ends_those_before_it(parts, started, monkeypatch):
    start = processes._start

    def fail(folder, rank, ports):
        if rank == 1:
            raise OSError("out of memory")
        return start(folder, rank, ports)

    monkeypatch.setattr(processes, "_start", fail)
    with processes.Bar(1, progress=False) as bar, pytest.raises(OSError, match="memory"):
        processes.run(together.wait, (), 2, bar)
    assert_over(started, 1)


def test_a_training_that_fails_says_what_is_kept_of_it(parts, monkeypatch):
    def fail(*_):
        raise RuntimeError("Training process 2 of 2 ended with status 3: the disk is full.")

    monkeypatch.setattr(processes, "run", fail)
    recipe = replace(RECIPE, processes=2)
    with pytest.raises(RuntimeError, match="disk is full.*No epoch was finished"):
        loop.train("test", parts[0], recipe, progress=False)
    run = runs._run_folder("test", runs.run_key(parts[0], recipe))
    for epoch in ("epoch_0009", "epoch_0010", "writing_epoch_0011"):
        (run / epoch).mkdir(parents=True)
    with pytest.raises(RuntimeError, match="disk is full.*checkpoint of epoch 10 is kept"):
        loop.train("test", parts[0], recipe, progress=False)


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
