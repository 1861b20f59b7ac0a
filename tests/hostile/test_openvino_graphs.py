"""OpenVINO's descriptions of graphs that somebody else made. Sound ones are opened in tests/exporting."""

import pytest

from thorax.errors import BundleError
from thorax.inference.openvino_check import check_openvino_graph

ADD = '<layer id="1" name="sum" type="Add" version="opset1"/>'
DOCTYPE = '<!DOCTYPE net [<!ENTITY file SYSTEM "file:///etc/passwd">]>'


def net(layers, start=""):
    return f'<?xml version="1.0"?>{start}<net name="g" version="11"><layers>{layers}</layers></net>'


REFUSED = {
    "control flow": (net(ADD.replace("Add", "Loop")), "has the operator Loop"),
    "state": (net(ADD.replace("Add", "ReadValue").replace("opset1", "opset6")), "has the operator ReadValue"),
    "random numbers": (net(ADD.replace("Add", "RandomUniform")), "has the operator RandomUniform"),
    "another library": (net(ADD.replace("opset1", "extension")), "has an operator of 'extension'"),
    "no version": (net('<layer id="1" type="Add"/>'), "has an operator of ''"),
    "a graph within": (net(f"{ADD}<body/>"), "has a graph within a layer"),
    "entities": (net(ADD, start=DOCTYPE), "declares a document type"),
    "no layers": (net(""), "has no layers"),
    "too many layers": (net(ADD * 50_001), "has more than 50,000 layers"),
    "cut": (net(ADD)[:-4], "is not an intact graph of OpenVINO"),
    "not XML": ("graph", "is not an intact graph of OpenVINO"),
    "empty": ("", "is not an intact graph of OpenVINO"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, tmp_path):
    content, words = REFUSED[case]
    (tmp_path / "net.xml").write_text(content)
    with pytest.raises(BundleError, match=words) as refused:
        check_openvino_graph(tmp_path / "net.xml")
    assert len(str(refused.value).replace(str(tmp_path), "")) < 300


def test_what_only_computes_passes(tmp_path):
    (tmp_path / "net.xml").write_text(net(ADD))
    check_openvino_graph(tmp_path / "net.xml")


def test_a_file_of_many_megabytes_is_not_read(tmp_path):
    with (tmp_path / "net.xml").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(BundleError, match="has more than 64 MB"):
        check_openvino_graph(tmp_path / "net.xml")
