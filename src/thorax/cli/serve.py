"""`thorax serve`: serve a page and calls that predict and explain uploaded radiographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.output import say

if TYPE_CHECKING:
    from thorax.service.settings import ServiceSettings
    from thorax.workflows.model import Model

__all__ = ["serve"]


def serve(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[BUNDLE]...", help="Bundles, or the runs that made them; the starter if left out."
        ),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="The same, as an option; repeatable.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 means any free one.")] = 8000,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on, for other machines, such as 0.0.0.0 for all of them. It needs a "
            "token, or --public.",
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that every call must bring; or THORAX_TOKEN in the environment."
        ),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of a certificate, for HTTPS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="A demonstration for everyone: no token, nothing kept, 2 images at a time, 20 MB per file, "
            "60 images a minute for each client.",
        ),
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address or network of a proxy whose X-Forwarded-For names the client; repeatable.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host name of this service, besides localhost; repeatable."),
    ] = None,
    frame_ancestors: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A site that may show the page in a frame; repeatable."),
    ] = None,
    audit_log: Annotated[
        Path | None,
        typer.Option(help="File that gets a line for each image: time, client, model, hash and outcome."),
    ] = None,
    assessments: Annotated[
        Path | None,
        typer.Option(
            help="SQLite file that keeps what readers say of findings. Without a token of yours, the printed "
            "address has one."
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page and calls that predict and explain radiographs, on this machine by default."""
    if bundles and model:
        raise typer.BadParameter("name the models as arguments or with --model")
    from thorax.service import ServiceSettings, new_token, read_token
    from thorax.service.server import serve as serve_bundles

    given = read_token(token_file)
    made = new_token() if assessments and not given else ""

    settings = ServiceSettings(
        port=port,
        listen=listen,
        token=given or made,
        public=public,
        certificate=certificate,
        key=key,
        trusted_proxies=tuple(trusted_proxy or ()),
        allow_hosts=tuple(allow_host or ()),
        frame_ancestors=tuple(frame_ancestors or ()),
        audit_log=audit_log,
        assessments=assessments,
    )

    def ready(opened: "Sequence[Model]", addresses: Sequence[str]) -> None:
        links = [f"{address}#token={made}" if made else address for address in addresses]
        _introduce(opened, links, settings)
        if open_:
            import webbrowser

            webbrowser.open(links[-1])

    serve_bundles(bundles or model or [], settings, ready=ready, ending=_say_what_is_under_way)


def _introduce(opened: "Sequence[Model]", addresses: Sequence[str], settings: "ServiceSettings") -> None:
    """Say what is served, where, and what to know of it."""
    first, *others = addresses
    say(f"{'; '.join(f'{one.name}, {len(one.findings)} findings' for one in opened)}: {first}")
    for statement in dict.fromkeys(one.statement for one in opened if one.statement):
        say(statement)
    say("For research only, not a medical device. Press Ctrl-C to stop.")
    if others:
        say(f"also at {', '.join(others)}")
    if settings.unencrypted:
        read = "images and results" if settings.public else "images, results and the token"
        say(
            f"Not encrypted: whoever is on the way can read {read}. Use --certificate and --key, or a proxy "
            "that encrypts."
        )


def _say_what_is_under_way(requests: int) -> None:
    say(
        f"finishing {requests} {'request' if requests == 1 else 'requests'}; Ctrl-C again ends at once",
        err=True,
    )
