"""Every file gets its row or its reason, whoever writes it; processes start where they pay and never stay."""

import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import loky
import numpy as np
import psutil
import pytest
from PIL import Image

from facelib.data import _workers, images
from facelib.data._workers import Job, write_faces

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}


@pytest.fixture
def job(tmp_path):
    return Job(str(tmp_path / "pixels.u8"), "", 8, None)


@pytest.fixture
def eager(monkeypatch):
    """Processes start after the second chunk."""
    monkeypatch.setattr(_workers, "MEASURED", 0)
    monkeypatch.setattr(_workers, "WORTHWHILE", -1)


@pytest.fixture
def files(encode, colour):
    """So many files, each of another colour; some broken."""

    def files(count, broken=()):
        return [(f"a/{n}.png", b"text" if n in broken else encode(colour(n))) for n in range(count)]

    return files


def write(job, files, workers=1, told=lambda files: None):
    return write_faces(job, iter(files), len(files), workers, told)


def rows(job) -> np.ndarray:
    """(n, 3): the one colour of each row."""
    faces = np.fromfile(job.target, np.uint8).reshape(-1, 64, 3)
    assert (faces == faces[:, :1]).all()
    return faces[:, 0]


def children(process=None) -> list[psutil.Process]:
    """Processes that decode; not those which loky and Python start once to tidy up after all others."""
    found = []
    for child in (process or psutil.Process()).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


BROKEN = [(), (0,), (299,), (5, 6, 7, 100), range(3, 297), range(1, 300), range(0, 300, 2)]


def rows_are_the_faces_in_order(job, files, colour, broken, workers):
    results = write(job, files(300, broken), workers)
    whole = [n for n in range(300) if n not in broken]
    assert [path for path, _ in results] == [f"a/{n}.png" for n in range(300)]
    assert rows(job).tolist() == [list(colour(n)) for n in whole]
    assert [n for n, (_, result) in enumerate(results) if not isinstance(result, str)] == whole
    assert {result for _, result in results if isinstance(result, str)} <= {"not an image that Pillow can read"}


@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_rows_are_the_faces_in_order(job, files, colour, monkeypatch, block, broken):
    monkeypatch.setattr(_workers, "BLOCK", block)
    rows_are_the_faces_in_order(job, files, colour, broken, workers=1)


@pytest.mark.parametrize("workers, broken", [(2, ()), (2, (5, 6, 7, 100)), (3, range(3, 297))], ids=str)
def test_however_many_write_them(job, eager, files, colour, monkeypatch, workers, broken):
    monkeypatch.setattr(_workers, "CHUNK", 16)
    rows_are_the_faces_in_order(job, files, colour, broken, workers)


def test_no_face_at_all_leaves_an_empty_file(job, files):
    write(job, files(9, range(9)))
    assert os.path.getsize(job.target) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_results_tell_hash_width_and_reason(job, eager, encode, workers):
    wide = encode(Image.new("RGB", (30, 20)))
    given = [("a", wide), ("b", b""), ("c", "link to a folder"), ("d", wide)] * 5
    results = write(job, given, workers)
    assert results[:4] == [
        ("a", (hashlib.sha256(wide).hexdigest(), 30)),
        ("b", "empty file"),
        ("c", "link to a folder"),
        ("d", (hashlib.sha256(wide).hexdigest(), 30)),
    ]
    assert results == results[:4] * 5


