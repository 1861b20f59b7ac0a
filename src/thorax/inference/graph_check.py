"""What an exported graph may contain, checked before onnxruntime opens it.

A graph is a program. It may compute on the image and on the numbers in its own file: no control flow, which
could run without end, no random numbers, no operator of another library, and no numbers in other files,
which no checksum covers. How much memory it may take is bounded in `onnx_session`.

ONNX files are protocol buffers, of which a few fields are needed. They are read here, because the package
`onnx` is not part of the base installation.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from thorax.atomic_io import open_regular
from thorax.errors import BundleError

__all__ = ["check_graph"]

_MOST_NODES: Final = 50_000

_OPERATORS: Final = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast
    CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh
    CumSum DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand
    EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul
    Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin
    Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """
"""ONNX's own operators on numbers: without control flow, sequences, text and random numbers."""
_ALLOWED: Final = frozenset(_OPERATORS.split())

# Numbers of the fields in onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_FORBIDDEN = {5, 10}, {6, 11, 22, 23}  # graphs and sparse tensors
_TENSOR_ELSEWHERE, _TENSOR_LOCATION = 13, 14

_BYTES: Final = 2
_LONGEST_VARINT: Final = 10
_CONTINUED: Final = 0x80

_Part = tuple[int, int]
"""Where a message begins in the file, and where it ends."""


class _ForbiddenError(Exception):
    """The graph has something that it must not have; the text says what."""


def check_graph(path: Path) -> None:
    """Refuse an ONNX file that does more than compute on its input and on the numbers in the file itself.

    Raises:
        BundleError: It is not an ONNX file, has another operator, numbers in other files or too many nodes.
    """
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check_model(content)
    except (IndexError, ValueError) as error:
        raise BundleError(f"{path} is not an intact ONNX file ({error}); export the bundle again") from error
    except _ForbiddenError as refused:
        raise BundleError(
            f"{path} {refused}, which a graph of a bundle must not have; do not use this bundle"
        ) from refused


def _check_model(content: mmap.mmap) -> None:
    nodes = 0
    for number, value in _fields(content, (0, len(content))):
        if number in {_MODEL_TRAINING, _MODEL_FUNCTIONS}:
            raise _ForbiddenError("has functions of its own")
        if number != _MODEL_GRAPH or isinstance(value, int):
            continue
        for kind, part in _fields(content, value):
            if isinstance(part, int):
                continue
            if kind == _GRAPH_SPARSE:
                raise _ForbiddenError("has sparse numbers")
            if kind == _GRAPH_TENSOR:
                _check_tensor(content, part)
            elif kind == _GRAPH_NODE:
                nodes += 1
                if nodes > _MOST_NODES:
                    raise _ForbiddenError(f"has more than {_MOST_NODES:,} nodes")
                _check_node(content, part)


def _check_node(content: mmap.mmap, node: _Part) -> None:
    named = False
    for number, value in _fields(content, node):
        if isinstance(value, int):
            continue
        if number == _NODE_OPERATOR:
            named = True
            if _text(content, value) not in _ALLOWED:
                raise _ForbiddenError(f"has the operator {_text(content, value)!r}")
        elif number == _NODE_DOMAIN and _text(content, value) not in {"", "ai.onnx"}:
            raise _ForbiddenError(f"has an operator of {_text(content, value)!r}")
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(content, value)
    if not named:
        raise _ForbiddenError("has a node without an operator")


def _check_attribute(content: mmap.mmap, attribute: _Part) -> None:
    for number, value in _fields(content, attribute):
        if isinstance(value, int):
            continue
        if number in _ATTRIBUTE_FORBIDDEN:
            raise _ForbiddenError("has a graph or sparse numbers within a node")
        if number in _ATTRIBUTE_TENSORS:
            _check_tensor(content, value)


def _check_tensor(content: mmap.mmap, tensor: _Part) -> None:
    for number, value in _fields(content, tensor):
        if number == _TENSOR_ELSEWHERE or (number == _TENSOR_LOCATION and value != 0):
            raise _ForbiddenError("has numbers in another file")


def _text(content: mmap.mmap, part: _Part) -> str:
    return content[part[0] : min(part[1], part[0] + 60)].decode("utf-8", "replace")


def _fields(content: mmap.mmap, part: _Part) -> Iterator[tuple[int, int | _Part]]:
    """Yield the number of each field of a message, and its value: a number, or where its bytes are.

    Raises:
        ValueError: The message is damaged.
    """
    position, end = part
    while position < end:
        key, position = _varint(content, position, end)
        if key >= 1 << 32:  # other readers might drop the upper bits, and see another field
            raise ValueError("a field with too large a number")
        match key & 7:
            case 0:
                value, position = _varint(content, position, end)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, position = _varint(content, position, end)
            case 5:
                length = 4
            case wire:
                raise ValueError(f"a field of type {wire}")
        if length > end - position:
            raise ValueError("it ends too early")
        if key & 7 == _BYTES:
            yield key >> 3, (position, position + length)
        position += length


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """Return a number of variable length, and the position after it."""
    value = 0
    for index in range(min(_LONGEST_VARINT, end - position)):
        byte = content[position + index]
        value |= (byte & ~_CONTINUED) << (7 * index)
        if not byte & _CONTINUED:
            return value, position + index + 1
    raise ValueError("it ends within a number")
