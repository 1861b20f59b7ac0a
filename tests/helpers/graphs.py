"""Small nets as ONNX graphs, and what is in them."""

import io

import numpy as np
import onnx
import torch

from thorax.telemetry import import_unreported


def exported(net):
    """Return a net of images of 3 channels and 12 pixels as the content of an ONNX file."""
    file = io.BytesIO()
    torch.onnx.export(
        net.eval(), (torch.zeros(1, 3, 12, 12),), file, dynamo=False, input_names=["x"], opset_version=18
    )
    return file.getvalue()


def kinds(content):
    return [node.op_type for node in onnx.load_model_from_string(content).graph.node]


def run(content, images):
    session = import_unreported("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": images})


def images():
    return np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)
