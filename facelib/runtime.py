"""The process around Paddle: paths, threads, CPU math path, quiet logs, device, seeds, hardware facts."""

import contextlib
import logging
import os
import platform
import random
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
RECORDS = "FACELIB_RECORDS"  # set by `paper.setup` alone
FOLDERS = ("FACELIB_DATA", "FACELIB_CACHE", "FACELIB_OUTPUT")  # environment variables that hold a path
_UNHEARD = threading.RLock()
# What Paddle's own import and save code prints tells the reader nothing that could be acted on.
NOISE = (
    "No ccache found",
    "Setuptools is replacing distutils",
    "pkg_resources is deprecated",
    "To copy construct from a tensor",
    "When training, we now always track global mean and variance",
    "You are using GPU version Paddle, but your CUDA device is not set properly",
)


def lacking() -> str:
    """What to do where the package is a copy without the repository around it; empty where all is there."""
    if (ROOT / "notebooks").is_dir():
        return ""
    return (
        f"facelib in '{ROOT}' is a copy of the package alone, without networks, notebooks and profiles: "
        "install it in its repository with `pip install -e .`, or run it from there."
    )


def data_dir() -> Path:
    """Folder of the data sets: ``FACELIB_DATA``, by default ``data/`` of the repository."""
    return Path(os.environ.get("FACELIB_DATA") or ROOT / "data").expanduser()


def cache_dir() -> Path:
    """Folder of packed sets and checkpoints: ``FACELIB_CACHE``, by default the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("FACELIB_CACHE") or Path(base) / "facelib").expanduser()


def output_dir() -> Path:
    """Folder that holds ``figures/`` and ``data/runs.csv``: ``FACELIB_OUTPUT``, by default the repository."""
    return Path(os.environ.get("FACELIB_OUTPUT") or ROOT).expanduser()


def records_dir() -> Path:
    """Folder of ``runs.csv`` and ``scores/``: ``data/`` of the output folder, or what `paper.setup` has set."""
    return Path(os.environ.get(RECORDS) or output_dir() / "data")


def cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_processes() -> int:
    """Processes to train with: 2 on a CPU with two or more cores, most of whose kernels use one thread; else 1."""
    from facelib._paddle import paddle

    return 2 if paddle.get_device() == "cpu" and cores() > 1 else 1


def cpu_model() -> str:
    """Vendor's name of the CPU, or the architecture where the system does not tell."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU by the kernel's names, such as ``avx512_vnni``; empty where the system tells none."""
    return frozenset(_cpuinfo().get("flags", "").split())


def mkl_cpu_type(vendor: str, flags: str) -> str | None:
    """``MKL_DEBUG_CPU_TYPE`` that puts Paddle's MKL on a fast path (7: AVX-512, 5: AVX2) where it takes the slowest."""
    if vendor != "AuthenticAMD":
        return None
    present = set(flags.split())
    if "avx512f" in present:
        return "7"
    return "5" if "avx2" in present else None


def prepare() -> None:
    """Set what Paddle reads at import, without overriding anything the user has set; make the folders' paths absolute.

    Where Paddle was imported first a warning says so, because the settings then have no effect. A relative path is
    meant from here: a notebook or another process that is started later stands elsewhere.
    """
    for name in FOLDERS:
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.path.expanduser(os.environ[name]))
    defaults = {"OMP_NUM_THREADS": str(cores()), "GLOG_minloglevel": "2"}
    info = _cpuinfo()
    cpu_type = mkl_cpu_type(info.get("vendor_id", ""), info.get("flags", ""))
    if cpu_type:
        defaults["MKL_DEBUG_CPU_TYPE"] = cpu_type
    missing = {name: value for name, value in defaults.items() if name not in os.environ}
    if missing.keys() - {"GLOG_minloglevel"} and "paddle" in sys.modules:
        warnings.warn(
            "Paddle was imported before facelib: threads and CPU math path stay as they were. "
            "Import facelib first for full speed.",
            stacklevel=3,
        )
    os.environ.update(missing)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


@contextlib.contextmanager
def unheard() -> Iterator[IO[bytes]]:
    """Keep what libraries print in C++ from standard output, where answers belong; the file given takes it instead.

    One thread at a time does so: the standard output is that of the process.
    """
    with _UNHEARD, tempfile.TemporaryFile() as told:
        if sys.stdout:  # a process need not have one
            sys.stdout.flush()
        try:
            out = os.dup(1)
        except OSError:
            yield told
            return
        os.dup2(told.fileno(), 1)
        try:
            yield told
        finally:
            os.dup2(out, 1)
            os.close(out)


def use_device(name: str | None = None) -> str:
    """Select the device for Paddle and return its name, by default the first GPU that works, else the CPU.

    ``name`` is ``"cpu"``, ``"gpu"`` or ``"gpu:N"``; RuntimeError where such a GPU cannot be used.
    """
    from facelib._paddle import paddle

    built_for_gpu = paddle.is_compiled_with_cuda()
    # A driver without cuDNN, which Paddle's wheel does not bring, shows GPUs that no convolution can use.
    with_cudnn = built_for_gpu and paddle.device.cuda.device_count() > 0 and paddle.get_cudnn_version() is not None
    # The registry's wheel is built by CUDA 11 for compute capability 6.1 to 8.6 and holds no code that 9.0 can compile.
    too_new = with_cudnn and paddle.version.cuda() < "12" and paddle.device.cuda.get_device_capability()[0] > 8
    if too_new:
        print("This GPU is newer than Paddle's CUDA 11: get Paddle 3 from www.paddlepaddle.org.cn/install/quick.")
    count = paddle.device.cuda.device_count() if with_cudnn and not too_new else 0
    if name and name.startswith("gpu") and int(name.partition(":")[2] or 0) >= count:
        reason = f"finds {count or 'no'} usable GPU" if built_for_gpu else "is the CPU build"
        raise RuntimeError(f"Device '{name}' was asked for, but Paddle {reason}. Use device 'cpu'.")
    if built_for_gpu and not count and name is None:
        print("Paddle's GPU build finds no usable GPU: running on the CPU.")
    device = name or ("gpu:0" if count else "cpu")
    paddle.set_device(device)
    if device.startswith("gpu"):
        paddle.set_flags({"FLAGS_cudnn_deterministic": True})
    return paddle.get_device()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and Paddle."""
    import numpy as np

    from facelib._paddle import paddle

    random.seed(seed)
    np.random.seed(seed % 2**32)
    paddle.seed(seed)


def peak_memory(process: int | None = None) -> int:
    """Largest resident memory of a process so far, by default of this one, in bytes."""
    import psutil

    try:  # unlike getrusage's figure, the kernel's does not include what the parent process had
        status = Path(f"/proc/{process or 'self'}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        memory = psutil.Process(process).memory_info()
        return getattr(memory, "peak_wset", memory.rss)


def hardware() -> dict[str, str]:
    """Facts that a timing or a last digit depends on; Paddle is asked for its device only where it is in use."""
    from importlib import metadata

    import psutil

    paddle = sys.modules.get("paddle")
    return {
        "cpu": cpu_model(),
        "cores": str(cores()),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "device": paddle.get_device() if paddle else "Paddle not in use",
        "cpu math path": os.environ.get("MKL_DEBUG_CPU_TYPE", "as detected"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "paddle": _paddle_version(),
    }


def _paddle_version() -> str:
    """Version of the build that is installed, of which there are two distributions."""
    from importlib import metadata

    for distribution, build in (("paddlepaddle", ""), ("paddlepaddle-gpu", " (GPU build)")):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution) + build
    return "not installed"


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
