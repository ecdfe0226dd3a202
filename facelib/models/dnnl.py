"""oneDNN's C interface, as far as `onednn` needs it: handles that end with their objects, memory, primitives that run.

Any thread may run any primitive. A call's arguments are its own, its stream and its workspace are its thread's, and the
scratchpad is given: one that oneDNN allocates belongs to the thread in which the primitive was made.
"""

import ctypes
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_int64, c_size_t, c_void_p
from functools import cached_property
from pathlib import Path

import numpy as np

from facelib._paddle import paddle

# Values of oneDNN's enumerations (dnnl_types.h, unchanged through version 3).
_CPU, _IN_ORDER, _ANY, _GIVEN_SCRATCHPAD, _LAYOUT_OF_ARGUMENT = 1, 1, 1, 1, 255
_TYPES = {"float32": 3, "bfloat16": 2}
_AVX512_BF16 = 0xE7  # bits of an instruction set that has it; those with AMX have it too
SRC, DST, WEIGHTS, DIFF_SRC, DIFF_DST, DIFF_WEIGHTS = 1, 17, 33, 129, 145, 161  # arguments of a primitive
_SCRATCHPAD = 80

_KINDS = ("memory_desc", "primitive_desc", "primitive_attr", "primitive", "memory", "stream")  # what is destroyed
_ALIGNMENT = 64  # bytes, a cache line
Dims = c_int64 * 12


class _Argument(ctypes.Structure):
    _fields_ = [("index", c_int), ("memory", c_void_p)]


def _load() -> ctypes.CDLL | None:
    path = Path(paddle.__file__).parent / "libs" / "libdnnl.so.3"  # Paddle has it loaded already
    if not path.exists():
        return None
    library = ctypes.CDLL(str(path))
    library.dnnl_primitive_desc_query_md.restype = c_void_p
    library.dnnl_primitive_desc_query_md.argtypes = (c_void_p, c_int, c_int)
    library.dnnl_memory_desc_get_size.restype = c_size_t
    return library


library = _load()


def has_bfloat16() -> bool:
    """Whether oneDNN may multiply bfloat16 numbers by instructions of the CPU's own (AVX512_BF16 or AMX)."""
    return library is not None and library.dnnl_get_effective_cpu_isa() & _AVX512_BF16 == _AVX512_BF16


class Handle(c_void_p):
    """Something of oneDNN's that is destroyed with this object."""

    destroy: Callable

    def __del__(self):
        if self.value:
            self.destroy(self)


def new(constructor: str, *arguments) -> Handle:
    """Call one of oneDNN's functions that write a new handle to their first argument."""
    handle = Handle()
    kind = next(kind for kind in _KINDS if f"{kind}_create" in constructor)
    handle.destroy = getattr(library, f"dnnl_{kind}_destroy")
    _check(getattr(library, constructor)(byref(handle), *arguments))
    return handle


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"oneDNN refused a call with status {status} (see dnnl_status_t in its documentation).")


def _new_engine() -> c_void_p:
    engine = c_void_p()  # never destroyed: all else refers to it
    _check(library.dnnl_engine_create(byref(engine), _CPU, c_size_t(0)))
    return engine


def _new_attributes() -> Handle:
    attributes = new("dnnl_primitive_attr_create")
    _check(library.dnnl_primitive_attr_set_scratchpad_mode(attributes, _GIVEN_SCRATCHPAD))
    return attributes


# Made while the module is imported, which one thread does.
engine, attributes = (_new_engine(), _new_attributes()) if library else (None, None)


def row_major(shape: tuple[int, ...]) -> Handle:
    """Layout of Paddle's float32 tensors."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return new("dnnl_memory_desc_create_with_strides", len(shape), Dims(*shape), _TYPES["float32"], Dims(*strides))


def any_layout(shape: tuple[int, ...], precision: str) -> Handle:
    """A layout that oneDNN chooses."""
    return new("dnnl_memory_desc_create_with_tag", len(shape), Dims(*shape), _TYPES[precision], _ANY)


def memory(layout: c_void_p, address: int) -> Handle:
    """The numbers that lie at an address."""
    return new("dnnl_memory_create", layout, engine, c_void_p(address))


def size(layout: c_void_p) -> int:
    """Bytes of a layout, filled up so that what lies behind is aligned."""
    return _aligned(library.dnnl_memory_desc_get_size(layout))


def _aligned(address: int) -> int:
    return -(-address // _ALIGNMENT) * _ALIGNMENT


class _Thread(threading.local):
    """What the calls of one thread share."""

    _buffer, _start = np.empty(0, np.uint8), 0

    @cached_property
    def stream(self) -> Handle:
        return new("dnnl_stream_create", engine, _IN_ORDER)

    def workspace(self, size: int) -> int:
        """Address of ``size`` bytes for the present call; as many as the largest call needed are kept."""
        if len(self._buffer) < size + _ALIGNMENT:
            self._buffer = np.empty(size + _ALIGNMENT, np.uint8)
            self._start = _aligned(self._buffer.ctypes.data)
        return self._start


thread = _Thread()


class Step:
    """A primitive, whose scratchpad lies at the start of the workspace and has ``scratch`` bytes."""

    def __init__(self, description: Handle):
        self._description = description  # the layouts are its own
        self._primitive = new("dnnl_primitive_create", description)
        self._scratchpad = self.layout(_SCRATCHPAD)
        self.scratch = size(self._scratchpad)

    def layout(self, argument: int) -> c_void_p:
        """The layout in which the primitive takes one of its arguments."""
        return c_void_p(library.dnnl_primitive_desc_query_md(self._description, _LAYOUT_OF_ARGUMENT, argument))

    def __call__(self, memories: dict[int, Handle], workspace: int) -> None:
        if self.scratch:
            memories |= {_SCRATCHPAD: memory(self._scratchpad, workspace)}
        arguments = (_Argument * len(memories))(*[_Argument(index, held) for index, held in memories.items()])
        _check(library.dnnl_primitive_execute(self._primitive, thread.stream, len(memories), arguments))


def reorder(source: c_void_p, target: c_void_p) -> Step:
    """A primitive that copies `SRC` of one layout to `DST` of another."""
    return Step(new("dnnl_reorder_primitive_desc_create", source, engine, target, engine, attributes))
