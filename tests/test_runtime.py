"""The process is prepared before Paddle, quietly, and never against the user's own settings."""

import os
import random
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from facelib import runtime

ROOT = Path(__file__).parent.parent
SETTINGS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "GLOG_minloglevel")
INTEL = {"vendor_id": "GenuineIntel", "flags": "sse2 avx avx2 avx512f", "model name": "Intel(R) Xeon(R)"}
ZEN4 = {"vendor_id": "AuthenticAMD", "flags": "sse2 avx avx2 avx512f avx512bw", "model name": "AMD EPYC 9654"}
ZEN2 = {"vendor_id": "AuthenticAMD", "flags": "sse2 avx avx2 fma", "model name": "AMD EPYC 7742"}
BULLDOZER = {"vendor_id": "AuthenticAMD", "flags": "sse2 avx fma4", "model name": "AMD Opteron"}


def fresh(code: str, *path: Path, **settings: str) -> subprocess.CompletedProcess:
    """Run code in a new interpreter with these settings alone."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])), **settings}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def settings(monkeypatch):
    """The user has set nothing."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    return lambda: {name: os.environ.get(name) for name in SETTINGS}


class TestMathPath:
    @pytest.mark.parametrize("cpu, expected", [(INTEL, None), (ZEN4, "7"), (ZEN2, "5"), (BULLDOZER, None), ({}, None)])
    def test_it_is_chosen_for_amd_by_what_the_cpu_has(self, settings, monkeypatch, cpu, expected):
        assert runtime.mkl_cpu_type(cpu.get("vendor_id", ""), cpu.get("flags", "")) == expected
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: cpu)
        runtime.prepare()
        assert settings()["MKL_DEBUG_CPU_TYPE"] == expected

    def test_flags_are_whole_words(self):
        assert runtime.mkl_cpu_type("AuthenticAMD", "avx2x xavx512f") is None

    def test_nothing_but_the_arguments_counts(self, monkeypatch):
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: pytest.fail("looked at this machine"))
        assert runtime.mkl_cpu_type("AuthenticAMD", "avx2") == "5"


class TestPrepare:
    def test_the_threads_are_the_cores(self, settings, monkeypatch):
        monkeypatch.setattr(runtime, "cores", lambda: 6)
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: INTEL)
        runtime.prepare()
        assert settings() == {"OMP_NUM_THREADS": "6", "MKL_DEBUG_CPU_TYPE": None, "GLOG_minloglevel": "2"}

    def test_what_the_user_has_set_stays(self, settings, monkeypatch):
        chosen = {"OMP_NUM_THREADS": "1", "MKL_DEBUG_CPU_TYPE": "4", "GLOG_minloglevel": "0"}
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: ZEN4)
        runtime.prepare()
        assert settings() == chosen

    def test_an_empty_value_is_a_choice_too(self, settings, monkeypatch):
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "")
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: ZEN4)
        runtime.prepare()
        assert settings()["MKL_DEBUG_CPU_TYPE"] == ""

    def test_importing_the_package_prepares(self):
        code = f"import facelib, os; print(*[os.environ.get(name) for name in {SETTINGS!r}])"
        threads, _, quiet = fresh(code).stdout.split()
        assert int(threads) == runtime.cores() and quiet == "2"
        chosen = {"OMP_NUM_THREADS": "3", "MKL_DEBUG_CPU_TYPE": "1", "GLOG_minloglevel": "0"}
        assert fresh(code, **chosen).stdout.split() == list(chosen.values())

    def test_a_system_without_cpuinfo(self, settings, monkeypatch):
        def fail(self, *arguments, **options):
            raise FileNotFoundError(2, "No such file or directory")

        monkeypatch.setattr(Path, "read_text", fail)
        runtime.prepare()
        assert settings()["MKL_DEBUG_CPU_TYPE"] is None and runtime.cpu_model()


class TestPaddleFirst:
    CODE = "import sys, types; sys.modules['paddle'] = types.ModuleType('paddle'); import facelib, facelib.data.images"

    def test_it_is_said_in_one_line(self):
        done = fresh(self.CODE)
        (line,) = done.stderr.splitlines()
        assert "Paddle was imported before facelib" in line and "Import facelib first" in line
        assert line.startswith("<string>:1: UserWarning"), "it points at the user's line"
        assert done.stdout == ""

    def test_not_where_the_user_has_set_all(self, settings, monkeypatch, recwarn):
        monkeypatch.setitem(sys.modules, "paddle", types.ModuleType("paddle"))
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: ZEN4)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "5")
        runtime.prepare()
        assert not recwarn.list
        monkeypatch.delenv("MKL_DEBUG_CPU_TYPE")
        with pytest.warns(UserWarning, match="Paddle was imported before facelib"):
            runtime.prepare()

    def test_not_where_it_comes_second(self):
        code = (
            "import facelib, sys, types; sys.modules['paddle'] = types.ModuleType('paddle'); facelib.runtime.prepare()"
        )
        assert fresh(code).stderr == ""


