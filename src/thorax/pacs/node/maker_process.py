"""A process that makes results, one image at a time.

Run as `python -P -m thorax.pacs.node.maker_process SOCKET` by `makers.Makers` alone. When the socket closes,
because the node ends or was killed, it exits after the current image.
"""

import signal
import sys
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection

from thorax.errors import ThoraxError
from thorax.inference.engines import open_predictor
from thorax.pacs.maker import ResultMaker, open_maker
from thorax.pacs.node.computing import compute

__all__ = ["main"]


def main(socket: str) -> None:
    """Open the model, say why it draws no maps or why it cannot be opened, and make results of each image."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the node ends it, when its image is done
    warnings.simplefilter("ignore")
    with Connection(int(socket)) as connection, suppress(EOFError, ConnectionError):
        bundle, rules, device = connection.recv()
        try:
            maker: ResultMaker = open_maker(open_predictor(bundle, device=device), device=device)
        except ThoraxError as error:
            connection.send(error)
            return
        connection.send(maker.note)
        while True:
            connection.send(compute(connection.recv(), maker, rules))


if __name__ == "__main__":
    main(*sys.argv[1:])
