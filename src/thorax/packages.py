"""Lazy imports, and the extras that third-party packages belong to."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Final, Literal, NoReturn, get_args

import thorax
from thorax.errors import MissingExtra

__all__ = [
    "Extra",
    "install_line",
    "lazy_names",
    "missing_extras_named",
    "missing_packages",
    "require",
    "versions",
]


def lazy_names(
    package: str, modules: Mapping[str, str], *, name_extras: bool = False
) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose public names live in its modules.

    Args:
        package: `__name__` of the package.
        modules: For each public name, the module that defines it, or the module itself.
        name_extras: Whether a function whose module needs a package of an extra that is not installed becomes
            one that raises `MissingExtra`, with the command that installs it, when it is called; so `help`
            and completion work in every installation.
    """

    def getattr_(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if modules[name] == f"{package}.{name}":
            return import_module(modules[name])
        if not name_extras:
            return getattr(import_module(modules[name]), name)
        try:
            with missing_extras_named(f"{package}.{name}"):
                return getattr(import_module(modules[name]), name)
        except MissingExtra as error:
            return _raising(error, package, name)

    return getattr_


def _raising(error: MissingExtra, package: str, name: str) -> Callable[..., NoReturn]:
    """Return a function that raises `error`, and says so in its documentation."""

    def unavailable(*_args: object, **_settings: object) -> NoReturn:
        raise error

    unavailable.__module__, unavailable.__name__, unavailable.__qualname__ = package, name, name
    unavailable.__doc__ = f"Not available: {error}."
    return unavailable


Extra = Literal["evaluate", "openvino", "pacs", "ray", "serve", "sign", "track", "train", "tune"]

_EXTRA_OF: Final[dict[str, Extra]] = {
    "matplotlib": "evaluate",
    "pandas": "evaluate",
    "pyarrow": "evaluate",
    "scipy": "evaluate",
    "huggingface_hub": "train",
    "onnx": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "h5py": "train",
    "openvino": "openvino",
    "cryptography": "sign",
    "fastapi": "serve",
    "python_multipart": "serve",
    "uvicorn": "serve",
    "mlflow": "track",
    "optuna": "tune",
    "dicomweb_client": "pacs",
    "highdicom": "pacs",
    "pynetdicom": "pacs",
    "ray": "ray",
}
"""The extra of each package, by import name."""


def missing_packages() -> dict[Extra, tuple[str, ...]]:
    """Return the packages of each extra that are not installed, by their import names; none is imported."""
    from importlib.util import find_spec  # noqa: PLC0415  (only where it is used)

    missing: dict[Extra, tuple[str, ...]] = dict.fromkeys(get_args(Extra), ())
    for package, extra in _EXTRA_OF.items():
        try:
            absent = find_spec(package) is None
        except ModuleNotFoundError:  # a finder may raise it as well
            absent = True
        if absent:
            missing[extra] += (package,)
    return missing


def install_line(extra: Extra) -> str:
    """Return how to install an extra, to follow "install it with"."""
    return f"pip install '.[{extra}]' in a clone of the repository"


@contextmanager
def missing_extras_named(what: str, *, extra: Extra | None = None) -> Iterator[None]:
    """Turn the failed import of a package of an extra into an error with the command that installs it.

    Args:
        what: What needs the package, such as "thorax evaluate".
        extra: The required extra, which may have more packages than the first missing one; None: the
            extra of the missing package.

    Raises:
        MissingExtra: A package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF:
            raise
        raise MissingExtra(
            f"{what} needs {package}, which is not installed; "
            f"install it with {install_line(extra or _EXTRA_OF[package])}"
        ) from error


def require(package: str, what: str) -> None:
    """Check before any work that a package of an extra is installed, without importing it.

    Args:
        package: The import name of the package.
        what: What needs it, such as "exporting a bundle".

    Raises:
        MissingExtra: The package is not installed.
    """
    from importlib.util import find_spec  # noqa: PLC0415  (only where it is used)

    with missing_extras_named(what):
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)


def versions(*names: str) -> dict[str, str]:
    """Return the versions of distributions by name; "thorax" is this package.

    Raises:
        PackageNotFoundError: A distribution is not installed.
    """
    from importlib.metadata import version  # noqa: PLC0415  (0.02 s at the start of every command)

    return {name: thorax.__version__ if name == "thorax" else version(name) for name in names}
