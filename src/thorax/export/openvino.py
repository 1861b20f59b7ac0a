"""An exported ONNX graph as OpenVINO's own files, float32 or quantised."""

from pathlib import Path

from thorax.inference.openvino_engine import import_openvino

__all__ = ["convert"]


def convert(graph: Path) -> tuple[Path, Path]:
    """Write the graph beside the ONNX file, and return the XML file and the weights.

    OpenVINO could read the ONNX file each time; its own files open faster.

    Raises:
        BundleError: OpenVINO is not installed.
    """
    openvino = import_openvino()
    target = graph.with_suffix(".xml")
    # The default would round weights to float16.
    openvino.save_model(openvino.convert_model(graph), target, compress_to_fp16=False)
    return target, target.with_suffix(".bin")
