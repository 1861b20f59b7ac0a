"""`thorax study`: recipes x seeds x splits x settings, to one leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.cluster_options import Address, Cores, Memory, Place, cluster_of, gpus_of
from thorax.cli.output import say, say_json

if TYPE_CHECKING:
    from thorax.studies.results import Leaderboards
    from thorax.studies.work import CellOutcome

__all__ = ["study"]


def study(
    study: Annotated[
        str | None, typer.Argument(help="Name of a shipped study, or a TOML file.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; the same command continues there.")
    ] = None,
    stores: Annotated[
        list[str] | None,
        typer.Option(
            "--store", help="A store; or NAME=STORE, for the study's data set NAME. May be repeated."
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="cpu, cuda, cuda:N or auto; repeated, there is a process for each."),
    ] = None,
    engine: Place = "local",
    address: Address = None,
    cores: Cores = None,
    memory: Memory = None,
    listed: Annotated[bool, typer.Option("--list", help="List the shipped studies, and exit.")] = False,
    shown: Annotated[
        bool, typer.Option("--show", help="Print the study's TOML, to copy it, and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list, print JSON.")] = False,
) -> None:
    """Train, evaluate and compare recipes with several seeds, on one or more splits.

    All runs are trained before one is evaluated on a test part. A run that fails is listed with its reason,
    and the others go on; the exit code is then 4. Stopped anywhere, the same command continues.
    """
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.hardware import keep_freed_memory
    from thorax.studies.study import study as run_study

    if listed:
        _print_list(as_json=as_json)
        return
    if shown and study is not None:
        _print_study(study)
        return
    if study is None or out is None:
        raise typer.BadParameter("give a study and --out FOLDER, or --list, or a study and --show")
    cluster = cluster_of(engine, address, cores, memory, default=4, gpus=gpus_of(*(device or ())))
    keep_freed_memory()
    with bars_or_lines(every=60, latest_only=True) as progress:
        result = run_study(
            study,
            out,
            stores=_by_name(stores or []),
            devices=device or ("auto",),
            cluster=cluster,
            progress=progress,
            finished=_print_outcome,
        )
    _print_result(result)
    if result.failed:
        raise typer.Exit(4)


def _by_name(stores: list[str]) -> list[str] | dict[str, list[str]] | None:
    """Return what --store gives: stores by the names of data sets, or a list if none has one."""
    named: dict[str, list[str]] = {}
    for text in stores:
        name, equals, path = text.partition("=")
        has_name = equals and "/" not in name
        named.setdefault(name if has_name else "", []).append(path if has_name else text)
    if "" not in named:
        return named or None
    if len(named) > 1:
        raise typer.BadParameter("give every --store as NAME=STORE, or none")
    return named[""]


def _print_outcome(outcome: "CellOutcome", number: int, total: int) -> None:
    done = {"train": "trained", "evaluate": "evaluated"}[outcome.step]
    if outcome.reason:
        say(f"{number} of {total}: {outcome.cell.name} failed: {outcome.reason}", err=True)
    else:
        say(f"{number} of {total}: {done} {outcome.cell.name}")


def _print_result(result: "Leaderboards") -> None:
    from thorax.cli.console import print_table
    from thorax.studies.leaderboard_files import looks_text
    from thorax.studies.results import HEADER, board_rows, board_title

    for board in result.boards:
        print_table(HEADER[1:], [row[1:] for row in board_rows(board)], title=board_title(board))
        say(looks_text(board.looks))
    say(f"\n{result.headline()}\npage: {result.page}")


def _print_study(name: str) -> None:
    from thorax.studies.definition import definition_as_toml, load_study, shipped_studies

    say(shipped_studies().get(name) or definition_as_toml(load_study(name)), nl=False)


def _print_list(*, as_json: bool) -> None:
    from thorax.cli.console import print_table
    from thorax.studies.definition import load_study, shipped_studies

    studies = [load_study(name) for name in shipped_studies()]
    if as_json:
        say_json([one.model_dump(mode="json") for one in studies], indent=2)
        return
    rows = [
        (one.name, one.summary, str(len(one.recipes)), str(len(one.seeds)), ", ".join(one.data))
        for one in studies
    ]
    print_table(("Study", "What it is", "Recipes", "Seeds", "Data"), rows)
