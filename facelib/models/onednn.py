"""Convolutions through oneDNN, the library that Paddle's CPU wheels bring along for inference.

Paddle trains with its own convolutions, which unfold image by image and are slower than oneDNN's on the same core
(``09_engine`` has the times layer by layer). Here oneDNN's C interface (version 3, https://uxlfoundation.github.io/oneDNN)
is called directly: one set of primitives per layer shape, made once and then run on Paddle's buffers.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int, c_int64, c_size_t, c_void_p
from functools import cached_property, lru_cache
from pathlib import Path

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import nn
from paddle.autograd import PyLayer

# Values of oneDNN's enumerations (dnnl_types.h, unchanged through version 3).
_CPU, _IN_ORDER, _ANY, _TRAINING, _DIRECT = 1, 1, 1, 64, 1
_TYPES = {"float32": 3, "bfloat16": 2}
_SRC, _DST, _WEIGHTS, _DIFF_SRC, _DIFF_DST, _DIFF_WEIGHTS = 1, 17, 33, 129, 145, 161  # arguments of a primitive
_LAYOUT_OF = {_SRC: 129, _DIFF_SRC: 130, _WEIGHTS: 131, _DIFF_WEIGHTS: 132, _DST: 133, _DIFF_DST: 134}  # queries
_Dims = c_int64 * 12

KEPT_SHAPES = 64  # layer shapes whose primitives and buffers are kept; a ResNet-18 has eleven per batch size


class _Argument(ctypes.Structure):
    _fields_ = [("index", c_int), ("memory", c_void_p)]


class _Version(ctypes.Structure):
    _fields_ = [("major", c_int), ("minor", c_int), ("patch", c_int)]


def available() -> bool:
    """Whether this Paddle brings a oneDNN whose interface is known here (x86 wheels for Linux do)."""
    return _library() is not None


def accelerate(network: nn.Layer, precision: str = "float32") -> nn.Layer:
    """Put `OneDNNConv2D` in place of each plain `Conv2D` of ``network``, sharing its weight and its name."""
    for _, parent in network.named_sublayers(include_self=True):
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2D and _is_plain(layer):
                setattr(parent, name, OneDNNConv2D(layer, precision))
    return network


def _is_plain(conv: nn.Conv2D) -> bool:
    simple = conv.bias is None and conv._groups == 1 and tuple(conv._dilation) == (1, 1)
    padded = conv._padding_mode == "zeros" and conv._padding_algorithm == "EXPLICIT" and len(conv._updated_padding) == 2
    return simple and padded


class OneDNNConv2D(nn.Layer):
    """`nn.Conv2D` without bias, groups or dilation, computed by oneDNN on the CPU, forward and backward.

    Input (n, c, h, w) float32, output (n, o, h', w') float32, equal to Paddle's within rounding; with ``precision``
    ``"bfloat16"`` the factors of each product are rounded to 8 bits of mantissa, the sums stay float32.
    """

    def __init__(self, conv: nn.Conv2D, precision: str = "float32"):
        super().__init__()
        self.precision = precision
        self.weight = conv.weight
        self.stride, self.padding = tuple(conv._stride), tuple(conv._updated_padding)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        shapes = tuple(x.shape), tuple(self.weight.shape)
        return _Convolve.apply(x, self.weight, _convolution(*shapes, self.stride, self.padding, self.precision))


class _Convolve(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, convolution):
        ctx.save_for_backward(x, weight)
        ctx.convolution = convolution
        return convolution.forward(x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensor()
        convolution = ctx.convolution
        of_input = None if x.stop_gradient else convolution.input_gradient(gradient, weight)
        return of_input, None if weight.stop_gradient else convolution.weight_gradient(x, gradient)


class _Convolution:
    """The three primitives of one layer shape, each made when it is first needed."""

    def __init__(self, source, weights, stride, padding, precision):
        sides = zip(source[2:], weights[2:], stride, padding, strict=True)
        target = [(size + 2 * p - k) // s + 1 for size, k, s, p in sides]
        target = (source[0], weights[0], *target)
        self._shapes = {_SRC: source, _DIFF_SRC: source, _DST: target, _DIFF_DST: target}
        self._shapes |= {_WEIGHTS: weights, _DIFF_WEIGHTS: weights}
        shapes = source, weights, target
        self._x, self._w, self._y = (_any_layout(shape, precision) for shape in shapes)  # of what is multiplied,
        self._sums = [_any_layout(shape, "float32") for shape in shapes]  # and of what comes out
        self._window = _Dims(*stride), _Dims(0, 0), _Dims(*padding), _Dims(*padding)
        layouts = self._x, self._w, None, self._sums[2]
        self._description = _describe("forward", _TRAINING, _DIRECT, *layouts, *self._window, None)

    @cached_property
    def forward(self) -> _Primitive:
        """x (n, c, h, w), weight (o, c, k, k) to y (n, o, h', w')."""
        return _Primitive(self._description, (_SRC, _WEIGHTS), _DST, self._shapes)

    @cached_property
    def input_gradient(self) -> _Primitive:
        """Gradient of y, weight to gradient of x."""
        layouts = self._sums[0], self._w, self._y
        description = _describe("backward_data", _DIRECT, *layouts, *self._window, self._description, None)
        return _Primitive(description, (_DIFF_DST, _WEIGHTS), _DIFF_SRC, self._shapes)

    @cached_property
    def weight_gradient(self) -> _Primitive:
        """x, gradient of y to gradient of the weight."""
        layouts = self._x, self._sums[1], None, self._y
        description = _describe("backward_weights", _DIRECT, *layouts, *self._window, self._description, None)
        return _Primitive(description, (_SRC, _DIFF_DST), _DIFF_WEIGHTS, self._shapes)


def _describe(direction: str, *arguments) -> c_void_p:
    return _new(f"dnnl_convolution_{direction}_primitive_desc_create", _engine(), *arguments)


@lru_cache(maxsize=KEPT_SHAPES)
def _convolution(source, weights, stride, padding, precision) -> _Convolution:
    return _Convolution(source, weights, stride, padding, precision)


class _Primitive:
    """A primitive between Paddle's row-major tensors and the layouts that oneDNN prefers."""

    def __init__(self, description, inputs, output, shapes):
        self._handle = _new("dnnl_primitive_create", description)
        self._shape = shapes[output]
        self._inputs = [_Port(description, argument, shapes[argument]) for argument in inputs]
        self._output = _Port(description, output, shapes[output])
        ports = [*self._inputs, self._output]
        self._arguments = (_Argument * len(ports))(*[_Argument(port.argument, port.inner) for port in ports])

    def __call__(self, *tensors: paddle.Tensor) -> paddle.Tensor:
        result = paddle.empty(self._shape, "float32")
        tensors = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in tensors]
        for port, tensor in zip(self._inputs, tensors, strict=True):
            port.point_to(tensor)
            port.reorder(port.outer, port.inner)
        self._output.point_to(result)
        _check(_library().dnnl_primitive_execute(self._handle, _stream(), len(self._arguments), self._arguments))
        self._output.reorder(self._output.inner, self._output.outer)
        return result