class TestImport:
    def test_the_data_modules_need_no_paddle(self):
        code = "import sys; from facelib.data import archives, catalog, packing, images; print('paddle' in sys.modules)"
        done = fresh(code)
        assert (done.stdout, done.stderr) == ("False\n", "")

    def test_features_need_no_pandas(self):
        code = "import sys; import facelib.inference.embedder; print('pandas' in sys.modules)"
        assert fresh(code).stdout == "False\n"

    def test_paddle_is_imported_and_used_quietly(self):
        code = (
            "import sys\n"
            "from facelib._paddle import paddle\n"
            "print('imported', flush=True); print('imported', file=sys.stderr, flush=True)\n"
            "from facelib import runtime\n"
            "device = runtime.use_device()\n"
            "assert float(paddle.nn.Linear(2, 2)(paddle.ones([1, 2])).sum()) < 99\n"
            "print(device)\n"
        )
        done = fresh(code, OMP_NUM_THREADS="4")
        before, after = done.stdout.split("imported\n")
        assert before == "" and done.stderr == "imported\n"
        *notes, device = after.splitlines()
        assert device in ("cpu", "gpu:0")
        assert len(notes) <= 1 and all("running on the CPU" in note for note in notes)

    def test_a_process_that_is_told_to_end_ends_quietly(self):
        told = "from facelib._paddle import paddle; import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
        code = f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {told!r}]).returncode)"
        done = fresh(code)
        assert (done.stdout, done.stderr) == ("-15\n", "")

    def test_only_the_known_advice_is_held_back(self, tmp_path):
        (tmp_path / "paddle.py").write_text(
            "import sys\n"
            "print('WARNING: OMP_NUM_THREADS set to 4, not 1. ...', file=sys.stderr)\n"
            "print('PLEASE USE OMP_NUM_THREADS WISELY.', file=sys.stderr)\n"
            "print('the library is damaged', file=sys.stderr)\n"
            "def disable_signal_handler(): pass\n"
        )
        done = fresh("from facelib._paddle import paddle; print(paddle.__name__)", tmp_path)
        assert (done.stdout, done.stderr) == ("paddle\n", "the library is damaged\n")

    def test_what_a_failing_import_says_is_not_lost(self, tmp_path):
        (tmp_path / "paddle.py").write_text(
            "import sys; print('libfoo.so is missing', file=sys.stderr); raise ImportError"
        )
        code = "try:\n    from facelib._paddle import paddle\nexcept ImportError:\n    print('not imported')"
        done = fresh(code, tmp_path)
        assert (done.stdout, done.stderr) == ("not imported\n", "libfoo.so is missing\n")

    def test_other_names_are_missing_as_usual(self):
        with pytest.raises(AttributeError, match="has no attribute 'torch'"):
            runtime.torch  # noqa: B018


