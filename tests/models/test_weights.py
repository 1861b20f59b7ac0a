import pytest
import torch

from thorax.errors import BundleError, RecipeError
from thorax.models import build_classifier, load_weights, pick_device, weights_as_bytes
from thorax.recipe.schema import Network

MODEL = Network(backbone="resnet10t", input_size=32, arguments={"channels": (8, 16, 16, 16)})


def test_weights_come_back_to_the_bit(tmp_path):
    source, found = build_classifier(MODEL, 2), build_classifier(MODEL, 2)
    source.to(memory_format=torch.channels_last)
    content = weights_as_bytes(source.state_dict())
    (tmp_path / "w.safetensors").write_bytes(content)
    load_weights(found, tmp_path / "w.safetensors")
    assert weights_as_bytes(found.state_dict()) == content


def test_other_weights_are_refused_with_their_names(tmp_path):
    weights = build_classifier(MODEL, 3).state_dict()
    weights["extra"] = weights.pop("mean")
    (tmp_path / "w.safetensors").write_bytes(weights_as_bytes(weights))
    with pytest.raises(BundleError) as raised:
        load_weights(build_classifier(MODEL, 2), tmp_path / "w.safetensors")
    assert "missing: mean; unknown: extra; wrong shape: head.bias (3,) for (2,), head.weight" in str(
        raised.value
    )


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_bytes_that_are_no_safetensors_are_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=r"w.safetensors cannot be read as safetensors .*; copy it again"):
        load_weights(build_classifier(MODEL, 2), tmp_path / "w.safetensors")


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(
        RecipeError, match="this machine does not have device 'mps9'; give auto or one of cpu"
    ):
        pick_device("mps9")