class _Port:
    """One argument of a primitive: row-major memory outside and, where the layouts differ, a buffer inside."""

    def __init__(self, description, argument: int, shape):
        self.argument = argument
        row_major = _row_major(shape)
        wanted = c_void_p(_library().dnnl_primitive_desc_query_md(description, _LAYOUT_OF[argument], 0))
        self.outer = _memory(row_major, allocate=False)
        if _library().dnnl_memory_desc_equal(row_major, wanted):
            self.inner, self._reorders = self.outer, None
            return
        self.inner = _memory(wanted, allocate=True)
        ends = (row_major, wanted) if argument in (_SRC, _WEIGHTS, _DIFF_DST) else (wanted, row_major)
        reorder = _new("dnnl_reorder_primitive_desc_create", ends[0], _engine(), ends[1], _engine(), None)
        self._reorders = _new("dnnl_primitive_create", reorder)

    def __del__(self):
        for memory in {self.inner.value, self.outer.value}:
            _library().dnnl_memory_destroy(c_void_p(memory))

    def point_to(self, tensor: paddle.Tensor) -> None:
        _check(_library().dnnl_memory_set_data_handle(self.outer, c_void_p(tensor.data_ptr())))

    def reorder(self, source, target) -> None:
        if self._reorders is not None:
            ends = (_Argument * 2)(_Argument(_SRC, source), _Argument(_DST, target))
            _check(_library().dnnl_primitive_execute(self._reorders, _stream(), 2, ends))


def _row_major(shape):
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return _new("dnnl_memory_desc_create_with_strides", len(shape), _Dims(*shape), _TYPES["float32"], _Dims(*strides))


def _any_layout(shape, precision):
    return _new("dnnl_memory_desc_create_with_tag", len(shape), _Dims(*shape), _TYPES[precision], _ANY)


def _memory(layout, allocate: bool):
    # A handle of -1 asks oneDNN to allocate; the null handle is set before each run.
    return _new("dnnl_memory_create", layout, _engine(), c_void_p(-1 if allocate else 0))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    path = Path(paddle.__file__).parent / "libs" / "libdnnl.so.3"  # Paddle has it loaded already
    if not path.exists():
        return None
    library = ctypes.CDLL(str(path))
    library.dnnl_version.restype = ctypes.POINTER(_Version)
    library.dnnl_primitive_desc_query_md.restype = c_void_p
    library.dnnl_primitive_desc_query_md.argtypes = (c_void_p, c_int, c_int)
    return library if library.dnnl_version().contents.major == 3 else None


@lru_cache(maxsize=1)
def _engine():
    return _new("dnnl_engine_create", _CPU, c_size_t(0))


@lru_cache(maxsize=1)
def _stream():
    return _new("dnnl_stream_create", _engine(), _IN_ORDER)


def _new(constructor: str, *arguments) -> c_void_p:
    """Call one of oneDNN's functions that write a new handle to their first argument."""
    handle = c_void_p()
    _check(getattr(_library(), constructor)(byref(handle), *arguments))
    return handle


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"oneDNN refused a call with status {status} (see dnnl_status_t in its documentation).")