class TestUseDevice:
    @pytest.fixture
    def build(self, monkeypatch):
        """A stand-in for Paddle with some number of GPUs, or without CUDA (None)."""
        import facelib._paddle  # noqa: F401  (with the real one, before the stand-in takes its name)

        def build(gpus, cudnn=8600, capability=(8, 9), cuda="11.8"):
            paddle = types.ModuleType("paddle")
            paddle.flags, paddle.chosen = {}, None
            paddle.is_compiled_with_cuda = lambda: gpus is not None
            asked = {"device_count": lambda: gpus, "get_device_capability": lambda: capability}
            paddle.device = types.SimpleNamespace(cuda=types.SimpleNamespace(**asked))
            paddle.version = types.SimpleNamespace(cuda=lambda: cuda)
            paddle.get_cudnn_version = lambda: cudnn
            paddle.set_device = lambda name: setattr(paddle, "chosen", name)
            paddle.get_device = lambda: paddle.chosen
            paddle.set_flags = paddle.flags.update
            monkeypatch.setitem(sys.modules, "paddle", paddle)
            monkeypatch.setattr("facelib._paddle.paddle", paddle)
            return paddle

        return build

    @pytest.mark.parametrize(
        "gpus, name, expected",
        [
            (None, None, "cpu"),
            (None, "cpu", "cpu"),
            (0, None, "cpu"),
            (0, "cpu", "cpu"),
            (2, None, "gpu:0"),
            (2, "cpu", "cpu"),
            (2, "gpu", "gpu"),
            (2, "gpu:1", "gpu:1"),
        ],
    )
    def test_what_is_chosen(self, build, capfd, gpus, name, expected):
        paddle = build(gpus)
        assert runtime.use_device(name) == expected == paddle.chosen
        assert bool(paddle.flags.get("FLAGS_cudnn_deterministic")) == expected.startswith("gpu")
        said = capfd.readouterr()
        note = "Paddle's GPU build finds no usable GPU: running on the CPU.\n"
        assert said == (note if (gpus, name) == (0, None) else "", "")

    @pytest.mark.parametrize(
        "gpus, name, reason",
        [
            (None, "gpu", "is the CPU build"),
            (None, "gpu:1", "is the CPU build"),
            (0, "gpu", "finds no usable GPU"),
            (2, "gpu:2", "finds 2 usable GPU"),
        ],
    )
    def test_a_gpu_that_is_not_there_is_an_error(self, build, gpus, name, reason):
        paddle = build(gpus)
        with pytest.raises(RuntimeError, match=f"Device '{name}' was asked for, but Paddle {reason}.*Use device 'cpu'"):
            runtime.use_device(name)
        assert paddle.chosen is None

    def test_a_gpu_without_cudnn_is_no_use(self, build, capfd):
        build(1, cudnn=None)
        assert runtime.use_device() == "cpu"
        assert "no usable GPU" in capfd.readouterr().out
        with pytest.raises(RuntimeError, match="finds no usable GPU"):
            runtime.use_device("gpu")

    def test_a_gpu_newer_than_the_build_is_no_use(self, build, capfd):
        build(1, capability=(9, 0))
        assert runtime.use_device() == "cpu"
        assert "This GPU is newer than Paddle's CUDA 11" in capfd.readouterr().out
        with pytest.raises(RuntimeError, match="finds no usable GPU"):
            runtime.use_device("gpu")
        build(1, capability=(9, 0), cuda="12.6")
        assert runtime.use_device() == "gpu:0"

    def test_with_paddle_itself(self, capfd):
        from facelib._paddle import paddle

        device = runtime.use_device()
        assert device == paddle.get_device()
        said = capfd.readouterr()
        assert said.err == "" and len(said.out.splitlines()) <= 1
        if device == "cpu":
            with pytest.raises(RuntimeError, match="Device 'gpu' was asked for, but Paddle"):
                runtime.use_device("gpu")
        assert runtime.use_device("cpu") == "cpu"


class TestSeeds:
    def draws(self):
        from facelib._paddle import paddle

        return random.random(), np.random.rand(3).tolist(), paddle.rand([3]).numpy().tolist()

    @pytest.mark.parametrize("seed", [0, 7, 2**40])
    def test_draws_repeat(self, seed):
        runtime.use_device("cpu")
        runtime.seed_everything(seed)
        first = self.draws()
        between = self.draws()
        runtime.seed_everything(seed)
        assert self.draws() == first
        runtime.seed_everything(seed + 1)
        assert all(a != b and a != c for a, b, c in zip(self.draws(), first, between, strict=True))


class TestFolders:
    @pytest.mark.parametrize(
        "function, name",
        [("data_dir", "FACELIB_DATA"), ("cache_dir", "FACELIB_CACHE"), ("output_dir", "FACELIB_OUTPUT")],
    )
    def test_the_environment_decides(self, monkeypatch, tmp_path, function, name):
        monkeypatch.setenv(name, str(tmp_path))
        assert getattr(runtime, function)() == tmp_path
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv(name, "~/here")
        assert getattr(runtime, function)() == tmp_path / "here"

    def test_a_relative_path_is_meant_from_where_the_process_began(self, tmp_path):
        (tmp_path / "notebooks").mkdir()
        code = (
            "import os, facelib; os.chdir('notebooks')\n"
            "from facelib import runtime\n"
            "print(runtime.data_dir(), runtime.cache_dir(), runtime.output_dir(), os.environ['FACELIB_DATA'])\n"
        )
        given = {"FACELIB_DATA": "faces", "FACELIB_CACHE": "./cache", "FACELIB_OUTPUT": ".."}
        environment = os.environ | given | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        expected = [tmp_path / "faces", tmp_path / "cache", tmp_path.parent, tmp_path / "faces"]
        assert done.stdout.split() == [str(path) for path in expected]

    @pytest.mark.parametrize("unset", [True, False], ids=["unset", "empty"])
    def test_defaults(self, monkeypatch, tmp_path, unset):
        for name in ("FACELIB_DATA", "FACELIB_CACHE", "FACELIB_OUTPUT", "XDG_CACHE_HOME"):
            monkeypatch.setenv(name, "")
            if unset:
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert runtime.data_dir() == ROOT / "data"
        assert runtime.output_dir() == ROOT
        assert runtime.cache_dir() == tmp_path / ".cache" / "facelib"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert runtime.cache_dir() == tmp_path / "xdg" / "facelib"


