"""Some hundred damaged files, the same at each run; `fuzz` makes more of them by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.data import fuzz

ROOT = Path(__file__).parent.parent.parent


def test_damage_gives_a_face_or_a_reason_and_no_noise(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FACELIB_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "tests.data.fuzz", "270", "30", "3"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert (done.stderr, done.returncode) == ("", 0)
    found = json.loads(done.stdout)
    assert found["peak_mib"] < 1024
    assert sum(found["became"].values()) == 300
    assert min(found["became"][name] for name in ("image: face", "image: truncated file", "archive: set")) > 3


def test_what_is_not_damaged_gives_a_face(tmp_path):
    files = fuzz.originals()
    assert [name for name, data in files.items() if fuzz.use_image(data) != "face"] == ["heic"]
    for suffix, data in fuzz.packed(files).items():
        assert fuzz.use_archive(data, suffix, tmp_path) == "set"
