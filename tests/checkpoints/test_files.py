"""Reading what torch.save wrote: as torch itself reads it, and nothing in it is run."""

import _codecs
import argparse
import collections
import contextlib
import io
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from thorax.checkpoints.safe_pickle import PickledObject, read_pickle
from thorax.checkpoints.weights_file import WeightsFile, open_torch_file, read_weights_file
from thorax.errors import BundleError

FORMATS = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old"])


def save(content, path, *, as_zip=True):
    with warnings.catch_warnings():
        # The older format stores the source text of a class, which a class made here has not.
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


def small_net():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LSTM(4, 3))
    net[0].register_buffer("passing", torch.ones(2), persistent=False)
    return net


# ---- what is read -----------------------------------------------------------------------------


def tensors_of_all_kinds():
    base = torch.arange(24, dtype=torch.float32)
    return collections.OrderedDict(
        whole=base,
        view=base.reshape(4, 6)[1:3, ::2],
        turned=base.reshape(4, 6).T,
        half=torch.ones(3, dtype=torch.float16),
        double=torch.rand(2, 2, dtype=torch.float64),
        brain=torch.rand(5).bfloat16(),
        count=torch.tensor(7),
        flags=torch.tensor([True, False]),
        empty=torch.empty(0, 3),
        parameter=nn.Parameter(torch.rand(2)),
    )


@FORMATS
def test_tensors_are_those_that_torch_reads(as_zip, tmp_path):
    path = save({"state_dict": tensors_of_all_kinds()}, tmp_path / "w.pth", as_zip=as_zip)
    expected = torch.load(path, weights_only=True)["state_dict"]
    found = read_weights_file(path).tensors
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@FORMATS
def test_a_net_that_was_pickled_whole_gives_its_state_dict(as_zip, tmp_path):
    net = small_net()
    net.targets = ["Mass", ""]
    net.points = torch.tensor([0.25, float("nan")])
    path = save({"model": nn.DataParallel(net), "epoch": 3}, tmp_path / "net.pt", as_zip=as_zip)
    file = read_weights_file(path)
    assert file.whole_net
    assert file.tensors.keys() == net.state_dict().keys()
    assert all(torch.equal(file.tensors[name], tensor) for name, tensor in net.state_dict().items())
    assert file.attributes["targets"] == ["Mass", ""]
    assert file.attributes["points"][0] == 0.25


@FORMATS
def test_what_training_scripts_save_beside_the_weights_is_no_hindrance(as_zip, tmp_path):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters())
    net[0](torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 4,
        "best": np.float64(0.8),
        "scores": np.arange(3.0),
        "args": argparse.Namespace(lr=1e-3, betas=(0.9, 0.99)),
        "rng_state": torch.get_rng_state(),
        "seen": {1, 2},
        "history": collections.defaultdict(list, a=[1.0]),
        "optimizer": optimizer.state_dict(),
        "state_dict": net.state_dict(),
    }
    file = read_weights_file(save(content, tmp_path / "w.pth.tar", as_zip=as_zip))
    assert not file.whole_net
    assert file.tensors.keys() == net.state_dict().keys()


