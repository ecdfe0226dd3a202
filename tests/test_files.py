"""Files that are written whole, by several processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_a_kept_array_is_made_once_and_again_where_its_file_is_damaged(tmp_path):
    path, made = tmp_path / "some" / "a.npy", []

    def make():
        made.append(1)
        return np.arange(6.0).reshape(2, 3)

    for _ in range(2):
        np.testing.assert_array_equal(files.kept_array(path, make), [[0, 1, 2], [3, 4, 5]])
    assert len(made) == 1
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"", bytes(len(whole)), whole[:100] + b"x" + whole[101:]):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(files.kept_array(path, make), [[0, 1, 2], [3, 4, 5]])
    assert len(made) == 5


@pytest.mark.parametrize("variable", ["FACELIB_CACHE", "FACELIB_OUTPUT"])
def test_where_nothing_can_be_written_the_variable_is_named(tmp_path, monkeypatch, variable):
    (tmp_path / "file").write_text("a file where a folder is to be")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    told = f"file/a' cannot be written .*: set {variable} to a folder"
    with pytest.raises(OSError, match=told):
        files.write_atomically(tmp_path / "file" / "a" / "b.json", "{}")
    with pytest.raises(OSError, match=told.replace("file/a'", "file/a/b.lock'")), files.locked(tmp_path / "file/a/b"):
        pass
    with pytest.raises(OSError, match=r"elsewhere' cannot be written \([^)]*\)\.$"):
        (tmp_path / "elsewhere").write_text("")
        files.write_atomically(tmp_path / "elsewhere" / "b.json", "{}")


def test_who_has_to_wait_for_a_lock_says_so(tmp_path, capsys):
    with files.locked(tmp_path / "x", "waiting"):
        command = "import sys; from facelib import files; import pathlib\n"
        command += "with files.locked(pathlib.Path(sys.argv[1]), 'waiting'): print('in')"
        arguments = [sys.executable, "-c", command, str(tmp_path / "x")]
        other = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "waiting\n" and other.poll() is None
    assert other.communicate()[0] == "in\n" and not capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is Linux's")
def test_a_place_that_takes_no_file_is_told_and_not_waited_for():
    with pytest.raises(OSError, match="x.lock"), files.locked(Path("/proc/x")):
        pass
