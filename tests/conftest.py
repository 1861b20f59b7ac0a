"""Fixtures that every test can use."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import config

# How long a case takes says how busy the machine is.
settings.register_profile("thorax", deadline=None)
settings.load_profile("thorax")

# Two pytest workers with two threads each on two cores wait for one another in every sum. Set before torch
# is imported; child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

# Programs that a script starts in the background ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Looks at test parts are noted in a folder of the tests, never in the user's own.

    Those beside the committed run, which many tests evaluate where it is, are removed.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
    (Path(__file__).parent / "data" / "golden" / "run" / "looks.jsonl").unlink(missing_ok=True)


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real radiographs, labels and DICOM files, which lie beside the repository, not in it.

    Every test that needs them asks for this fixture, directly or through another one, and is skipped where
    they are not.
    """
    if not SHARED.is_dir():
        pytest.skip("needs real radiographs in ../shared/data, which are not part of the repository")
    return SHARED


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """For long runs of what other tests call with shapes checked, such as simulations."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def nih_sample(shared_data: Path) -> Path:
    """1,644 real NIH images with NIH's own tables."""
    return shared_data / "nih-sample"


LONGEST = ("tests/training/", "tests/cli/", "tests/checkpoints/", "tests/exporting/")
"""What takes longest, so that with several workers none begins it when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


WHOLE_PATHS = tuple(
    f"tests/{name}"
    for name in (
        "attacks/", "cli/", "objects/", "source_projects/", "studies/", "tracking/", "tuning/",
        "test_api_docs", "test_docs", "test_notebook", "test_project", "test_unreported",
    )
)  # fmt: skip
"""Whole paths from end to end: the tests of their parts check the shapes of arrays, which takes long."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Check shapes, as `--jaxtyping-packages` says, but not along whole paths."""
    config.update("jaxtyping_disable", item.nodeid.startswith(WHOLE_PATHS))
    return (yield)


_WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "torchvision"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import thorax.cli.main as cli
sys.argv = ["thorax", *sys.argv[1:]]
cli.main()
"""


@pytest.fixture(scope="session")
def thorax_without_torch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process where torch cannot be imported."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _WITHOUT_TORCH, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run