def test_safetensors_are_read(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.bin")
    assert torch.equal(read_weights_file(tmp_path / "w.bin").tensors["a"], torch.ones(2))


def test_wrappers_go_only_where_every_name_has_them():
    names = dict.fromkeys(("module.net.a", "module.net.b.c"), torch.zeros(1))
    modules = {"": "DataParallel", "module": "Wrapper", "module.net": "Net", "module.net.b": "Linear"}
    file = WeightsFile(Path("w.pth"), names, modules=modules)
    assert list(file.unwrapped().tensors) == ["a", "b.c"]
    assert file.unwrapped().modules == {"b": "Linear"}
    more = WeightsFile(Path("w.pth"), {**names, "c": torch.zeros(1)})
    assert list(more.unwrapped().tensors) == [*names, "c"]
    assert WeightsFile(Path("w.pth"), {}).unwrapped().tensors == {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_understood(protocol):
    value = {"a": [1, -(2**40), 0.5, None, True], 7: b"b", "set": {"x", "y"}, "text": "é" * 300}
    stream = io.BytesIO(pickle.dumps(value, protocol=protocol))
    found = read_pickle(stream, where="x").value
    if protocol < 4:
        found["set"] = set(value["set"])
    if protocol == 2:
        # Python 3 writes bytes for protocol 2 as a call, which is not made.
        found[7] = value[7]
    assert found == value


def test_what_python_2_wrote_is_understood():
    written = b"\x80\x02}(U\x03oneq\x00K\x01U\x03twoc__builtin__\nset\n]K\x02a\x85Ru."
    found = read_pickle(io.BytesIO(written), where="x").value
    assert found["one"] == 1
    assert (found["two"].constructor.path, found["two"].arguments) == ("builtins.set", ([2],))


# ---- what is refused --------------------------------------------------------------------------


class Hostile:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


ATTACKS = {
    "posix.system": lambda mark: Hostile(os.system, f"touch {mark}"),
    "builtins.eval": lambda mark: Hostile(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.exec": lambda mark: Hostile(exec, f"open({str(mark)!r}, 'w')"),
    "builtins.getattr": lambda _: Hostile(getattr, "", "join"),
    "io.open": lambda mark: Hostile(open, str(mark), "w"),
    "torch.serialization.load": lambda mark: Hostile(torch.load, str(mark)),
    "torch.serialization.save": lambda mark: Hostile(torch.save, [], str(mark)),
    "numpy.save": lambda mark: Hostile(np.save, str(mark), 1),
    "numpy.memmap": lambda mark: Hostile(np.memmap, str(mark), "uint8", "w+", 0, 8),
}


@FORMATS
@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_pickles_are_refused_and_not_run(name, as_zip, tmp_path):
    mark = tmp_path / "mark"
    content = {"state_dict": {"w": torch.ones(1)}, "extra": [ATTACKS[name](mark)]}
    path = save(content, tmp_path / "w.pth", as_zip=as_zip)
    with pytest.raises(BundleError, match=f"w.pth refers to '{name}', which weights do not need") as raised:
        read_weights_file(path)
    assert "save only net.state_dict(), preferably as safetensors" in str(raised.value)
    assert not mark.exists()


def test_what_is_allowed_is_not_run_either(tmp_path):
    path = save({"model": Hostile(_codecs.encode, "abc", "rot13")}, tmp_path / "w.pth")
    assert isinstance(open_torch_file(path).content["model"], PickledObject)
    with pytest.raises(BundleError, match=r"no weights were found in .*w.pth"):
        read_weights_file(path)


def test_a_class_of_ones_own_is_refused_by_its_name(tmp_path):
    with pytest.raises(BundleError, match=r"refers to 'tests\.checkpoints\.test_files\.Hostile'"):
        read_weights_file(save({"w": torch.ones(1), "class": Hostile}, tmp_path / "w.pth"))


def rebuilt(offset, size, stride):
    """A tensor that claims places outside its ten numbers."""
    storage = torch.rand(10).untyped_storage()
    return Hostile(torch._utils._rebuild_tensor_v2, torch.storage.TypedStorage(
        wrap_storage=storage, dtype=torch.float32, _internal=True), offset, size, stride, False,
        collections.OrderedDict())  # fmt: skip


@FORMATS
@pytest.mark.parametrize("claim", [(0, (11,), (1,)), (8, (3,), (1,)), (0, (2,), (-1,)), (0, (2**62,), (1,))])
def test_a_tensor_cannot_reach_beyond_its_numbers(claim, as_zip, tmp_path):
    path = save({"w": rebuilt(*claim)}, tmp_path / "w.pth", as_zip=as_zip)
    with pytest.raises(BundleError, match="a tensor whose numbers cannot be read"):
        read_weights_file(path)


def test_a_net_within_itself_is_refused(tmp_path):
    net = nn.Sequential(nn.ReLU())
    net._modules["0"] = net
    net._modules["1"] = net
    with pytest.raises(BundleError, match="its network has more than 20000 modules"):
        read_weights_file(save(net, tmp_path / "w.pth"))


@FORMATS
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_half_a_file_is_refused(share, as_zip, tmp_path):
    path = save({"w": torch.rand(1000), "v": torch.rand(1000)}, tmp_path / "w.pth", as_zip=as_zip)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError, match=r"w.pth .*copy the file again"):
        read_weights_file(path)


@pytest.mark.parametrize("position", range(0, 120, 7))
def test_a_changed_byte_never_escapes_as_another_error(position, tmp_path):
    path = save({"w": torch.rand(3)}, tmp_path / "w.pth", as_zip=False)
    content = bytearray(path.read_bytes())
    content[15 + position] ^= 0xFF
    path.write_bytes(content)
    # Some bytes are nobody's loss; what is refused is refused in our words.
    with contextlib.suppress(BundleError):
        read_weights_file(path)


@pytest.mark.parametrize("place", ["archive", "numbers"])
def test_a_damaged_archive_is_refused(place, tmp_path):
    path = save({"w": torch.full((4,), 0.123)}, tmp_path / "w.pth")
    content = bytearray(path.read_bytes())
    # The last entry of the archive's directory; the first of the numbers.
    wanted = b"PK\x01\x02" if place == "archive" else torch.tensor(0.123).numpy().tobytes()
    content[content.rindex(wanted)] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"w.pth .*copy the file again"):
        read_weights_file(path)


def test_compressed_archives_are_refused(tmp_path):
    path = save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(BundleError, match=r"is a damaged archive .*byteorder is compressed"):
        read_weights_file(tmp_path / "small.pth")


def test_an_old_file_that_promises_too_much_is_refused(tmp_path):
    path = save({"w": torch.rand(3)}, tmp_path / "w.pth", as_zip=False)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + struct.pack("<q", 2**40) + content[-12:])
    with pytest.raises(BundleError, match="ends before its numbers do"):
        read_weights_file(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is neither safetensors"),
        (b"MZ" + bytes(100), "is neither safetensors"),
        (pickle.dumps({"w": 1}, protocol=2), "is neither safetensors"),
        (b"PK\x05\x06" + bytes(18), "is neither safetensors"),
    ],
)
def test_other_files_are_refused(content, text, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(BundleError, match=text):
        read_weights_file(tmp_path / "w.pth")


def test_files_that_hold_no_weights_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(BundleError, match=r"not one of torch\.save"):
        read_weights_file(tmp_path / "other.zip")
    with pytest.raises(BundleError, match="2 of its 3 entries are not tensors: epoch, name"):
        read_weights_file(save({"epoch": 1, "name": "x", "w": torch.ones(1)}, tmp_path / "w.pth"))
    with pytest.raises(BundleError, match=r"it holds a list; save only net.state_dict\(\)"):
        read_weights_file(save([torch.ones(1)], tmp_path / "w.pth"))
    with pytest.raises(BundleError, match=r"nowhere\.pth cannot be read"):
        read_weights_file(tmp_path / "nowhere.pth")


def test_a_file_of_many_gigabytes_is_not_opened(tmp_path):
    path = tmp_path / "w.pth"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(BundleError, match=r"has 5\.0 GiB; weights may have at most 4 GiB"):
        read_weights_file(path)
