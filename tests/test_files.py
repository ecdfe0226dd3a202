"""Files that are written whole, by several processes."""

import subprocess
import sys

import pytest

from facelib import files

ADD = """
import sys
from pathlib import Path
from facelib import files
path = Path(sys.argv[1])
for _ in range(20):
    with files.locked(path):
        files.write_atomically(path, (path.read_text() if path.exists() else "") + "x")
"""


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a" / "numbers.json"
    files.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "\udcff")
    assert path.read_text() == "old"
    assert [found.name for found in path.parent.iterdir()] == ["numbers.json"]


def test_bytes_are_written_as_they_are(tmp_path):
    files.write_atomically(tmp_path / "a", b"\r\n\0\xff")
    assert (tmp_path / "a").read_bytes() == b"\r\n\0\xff"


def test_no_update_is_lost_between_processes(tmp_path):
    path = tmp_path / "count"
    command = [sys.executable, "-c", ADD, str(path)]
    writers = [subprocess.Popen(command) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert path.read_text() == "x" * 60
