"""Packages whose names are imported when they are first used."""

from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(
    package: str, modules: Mapping[str, str], *, name_extras: bool = False
) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose public names live in its modules.

    Args:
        package: `__name__` of the package.
        modules: For each public name the module that defines it, or that it is.
        name_extras: Whether a module that needs a package of an extra raises MissingExtra, with the line to
            type, where Python would say that there is no such module.
    """

    def getattr_(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if modules[name] == f"{package}.{name}":
            return import_module(modules[name])
        if not name_extras:
            return getattr(import_module(modules[name]), name)
        from thorax.packages import missing_extras_named  # noqa: PLC0415  (`import thorax` takes milliseconds)

        with missing_extras_named(f"{package}.{name}"):
            return getattr(import_module(modules[name]), name)

    return getattr_
