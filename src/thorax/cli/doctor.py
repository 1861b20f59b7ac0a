"""`thorax doctor`: what this machine and installation can do."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from thorax.cli.output import say, say_json

if TYPE_CHECKING:
    from thorax.inspection import Check

__all__ = ["doctor"]

_MARKS: Final = {"ok": "ok", "note": "note", "slow": "SLOW", "missing": "-", "broken": "BROKEN"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what works here, what is missing, and what is slow and why.

    Exit code 1 if something is broken. Nothing is changed, and no network is used.
    """
    from thorax.inspection import doctor as examine

    checks = examine()
    broken = [check for check in checks if check.state == "broken"]
    if as_json:
        say_json({"ok": not broken, "checks": [check.as_json() for check in checks]}, indent=1)
    else:
        for check in checks:
            _print(check)
        say("everything that is installed works" if not broken else f"{len(broken)} of these are broken")
    if broken:
        raise typer.Exit(1)


def _print(check: "Check") -> None:
    say(f"{_MARKS[check.state]:<7}{check.name}: {check.text}")
    if check.remedy:
        say(f"       {check.remedy}")
