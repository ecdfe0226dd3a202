"""The one import of Paddle, without its advice about OMP_NUM_THREADS: ``from facelib._paddle import paddle``."""

import contextlib
import importlib
import io
import sys
from typing import Any

_said = io.StringIO()
try:
    with contextlib.redirect_stderr(_said):
        paddle: Any = importlib.import_module("paddle")
    paddle.disable_signal_handler()  # else a process that is told to end, as kernels are, prints a page of alarm
finally:
    for _line in _said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in _line and "OpenBlas" not in _line:
            print(_line, file=sys.stderr)
