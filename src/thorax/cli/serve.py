"""`thorax serve`: serve a page that predicts and explains uploaded radiographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.output import say

if TYPE_CHECKING:
    from thorax.workflows.model import Model

__all__ = ["serve"]


def serve(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle, or the run that made it; the starter if left out.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The same, as an option.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 means any free one.")] = 8000,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="A demonstration that other machines can reach: no token, nothing kept, 2 images at a time, "
            "20 MB per file.",
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host name of this service, besides localhost; repeatable."),
    ] = None,
    frame_ancestors: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A site that may show the page in a frame; repeatable."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page that predicts and explains uploaded radiographs, on this machine unless --public."""
    if bundle and model:
        raise typer.BadParameter("name one model, as the argument or with --model")
    from thorax.service import ServiceSettings
    from thorax.service.server import serve as serve_bundle

    def ready(opened: "Model", address: str) -> None:
        say(f"{opened.name}, {len(opened.findings)} findings: {address}")
        if opened.statement:
            say(opened.statement)
        say("For research only, not a medical device. Press Ctrl-C to stop.")
        if open_:
            import webbrowser

            webbrowser.open(address)

    settings = ServiceSettings(
        port=port,
        public=public,
        allow_hosts=tuple(allow_host or ()),
        frame_ancestors=tuple(frame_ancestors or ()),
    )
    serve_bundle(bundle or model, settings, ready=ready)
