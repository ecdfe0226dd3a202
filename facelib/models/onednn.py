"""Convolutions through oneDNN, the library that Paddle's CPU wheels bring along for inference.

Paddle trains with its own convolutions, which unfold image by image and are slower than oneDNN's on the same core
(``09_engine`` has the times layer by layer). Here oneDNN's C interface (version 3, https://uxlfoundation.github.io/oneDNN)
is called directly: one set of primitives per layer shape, made once and then run on Paddle's buffers.
"""

from functools import cached_property, lru_cache

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import nn
from paddle.autograd import PyLayer

from facelib.models import dnnl
from facelib.models.dnnl import DIFF_DST, DIFF_SRC, DIFF_WEIGHTS, DST, SRC, WEIGHTS

_TRAINING, _DIRECT = 64, 1  # of dnnl_prop_kind_t and dnnl_alg_kind_t in dnnl_types.h
KEPT_SHAPES = 64  # layer shapes whose primitives are kept; a ResNet-18 has eleven per batch size


def available() -> bool:
    """Whether this Paddle brings a oneDNN whose interface is known here (x86 wheels for Linux do)."""
    return dnnl.library is not None


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
        self._shapes = {SRC: source, DIFF_SRC: source, DST: target, DIFF_DST: target}
        self._shapes |= {WEIGHTS: weights, DIFF_WEIGHTS: weights}
        shapes = source, weights, target
        self._x, self._w, self._y = (dnnl.any_layout(shape, precision) for shape in shapes)  # of what is multiplied,
        self._sums = [dnnl.any_layout(shape, "float32") for shape in shapes]  # and of what comes out
        self._window = dnnl.Dims(*stride), dnnl.Dims(0, 0), dnnl.Dims(*padding), dnnl.Dims(*padding)
        layouts = self._x, self._w, None, self._sums[2]
        self._description = _describe("forward", _TRAINING, _DIRECT, *layouts, *self._window)

    @cached_property
    def forward(self) -> "_Primitive":
        """x (n, c, h, w), weight (o, c, k, k) to y (n, o, h', w')."""
        return _Primitive(self._description, (SRC, WEIGHTS), DST, self._shapes)

    @cached_property
    def input_gradient(self) -> "_Primitive":
        """Gradient of y, weight to gradient of x."""
        layouts = self._sums[0], self._w, self._y
        description = _describe("backward_data", _DIRECT, *layouts, *self._window, self._description)
        return _Primitive(description, (DIFF_DST, WEIGHTS), DIFF_SRC, self._shapes)

    @cached_property
    def weight_gradient(self) -> "_Primitive":
        """x, gradient of y to gradient of the weight."""
        layouts = self._x, self._sums[1], None, self._y
        description = _describe("backward_weights", _DIRECT, *layouts, *self._window, self._description)
        return _Primitive(description, (SRC, DIFF_DST), DIFF_WEIGHTS, self._shapes)


def _describe(direction: str, *arguments) -> dnnl.Handle:
    constructor = f"dnnl_convolution_{direction}_primitive_desc_create"
    return dnnl.new(constructor, dnnl.engine, *arguments, dnnl.attributes)


@lru_cache(maxsize=KEPT_SHAPES)
def _convolution(source, weights, stride, padding, precision) -> _Convolution:
    return _Convolution(source, weights, stride, padding, precision)


class _Primitive:
    """A primitive between Paddle's row-major tensors and the layouts that oneDNN prefers.

    Several threads may call it at once: what a call writes to belongs to the call or to its thread.
    """

    def __init__(self, description, inputs, output, shapes):
        self._step, self._shape = dnnl.Step(description), shapes[output]
        self._ports = [_Port(self._step, argument, shapes[argument]) for argument in (*inputs, output)]
        self._size = max(port.scratch for port in (self._step, *self._ports))  # of the thread's workspace:
        for port in self._ports:  # in front what one step after the other needs, then a place for each argument
            port.offset, self._size = self._size, self._size + port.size

    def __call__(self, *tensors: paddle.Tensor) -> paddle.Tensor:
        result = paddle.empty(self._shape, "float32")
        rows = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in tensors]
        workspace = dnnl.thread.workspace(self._size)
        pairs = zip(self._ports, [*rows, result], strict=True)
        ends = {port: port.ends(tensor, workspace) for port, tensor in pairs}
        *inputs, output = self._ports
        for port in inputs:
            port.reorder(*ends[port], workspace)
        self._step({port.argument: inner for port, (_, inner) in ends.items()}, workspace)
        output.reorder(*reversed(ends[output]), workspace)
        return result


class _Port:
    """One argument of a primitive: row-major outside and, where the layouts differ, reordered inside."""

    def __init__(self, step: dnnl.Step, argument: int, shape):
        self.argument = argument
        self._row_major, self._wanted = dnnl.row_major(shape), step.layout(argument)
        self._reorders, self.scratch, self.size, self.offset = None, 0, 0, 0
        if not dnnl.library.dnnl_memory_desc_equal(self._row_major, self._wanted):
            inwards = argument in (SRC, WEIGHTS, DIFF_DST)
            ends = (self._row_major, self._wanted) if inwards else (self._wanted, self._row_major)
            self._reorders = dnnl.reorder(*ends)
            self.scratch, self.size = self._reorders.scratch, dnnl.size(self._wanted)

    def ends(self, tensor: paddle.Tensor, workspace: int) -> tuple[dnnl.Handle, dnnl.Handle]:
        """The argument outside and inside, which may be the same."""
        outer = dnnl.memory(self._row_major, tensor.data_ptr())
        return outer, dnnl.memory(self._wanted, workspace + self.offset) if self._reorders else outer

    def reorder(self, source: dnnl.Handle, target: dnnl.Handle, workspace: int) -> None:
        if self._reorders:
            self._reorders({SRC: source, DST: target}, workspace)
