"""What OpenVINO's description of a graph may contain, checked before OpenVINO opens it.

As `graph_check` does for ONNX: it computes on the image and on the numbers of its own two files, without
control flow, state, random numbers and operators of other libraries.
"""

import os
import re
from pathlib import Path
from typing import BinaryIO, Final
from xml.parsers import expat

from thorax.atomic_io import open_regular
from thorax.errors import BundleError
from thorax.quoting import quoted

__all__ = ["check_openvino_graph"]

_MOST_LAYERS: Final = 50_000
_LARGEST: Final = 64 << 20
"""Bytes; the description of a DenseNet-121 in 8-bit numbers has 1.5 MB."""

_OPSET: Final = re.compile(r"opset\d{1,2}")
"""The versions of OpenVINO's own operators."""
_FORBIDDEN: Final = frozenset(
    {
        "Assign",
        "If",
        "Loop",
        "Multinomial",
        "RandomUniform",
        "ReadValue",
        "StringTensorPack",
        "StringTensorUnpack",
        "TensorIterator",
    }
)
_OTHER_GRAPHS: Final = frozenset({"body", "else_body", "then_body"})


class _ForbiddenError(Exception):
    """The graph has something that it must not have; the text says what."""


def check_openvino_graph(path: Path) -> None:
    """Refuse an XML file of OpenVINO that does more than compute on its input and on its own numbers.

    Raises:
        BundleError: It is not such a file, is too large, or has an operator that it must not have.
    """
    try:
        with open_regular(path) as file:
            _check(file)
    except expat.ExpatError as error:
        raise BundleError(
            f"{path} is not an intact graph of OpenVINO ({error}); export the bundle again"
        ) from error
    except _ForbiddenError as refused:
        raise BundleError(
            f"{path} {refused}, which a graph of a bundle must not have; do not use this bundle"
        ) from refused


def _check(file: BinaryIO) -> None:
    num_layers = 0

    def start(element: str, attributes: dict[str, str]) -> None:
        nonlocal num_layers
        if element in _OTHER_GRAPHS:
            raise _ForbiddenError("has a graph within a layer")
        if element == "layer":
            num_layers += 1
            _check_layer(attributes)
        if num_layers > _MOST_LAYERS:
            raise _ForbiddenError(f"has more than {_MOST_LAYERS:,} layers")

    if os.fstat(file.fileno()).st_size > _LARGEST:
        raise _ForbiddenError(f"has more than {_LARGEST >> 20} MB")
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.ParseFile(file)
    if not num_layers:
        raise _ForbiddenError("has no layers")


def _check_layer(attributes: dict[str, str]) -> None:
    operator, version = attributes.get("type", ""), attributes.get("version", "")
    if not _OPSET.fullmatch(version):
        raise _ForbiddenError(f"has an operator of {quoted(version)}")
    if operator in _FORBIDDEN:
        raise _ForbiddenError(f"has the operator {operator}")


def _refuse_doctype(*_declaration: object) -> None:
    """Refuse entities, which could name other files or grow without end."""
    raise _ForbiddenError("declares a document type")
