"""Finished runs in one table that several processes write."""

import subprocess
import sys

import pandas as pd
import pytest

from facelib import runtime
from facelib.training import read_runs, runs

WRITER = """
import sys
from facelib.training import runs
for k in range(20):
    runs.append_run({"name": sys.argv[1], "key": f"{sys.argv[1]}{k}", "epochs": k, "options": '{"a": "b, c"}'})
"""


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    return tmp_path


def test_two_processes_that_finish_at_once_lose_no_row(output):
    root = str(runs.Path(runs.__file__).parent.parent.parent)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name], cwd=root) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    rows = read_runs()
    assert len(rows) == 40 and {row["options"] for row in rows} == {'{"a": "b, c"}'}


def test_a_run_is_recorded_once():
    for epochs in (1, 2):
        runs.append_run({"name": "net", "key": "abc", "epochs": epochs})
    assert [row["epochs"] for row in read_runs()] == ["1"]


def test_a_second_training_stands_beside_shipped_weights(output):
    (output / "net.again.csv").write_text("epoch,held_out_loss\n1,2.5\n")
    other, shipped = (runs.Run(output / f"{name}.npz", pd.DataFrame(), {}) for name in ("other", "net"))
    assert other.again is None and shipped.again.to_dict("list") == {"epoch": [1], "held_out_loss": [2.5]}
