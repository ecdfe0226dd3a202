"""Several processes that train together, and the progress bar that follows them."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tqdm import tqdm

from facelib import runtime

_MARK = "facelib-progress "  # opens a line of a worker's output that is meant for the bar


class Bar:
    """Progress in epochs: drawn here, or in a worker told to the process that started it."""

    def __init__(self, epochs: int, progress: bool):
        layout = "{desc} {percentage:3.0f} %|{bar}| {n:.2f}/{total} epochs [{elapsed}<{remaining}]{postfix}"
        self._worker = "FACELIB_WORKER" in os.environ
        hidden = not progress or self._worker
        self._bar = tqdm(total=epochs, bar_format=layout, disable=hidden, desc="training", file=sys.stdout)

    def __enter__(self) -> Bar:
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
            return
        message = json.loads(line.removeprefix(_MARK))
        if "start" in message:
            self.start(int(message["start"]))
        else:
            self.show(message.pop("show"), **message)


def run(job: tuple, count: int, bar: Bar) -> None:
    """Run ``training.train(*job)`` in ``count`` new processes that share each batch, and wait for them.

    On the CPU they exchange gradients through gloo and share the cores; on GPUs each takes one. They end
    when this process does.

    Raises
    ------
    RuntimeError
        One of them ended early; the others are stopped.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "job.pickle").write_bytes(pickle.dumps(job))
        workers = [_start(folder, rank, count, ports) for ports in [_free_ports(count)] for rank in range(count)]
        try:
            for line in workers[0].stdout:
                bar.follow(line)
                _check(workers, folder)
            for worker in workers:
                worker.wait()
            _check(workers, folder)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def _start(folder: str, rank: int, count: int, ports: list[int]) -> subprocess.Popen:
    endpoints = [f"127.0.0.1:{port}" for port in ports]
    on_gpu = runtime.paddle.get_device().startswith("gpu")
    environment = {
        **os.environ,
        "FACELIB_WORKER": "1",
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
            [sys.executable, "-m", "facelib.processes", folder],
            env=environment,
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
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
                f"{said[-1] if said else 'it left no message'}. The checkpoint of the last whole epoch is "
                "kept; run again to go on from it."
            )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _work(folder: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from facelib import training

    runtime.use_device(os.environ["FACELIB_DEVICE"])
    training.train(*pickle.loads((Path(folder) / "job.pickle").read_bytes()))


if __name__ == "__main__":
    _work(sys.argv[1])