@pytest.mark.parametrize("workers", [1, 2])
def test_files_without_bytes_are_read_from_the_folder(tree, tmp_path, eager, workers):
    root = tree([f"ann/{n}.png" for n in range(40)])
    os.rename(root / "ann", os.fsencode(root) + b"/Jos\xe9")  # no valid text
    paths = sorted(os.path.relpath(path, root) for path in (root / os.fsdecode(b"Jos\xe9")).iterdir())
    job = Job(str(tmp_path / "pixels.u8"), os.path.join(root, ""), 8, None)
    results = write(job, [(path, None) for path in [*paths, "gone.png"]], workers)
    assert rows(job).tolist() == [list(Image.open(root / path).getpixel((0, 0))) for path in paths]
    assert results[-1] == ("gone.png", "cannot be read (No such file or directory)")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_crop_counts(tmp_path, encode, eager, workers):
    picture = Image.new("RGB", (8, 8))
    picture.paste((255, 255, 255), (4, 0, 8, 8))
    job = Job(str(tmp_path / "pixels.u8"), "", 2, [0.75, 0.0, 1.0, 1.0])
    write(job, [(str(n), encode(picture)) for n in range(20)], workers)
    assert np.fromfile(job.target, np.uint8).tolist() == [255] * 20 * 12


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_every_file_once(job, eager, files, workers):
    told = []
    write(job, files(300, [3]), workers, told.append)
    assert sum(told) == 300 and len(told) > 3


class TestChunks:
    def sizes(self, files):
        chunks = list(_workers._chunks(iter(files)))
        assert [file for chunk in chunks for file in chunk.files] == files
        assert [chunk.row for chunk in chunks] == [0, *np.cumsum([len(chunk.files) for chunk in chunks])[:-1]]
        return [len(chunk.files) for chunk in chunks]

    def test_they_grow(self):
        assert self.sizes([("a", None)] * 1600) == [4, 8, 16, 32, 64, 128, 256, 512, 512, 68]

    def test_bytes_limit_them(self, monkeypatch):
        monkeypatch.setattr(_workers, "CHUNK_BYTES", 100)
        assert self.sizes([("a", b"x" * 40)] * 8) == [3, 3, 2]
        assert self.sizes([("a", b"x" * 1000)] * 3) == [1, 1, 1]


class TestWhenProcessesStart:
    @pytest.fixture
    def started(self, monkeypatch):
        counts, pool = [], loky.ProcessPoolExecutor
        monkeypatch.setattr(loky, "ProcessPoolExecutor", lambda n, **kept: counts.append(n) or pool(n, **kept))
        return counts

    @pytest.fixture
    def seconds_per_file(self, monkeypatch):
        """Let each file seem to take so long."""
        clock, decode = [0.0], images.decode

        def set_to(seconds):
            def decoded(*arguments):
                clock[0] += seconds
                return decode(*arguments)

            monkeypatch.setattr(images, "decode", decoded)
            monkeypatch.setattr(_workers.time, "thread_time", lambda: clock[0])

        return set_to

    @pytest.mark.parametrize(
        "count, seconds, processes", [(200, 0.004, 0), (200, 0.008, 2), (20, 0.5, 2), (20, 0.01, 0)]
    )
    def test_when_much_is_left(self, job, files, started, seconds_per_file, count, seconds, processes):
        seconds_per_file(seconds)
        write(job, files(count), 2)
        assert sum(started) == processes

    def test_never_for_one(self, job, files, started, seconds_per_file):
        seconds_per_file(1.0)
        write(job, files(20), 1)
        assert started == []

    def test_the_slow_first_files_do_not_count(self, job, files, started, monkeypatch):
        clock = iter([9.0, *np.arange(9.0, 9.1, 0.001)])  # read after each chunk
        monkeypatch.setattr(_workers.time, "thread_time", lambda: next(clock))
        write(job, files(200), 2)
        assert started == []


