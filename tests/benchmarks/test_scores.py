"""What ``data/scores`` keeps, and what is said of a damaged file."""

import numpy as np
import pytest

from facelib import runtime
from facelib.benchmarks import scores
from facelib.paper import benching


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    monkeypatch.setattr(runtime, "ROOT", tmp_path / "root")
    scores.keep_scores("bench-pairs-x", {"left": np.arange(400.0)})
    return scores.scores_file("bench-pairs-x")


@pytest.mark.parametrize("read", [lambda name: scores.kept_distances(name, dict), benching.scores])
@pytest.mark.parametrize("damage", [lambda old: b"", lambda old: bytes(500), lambda old: old[:200], "inside"])
def test_a_damaged_file_is_named_with_what_to_do(file, read, damage):
    content = file.read_bytes()
    middle = len(content) // 2
    damaged = content[:60] + b"\xff" * (middle - 60) + content[middle:] if damage == "inside" else damage(content)
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"bench-pairs-x.npz' is damaged .*git checkout -- .*delete it"):
        read("bench-pairs-x")
    with pytest.raises(ValueError, match="bench-pairs-x.npz' is damaged"):
        benching.held_out_pairs("x")


def test_a_file_that_is_missing_is_no_damaged_one(file):
    with pytest.raises(FileNotFoundError):
        scores.read_scores("nobody")
