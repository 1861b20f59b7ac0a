"""`thorax node`: receive radiographs from a PACS, and send results back; show and retry what failed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thorax.cli.help_text import Verb, Verbs
from thorax.cli.output import say, say_json
from thorax.cli.signed import with_signatures
from thorax.wording import counted

if TYPE_CHECKING:
    from thorax.pacs.node.run import NodeAddress

__all__ = ["node_app"]

_QUEUE = Path("thorax-queue")


class _Node(Verbs):
    """The group: `thorax node BUNDLE` is `thorax node start BUNDLE`."""

    implied = "start"
    implied_words = ("starter",)


node_app = typer.Typer(
    cls=_Node,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Receive radiographs from a PACS, predict them, and send the results back. The word start may be "
    "left out, as in thorax node BUNDLE --forward PACS@127.0.0.1:4242.",
)


def _start(
    bundle: Annotated[str, typer.Argument(help="The bundle, or the run that made it; or starter.")],
    forward: Annotated[
        list[str] | None,
        typer.Option(metavar="AET@HOST:PORT", help="Send results there by C-STORE; repeatable."),
    ] = None,
    forward_tls: Annotated[
        list[str] | None, typer.Option(metavar="AET@HOST:PORT", help="The same, with TLS; repeatable.")
    ] = None,
    stow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Send results to this DICOMweb service by STOW-RS; repeatable. THORAX_DICOMWEB_TOKEN, or "
            "THORAX_DICOMWEB_USER and THORAX_DICOMWEB_PASSWORD, are its credentials.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 means any free one.")] = 11112,
    ae_title: Annotated[str, typer.Option(metavar="AET", help="The node's own AE title.")] = "THORAX",
    queue: Annotated[Path, typer.Option(help="Folder of the queue; the next start goes on there.")] = _QUEUE,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on, for other machines. It needs --allow, and a certificate or --no-tls.",
        ),
    ] = "",
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="AET@ADDRESS", help="Who may send; an address or a network; repeatable."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of the node's certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="PEM file of the authorities whose certificates peers must have.")
    ] = None,
    no_tls: Annotated[
        bool,
        typer.Option("--no-tls", help="Speak in the clear with other machines: the network is protected."),
    ] = False,
    rules: Annotated[
        Path | None, typer.Option(help="TOML file that says which images are predicted.")
    ] = None,
    health_port: Annotated[
        int, typer.Option(help="Port on this machine for /health and /metrics; 0 means any free one.")
    ] = 11180,
    associations: Annotated[int, typer.Option(help="The most associations at once.")] = 16,
    max_bytes: Annotated[int, typer.Option(help="The largest object that is taken.")] = 200_000_000,
    min_free: Annotated[
        int, typer.Option(help="Bytes of the disk that stay free; objects are refused before.")
    ] = 500_000_000,
    keep_days: Annotated[
        float, typer.Option(help="Days for which files are kept once their results are sent.")
    ] = 7.0,
    keep_bytes: Annotated[
        int, typer.Option(help="The most bytes of such files that are kept.")
    ] = 50_000_000_000,
    network_timeout: Annotated[
        float, typer.Option(help="Seconds after which an association without traffic ends.")
    ] = 30.0,
    site: Annotated[str, typer.Option(help="Calibrate for this site of the bundle.")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Receive radiographs by C-STORE, predict them, and send the results to one or several places.

    Without --listen, only this machine reaches it. Ctrl-C or SIGTERM ends it when what is in progress is
    done; the rest waits in the queue.
    """
    chosen: dict[str, Any] = dict(locals())
    bundle, site, device = (chosen.pop(name) for name in ("bundle", "site", "device"))
    from thorax.bundle import load_bundle
    from thorax.bundle.sites import at_site
    from thorax.pacs.node.run import run_node
    from thorax.pacs.node.settings import NodeSettings
    from thorax.workflows.watch_folder import stopped_by_signals

    for name in ("forward", "forward_tls", "stow", "allow"):
        chosen[name] = tuple(chosen[name] or ())
    settings = NodeSettings(**chosen)
    with stopped_by_signals() as stop:
        model = at_site(load_bundle(bundle), site)
        run_node(model, settings, stop=stop, ready=_ready(model.manifest.stated), device=device)


def _ready(statement: str) -> Any:
    def say_so(node: "NodeAddress") -> None:
        say(
            f"{node.ae_title} listens on {node.address}:{node.port}; http://127.0.0.1:{node.health_port}/health"
        )
        for said in filter(None, (statement, node.note)):
            say(said)
        say("For research only, not a medical device. Press Ctrl-C to stop.")

    return say_so


node_app.command("start", cls=Verb)(with_signatures(_start))


@node_app.command("status", cls=Verb)
def _status(
    queue: Annotated[Path, typer.Argument(help="Folder of a node's queue.")] = _QUEUE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a node's queue holds, and its dead letters."""
    from thorax.pacs.node.operating import queue_status

    status = queue_status(queue)
    if as_json:
        say_json(status.as_json())
        return
    for line in status.lines():
        say(line)


@node_app.command("retry", cls=Verb)
def _retry(
    queue: Annotated[Path, typer.Argument(help="Folder of a node's queue.")] = _QUEUE,
    number: Annotated[
        list[int] | None,
        typer.Option(help="Number of an object, as status shows it; repeatable. All, if left out."),
    ] = None,
    skipped: Annotated[
        bool,
        typer.Option("--skipped", help="Instead, look again at what was skipped, after a change of rules."),
    ] = False,
) -> None:
    """Try dead letters again; a running node notices within a second."""
    from thorax.pacs.node.operating import retry_failed, retry_skipped

    if skipped and number:
        raise typer.BadParameter("--skipped concerns all that was skipped; leave --number out")
    count = retry_skipped(queue) if skipped else retry_failed(queue, number or ())
    say(f"{counted(count, 'object is', 'objects are')} tried again")


@node_app.command("dismiss", cls=Verb)
def _dismiss(
    queue: Annotated[Path, typer.Argument(help="Folder of a node's queue.")] = _QUEUE,
    *,
    number: Annotated[
        list[int], typer.Option(help="Number of a dead letter, as status shows it; repeatable.")
    ],
) -> None:
    """Give dead letters up: status and /health count them no longer."""
    from thorax.pacs.node.operating import dismiss_failed

    dismiss_failed(queue, number)
    say(f"dismissed: {', '.join(map(str, number))}")
