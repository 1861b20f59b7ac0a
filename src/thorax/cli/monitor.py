"""`thorax monitor`: whether the images of a node, and what is predicted of them, are like validation's."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["monitor"]


def monitor(
    queue: Annotated[Path, typer.Argument(metavar="QUEUE", help="Folder of a node's queue.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, monitor.json and monitor.prom.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle to monitor; default: the one that predicted last.")
    ] = None,
    assessments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Readers' assessments: the file of thorax serve, or the CSV that it exports."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
) -> None:
    """Compare a node's images and predictions with the model's validation; the node may run meanwhile.

    Weekly alarms say that something changed; all together give a false one in about one of 20 weeks.
    """
    from thorax.outputs import check_output
    from thorax.reporting.monitor import alarm_lines, monitor_headline
    from thorax.workflows.monitor import monitor as monitor_queue

    check_output(out, overwrite=overwrite, folder=True)
    result = monitor_queue(queue, bundle=bundle, assessments=assessments)
    written = result.write(out, overwrite=overwrite)
    say(monitor_headline(result.monitoring, result.context))
    for line in alarm_lines(result.monitoring):
        say(f"alarm: {line}")
    say(f"report: {written.html}")