class TestEnds:
    def test_afterwards_no_process_is_left(self, job, eager, files):
        before = children()
        write(job, files(100), 2)
        assert children() == before

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_nor_after_an_error_here(self, job, eager, files, error):
        before = children()

        def told(files):
            if children() != before:
                raise error

        with pytest.raises(error):
            write(job, files(300), 2, told)
        assert children() == before

    def test_nor_after_an_error_of_the_source(self, job, eager, files):
        before = children()

        def breaking():
            yield from files(100)
            raise ValueError("damaged")

        with pytest.raises(ValueError, match="damaged"):
            write_faces(job, breaking(), 300, 2, lambda files: None)
        assert children() == before

    def test_an_error_there_is_raised_here(self, job, eager, files):
        before = children()
        with pytest.raises(FileNotFoundError):
            write(job, files(300), 2, lambda files: Path(job.target).unlink(missing_ok=True))
        assert children() == before

    def test_a_killed_process_is_an_error_that_names_the_files(self, job, eager, files):
        def kill(files):
            for child in children():
                child.kill()

        with pytest.raises(RuntimeError, match=r"was ended between 'a/\d+.png' and 'a/\d+.png'.* workers=1"):
            write(job, files(300), 2, kill)
        assert children() == []

    @pytest.mark.parametrize("busy", [False, True])
    def test_they_end_with_the_process_that_started_them(self, tree, tmp_path, busy):
        script = tmp_path / "script.py"
        script.write_text(UNGUARDED + (BUSY if busy else IDLE))
        root = tree([f"a/{n}.png" for n in range(99)])
        with subprocess.Popen([sys.executable, script, root], env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
            parent = psutil.Process(process.pid)
            workers = wait_for(lambda: len(found := children(parent)) == 2 and found)
            time.sleep(1)
            process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive


UNGUARDED = """
import sys, time
from facelib.data import _workers, packing
_workers.MEASURED, _workers.WORTHWHILE = 0, -1
"""
PACK = """
print(len(packing.pack(sys.argv[1], size=8, workers=2, progress=False)))
"""
IDLE = """
import os
from pathlib import Path
job = _workers.Job(sys.argv[1] + "/pixels.u8", "", 8, None)
paths = sorted(map(str, Path(sys.argv[1]).glob("a/*.png")))
done = []
told = lambda n: done.append(n) or len(done) > 3 and time.sleep(99)
_workers.write_faces(job, ((path, None) for path in paths), 99, 2, told)
"""
BUSY = """
import os
os.mkfifo(sys.argv[1] + "/a/5.png.fifo")  # nobody ever writes to it
job = _workers.Job(sys.argv[1] + "/pixels.u8", "", 8, None)
paths = [f"{sys.argv[1]}/a/{n}.png" for n in range(20)] + [sys.argv[1] + "/a/5.png.fifo"] * 20
_workers.write_faces(job, ((path, None) for path in paths), 40, 2, lambda n: None)
"""


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def test_a_script_needs_no_main_guard(tree, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED + PACK)
    root = tree([f"a/{n}.png" for n in range(99)])
    done = subprocess.run([sys.executable, script, root], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("99\n", "", 0)


def test_the_processes_import_little():
    code = (
        "import sys\n"
        "from facelib.data import _workers\n"
        "from loky import ProcessPoolExecutor\n"
        "pool = ProcessPoolExecutor(1)\n"
        "pool.submit(_workers.Job, '', '', 1, None).result()\n"
        "print(*pool.submit(eval, 'list(__import__(\"sys\").modules)').result())\n"
        "pool.shutdown(kill_workers=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    found = set(done.stdout.split())
    assert "facelib.data._workers" in found and "PIL.Image" in found
    assert not {"paddle", "pandas", "scipy", "sklearn", "tqdm", "matplotlib"} & found


def test_they_use_one_thread_each_and_are_not_stopped_by_a_key(job, eager, files, monkeypatch):
    asked, pool = {}, loky.ProcessPoolExecutor

    def spy(*arguments, **options):
        made = pool(*arguments, **options)
        code = '(__import__("os").environ["OMP_NUM_THREADS"], __import__("signal").getsignal(2) == 1)'
        asked["told"] = made.submit(eval, code).result()
        return made

    monkeypatch.setattr(loky, "ProcessPoolExecutor", spy)
    write(job, files(100), 2)
    assert asked["told"] == ("1", True)
