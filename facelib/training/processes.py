"""Several processes that train together, and the progress bar that follows them."""

import contextlib
import ctypes
import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from facelib import runtime
from facelib._paddle import paddle

_MARK = "facelib-progress "  # opens a line of a worker's output that is meant for the bar


class Bar:
    """Progress in epochs: drawn here, or in a worker told to the process that started it."""

    def __init__(self, epochs: int, progress: bool):
        layout = "{desc} {percentage:3.0f} %|{bar}| {n:.2f}/{total} epochs [{elapsed}<{remaining}]{postfix}"
        self._worker = "FACELIB_WORKER" in os.environ
        hidden = not progress or self._worker
        self._bar = tqdm(total=epochs, bar_format=layout, disable=hidden, desc="training", file=sys.stdout)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def start(self, epochs: int) -> None:
        """Begin with some epochs done."""
        self._tell(start=epochs)
        self._bar.n = self._bar.initial = epochs

    def show(self, epochs: float, **numbers: float) -> None:
        """So many epochs are done; the numbers stand behind the bar."""
        self._tell(show=epochs, **numbers)
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in numbers.items()}, refresh=False)
        self._bar.update(epochs - self._bar.n)

    def _tell(self, **message: float) -> None:
        if self._worker and os.environ["PADDLE_TRAINER_ID"] == "0":
            print(_MARK + json.dumps({name: float(value) for name, value in message.items()}), flush=True)

    def follow(self, line: str) -> None:
        """Take over what a worker's `Bar` told; any other line is printed."""
        if not line.startswith(_MARK):
            tqdm.write(line, file=sys.stdout, end="")
            sys.stdout.flush()  # whoever reads it through a pipe waits for it
            return
        message = json.loads(line.removeprefix(_MARK))
        if "start" in message:
            self.start(int(message["start"]))
        else:
            self.show(message.pop("show"), **message)


def run(function: Callable, arguments: tuple, count: int, bar: Bar) -> None:
    """Run ``function(*arguments)`` in ``count`` new processes that find each other, and wait for them.

    The function is pickled by its name, so it must be importable. On the CPU the processes exchange gradients through
    gloo and share the cores; on GPUs each takes one. They end when this process does, or one of them early, which is a
    RuntimeError.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "job.pickle").write_bytes(pickle.dumps((function, arguments)))
        ports, workers, lines, reader = _free_ports(count), [], queue.SimpleQueue(), None
        try:
            for rank in range(count):
                workers.append(_start(folder, rank, ports))
            reader = threading.Thread(target=_hand_over, args=(workers[0].stdout, lines), daemon=True)
            reader.start()  # so that waiting for a line can end
            while any(worker.poll() is None for worker in workers) or reader.is_alive() or not lines.empty():
                _check(workers, folder)
                with contextlib.suppress(queue.Empty):
                    bar.follow(lines.get(timeout=0.2))
            _check(workers, folder)
        finally:
            _end(workers, reader)


def _end(workers: list[subprocess.Popen], reader: threading.Thread | None) -> None:
    for worker in workers:
        worker.kill()
    if reader is not None:
        reader.join()  # a stream is closed when nobody reads it any more
    for worker in workers:
        worker.communicate()  # closes the pipes and waits


def _hand_over(stream, lines: queue.SimpleQueue) -> None:
    for line in stream:
        lines.put(line)


def _start(folder: str, rank: int, ports: list[int]) -> subprocess.Popen:
    count = len(ports)
    endpoints = [f"127.0.0.1:{port}" for port in ports]
    on_gpu = paddle.get_device().startswith("gpu")
    environment = {
        **os.environ,
        "FACELIB_WORKER": str(os.getpid()),
        "FACELIB_DEVICE": f"gpu:{rank}" if on_gpu else "cpu",
        "OMP_NUM_THREADS": str(max(1, runtime.cores() // count)),
        "PADDLE_TRAINERS_NUM": str(count),
        "PADDLE_TRAINER_ID": str(rank),
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
        "PADDLE_MASTER": endpoints[0],
        "PADDLE_DISTRI_BACKEND": "nccl" if on_gpu else "gloo",
        "FLAGS_selected_gpus": str(rank),
    }
    with open(Path(folder) / f"errors-{rank}", "wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "facelib.training.processes", folder],
            env=environment,
            stdin=subprocess.PIPE,  # closes when this process ends: see _end_with_parent
            stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            stderr=errors,
            text=True,
            bufsize=1,
        )


def _check(workers: list[subprocess.Popen], folder: str) -> None:
    for rank, worker in enumerate(workers):
        if worker.poll():
            said = (Path(folder) / f"errors-{rank}").read_text(errors="replace").strip().splitlines()
            raise RuntimeError(
                f"Training process {rank + 1} of {len(workers)} ended with status {worker.returncode}: "
                f"{said[-1] if said else 'it left no message'}."
            )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _end_with_parent() -> None:
    """Have this process killed when the one that started it ends, even while Paddle waits for other processes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == int(os.environ["FACELIB_WORKER"]):
            return
        os._exit(1)
    threading.Thread(target=lambda: sys.stdin.read() or os._exit(1), daemon=True).start()


def _work(folder: str) -> None:
    _end_with_parent()
    runtime.use_device(os.environ["FACELIB_DEVICE"])
    function, arguments = pickle.loads((Path(folder) / "job.pickle").read_bytes())
    function(*arguments)


if __name__ == "__main__":
    _work(sys.argv[1])