class TestHardware:
    def test_facts(self):
        facts = runtime.hardware()
        assert all(isinstance(value, str) and value for value in facts.values())
        assert int(facts["cores"]) >= 1 and facts["memory"].endswith("GiB")
        assert facts["numpy"] == np.__version__
        assert str(Path.home()) not in " ".join(facts.values())

    def test_paddle_is_not_loaded_for_them(self):
        code = (
            "import sys; from facelib import runtime; facts = runtime.hardware()\n"
            "print('paddle' in sys.modules, facts['device'], facts['paddle'], sep='|')\n"
            "from facelib._paddle import paddle; runtime.use_device('cpu'); print(runtime.hardware()['device'])\n"
            "print(paddle.__version__)"
        )
        before, device, version = fresh(code).stdout.splitlines()
        assert before.startswith("False|Paddle not in use|") and device == "cpu"
        assert before.split("|")[2].removesuffix(" (GPU build)") == version

    def test_cores_are_those_this_process_may_use(self, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
        assert runtime.cores() == 2
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.setattr(os, "cpu_count", lambda: None)
        assert runtime.cores() == 1

    def test_the_cpu_has_a_name_everywhere(self, monkeypatch):
        monkeypatch.setattr(runtime, "_cpuinfo", lambda: ZEN2)
        assert runtime.cpu_model() == "AMD EPYC 7742"
        monkeypatch.setattr(runtime, "_cpuinfo", dict)
        assert runtime.cpu_model()

    def test_cpuinfo_is_that_of_the_first_core(self, monkeypatch):
        text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: a: b\n\nprocessor\t: 1\nvendor_id\t: other\n"
        monkeypatch.setattr(Path, "read_text", lambda self, *arguments, **options: text)
        assert runtime._cpuinfo() == {"processor": "0", "vendor_id": "AuthenticAMD", "flags": "a: b"}

    def test_peak_memory_is_in_bytes_and_of_this_process(self):
        code = (
            "from facelib import runtime\n"
            "import numpy as np\n"
            "before = runtime.peak_memory()\n"
            "np.ones(25 * 2**20 // 8).sum()\n"
            "print(before / 2**20, (runtime.peak_memory() - before) / 2**20)\n"
        )
        ballast = np.ones(200 * 2**20 // 8)
        before, growth = map(float, fresh(code).stdout.split())
        assert 5 < before < 150 and 20 < growth < 40
        assert runtime.peak_memory() > ballast.nbytes


def test_instruction_sets_are_the_kernel_s_names_or_none(monkeypatch):
    monkeypatch.setattr(runtime, "_cpuinfo", lambda: {"flags": "fpu avx2 avx512_vnni"})
    assert runtime.cpu_flags() == {"fpu", "avx2", "avx512_vnni"}
    monkeypatch.setattr(runtime, "_cpuinfo", dict)
    assert runtime.cpu_flags() == frozenset()


def test_what_libraries_print_is_kept_from_standard_output_whoever_else_does_so(tmp_path):
    """Two threads at once, then the answer; and a process that has no standard output."""
    code = """
import os, sys, threading
from facelib import runtime

both = threading.Barrier(2)

def work():
    both.wait()
    for _ in range(50):
        with runtime.unheard() as told:
            os.write(1, b"noise")
            told.seek(0)
            assert told.read() == b"noise"

threads = [threading.Thread(target=work) for _ in range(2)]
[each.start() for each in threads], [each.join() for each in threads]
print("answer")
sys.stdout = None
with runtime.unheard():
    os.write(1, b"noise")
os.close(1)
with runtime.unheard():
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=runtime.ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("answer\n", "", 0)
