from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from facelib.paper import deploying

NETWORK = SimpleNamespace(name="net", weights=Path("net.npz"))


def rounds(*times):
    return pd.DataFrame({"single_ms": times}, index=pd.Index(range(len(times)), name="round"))


def test_the_peer_is_compared_round_by_round_with_its_better_layout():
    timed = {
        ("deploy", "onnx"): rounds(2, 4, 3),
        ("deploy", "dygraph"): rounds(9, 9, 9),
        ("deploy", "onnx_int8"): rounds(1, 1, 1),  # no float32
        ("deploy", "torch"): rounds(8, 9, 8),
        ("deploy", "torch_channels_last"): rounds(6, 6, 6),
        ("deploy.paper", "torch"): rounds(1, 1, 1),
    }
    assert deploying.over_peer(timed, "deploy").tolist() == [3, 1.5, 2]
    assert deploying.over_peer({("deploy", "onnx"): rounds(1)}, "deploy") is None


def test_times_are_told_apart_by_network():
    networks = {key: SimpleNamespace(weights=Path(f"{key}.npz")) for key in ("deploy", "deploy.paper")}
    row = {"round": 0, "engine": "onnx", "single_ms": 1.0, "pair_ms": 2.0, "batch_ms": 3.0}
    files = {"deploy.npz": "onnx", "deploy.paper.npz": "onnx", "other.onnx": "sface"}
    times = pd.DataFrame([row | {"weights": file, "engine": engine} for file, engine in files.items()])
    found = deploying.by_network(times, networks)
    assert set(found) == {("deploy", "onnx"), ("deploy.paper", "onnx"), ("peer", "sface")}
    assert found["deploy", "onnx"]["batch64_ms"].tolist() == [3]


def test_peers_that_are_missing_are_told(monkeypatch):
    def nothing():
        raise FileNotFoundError("no teacher")

    monkeypatch.setattr(deploying, "find_spec", lambda name: None)
    monkeypatch.setattr(deploying.distillation, "teacher_file", nothing)
    setting = {"deploy_peers": ["torch", "sface"]}
    found, missing = deploying.jobs(setting, {"deploy": NETWORK}, {"deploy": ["dygraph"]})
    assert found == {"dygraph": [NETWORK.weights]} and list(missing) == ["torch", "sface"]
    assert missing["sface"] == "no teacher"


def test_eight_bits_in_words():
    entry = {"n": 5, "unit": ""}
    entries = {
        "deploy.onnx_int8.time_saved": entry | {"value": 0.7, "low": 0.65, "high": 0.75},
        "deploy.onnx_int8.accuracy_lost": entry | {"value": 0.001, "low": -0.001, "high": 0.003},
    }
    choices = pd.DataFrame({"backend": ["onnx", "onnx_int8"], "lost": [0.009, 0.004]})
    told = deploying.about_eight_bits(entries, {"deploy": NETWORK}, choices)
    assert "lose 0.0040 at most: fine-tuning with the rounding is not needed" in told
    worse = deploying.about_eight_bits(entries, {"deploy": NETWORK}, choices.assign(lost=0.006))
    assert "rounding has to be tried" in worse
    assert "save **70%** of the time for one face (65% to 75%)" in told and "0.001 [-0.001, 0.003]" in told
    assert deploying.about_eight_bits({}, {"deploy": NETWORK}, choices) == "8 bits were not measured here."
