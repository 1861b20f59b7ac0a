"""Every command under strace, without a network: no connection, no file but where docs/privacy.md says."""

import os
import re
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.helpers.command import SMALL
from tests.helpers.traced import traced, why_not
from thorax.cli.main import VERBS
from thorax.models.backbones import timm

ROOT = Path(__file__).parents[1]

ONE_EPOCH = (*SMALL, "--set", "training.epochs=1")
COMMANDS = {
    "phantom": ("phantom", "phantoms", "--patients", "80", "--size", "64"),
    "prepare": ("prepare", "phantoms", "--out", "store", "--size", "64"),
    "sheet": ("sheet", "store", "--out", "sheet.png"),
    "recipes": ("recipes", "show", "small-cpu"),
    "train": ("train", "small-cpu", "--store", "store", "--out", "run", *ONE_EPOCH),
    "runs": ("runs", "."),
    "gate": ("gate", "run", "--store", "store", "--out", "gated"),
    "evaluate": ("evaluate", "run", "--store", "store", "--out", "report", "--resamples", "5"),
    "card": ("card", "run", "--out", "card.md"),
    "audit": ("audit", "store", "--split", "folder-official"),
    "predict": ("predict", "run", "phantoms/images"),
    "explain": ("explain", "run", "image.png", "--findings", "Effusion", "--out", "map.svg"),
    "localize": ("localize", "run", "--store", "store", "--out", "localization"),
    "robustness": ("robustness", "run", "--store", "store", "--out", "robustness"),
    "site": (
        "site", "run", "--store", "store", "--name", "here", "--split", "folder-official", "--out", "site",
    ),
    "sign": ("sign", "--new-key", "site.key"),
    "verify": ("verify", "run"),
    "info": ("info", "run"),
    "doctor": ("doctor",),
    "help": ("help", "train"),
    "completion": ("completion", "bash"),
    "calibrate": ("calibrate", "run", "--store", "store", "--out", "calibrated", "--rule", "one-half"),
    "ensemble": ("ensemble", "run", "calibrated", "--out", "ensemble"),
    "compare": ("compare", "run", "calibrated", "--store", "store", "--out", "compared", "--resamples", "5"),
    "export": ("export", "run", "--store", "store", "--out", "exported", "--to", "openvino"),
    "import": (
        "import", "theirs.safetensors", "--as", "timm", "--backbone", "test_efficientnet", "--findings",
        "Mass,,Nodule", "--input-size", "64", "--out", "imported",
    ),
    "tune": ("tune", "small-cpu", "--store", "store", "--out", "study", "--trials", "1", *ONE_EPOCH),
    "study": ("study", "mine.toml", "--out", "leaderboards"),
    "serve": ("serve", "run", "--port", "0"),
    "node": ("node", "run", "--port", "0", "--health-port", "0", "--forward", "PACS@127.0.0.1:104"),
    "monitor": ("monitor", "thorax-queue", "--out", "monitored"),
}  # fmt: skip
"""In an order in which each finds what it needs."""

STUDY = """
name = "mine"
summary = "One recipe on few phantoms"
recipes = ["small-cpu"]
seeds = [0]
data.phantoms = { phantoms = 40, splits = ["folder-official"] }
[settings]
store.size = 64
model.input_size = 64
model.arguments.channels = [8, 8, 16, 16]
training.epochs = 1
"""

REFUSED = ("gate", "monitor")
"""They read the store, which has too few images to fit on, and the node's queue, which has none."""


def test_every_command_is_here_but_the_one_that_is_for_the_network():
    assert set(COMMANDS) == set(VERBS) - {"download"}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Empty folders to work in, for the home, and for temporary files."""
    if reason := why_not():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("traced")
    for name in ("work", "home", "temporary"):
        (root / name).mkdir()
    (root / "work" / "mine.toml").write_text(STUDY)
    theirs = timm.create_model("test_efficientnet", num_classes=3)
    save_file(theirs.state_dict(), root / "work" / "theirs.safetensors")
    return root


def documented(places):
    """The folders outside the working folder that docs/privacy.md names."""
    text = (ROOT / "docs" / "privacy.md").read_text().partition("## Files outside your folders")[2]
    named = re.findall(r"^\| `~/([^`]+)`", text, re.MULTILINE)
    assert len(named) >= 4
    return [places / "work", places / "temporary", *(places / "home" / name for name in named)]


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_connects_to_nothing_and_writes_where_it_should(places, verb):
    if verb == "explain":
        image = min((places / "work" / "phantoms" / "images").iterdir())
        (places / "work" / "image.png").write_bytes(image.read_bytes())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    environment |= {
        "HOME": str(places / "home"),
        "TMPDIR": str(places / "temporary"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = traced(
        *COMMANDS[verb],
        folder=places / "work",
        environment=environment,
        stop_when="http" if verb in {"serve", "node"} else None,
    )
    assert done.code == (3 if verb in REFUSED else 0), done.output
    # The C library asks a name service on this machine, if there is one, for the user's name.
    assert [to for to in done.connections if "/var/run/nscd/socket" not in to] == []
    allowed = documented(places)
    outside = {
        path
        for path in done.written
        # A folder that is made on the way to one that is named, such as ~/.cache; and devices.
        if not any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in allowed)
        and not str(path).startswith(("/dev/null", "/dev/shm/"))
    }
    assert outside == set()
    left = {path.name for path in (places / "temporary").rglob("*")}
    assert left <= {f"torchinductor_{os.environ.get('USER', 'root')}", "torchinductor_root"}
