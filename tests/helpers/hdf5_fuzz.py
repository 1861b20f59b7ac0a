"""Damages an HDF5 file in many ways and reads each in a process of its own; prints what happened as JSON.

One process is forked for each file, after the imports, so that hundreds take seconds.
"""

import contextlib
import importlib.util
import json
import os
import random
import sys
from pathlib import Path

from safetensors import safe_open


def damaged(content, seed):
    draw = random.Random(seed)
    damaged = bytearray(content)
    if seed % 4 == 0:
        return bytes(damaged[: draw.randrange(len(damaged))])
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        damaged[draw.randrange(len(damaged))] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)])
    return bytes(damaged)


def status_of(worker, path, output):
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.dup2(os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            status = worker.main(str(path))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(script, source, folder, count):
    # By its path: importing its package would import torch, which takes more memory than the worker may.
    spec = importlib.util.spec_from_file_location("hdf5_worker", script)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    content, outcomes = source.read_bytes(), {}
    path, output = folder / "damaged.h5", folder / "out.safetensors"
    for seed in range(count):
        path.write_bytes(damaged(content, seed))
        status = status_of(worker, path, output)
        if status == 0:
            with contextlib.suppress(Exception), safe_open(output, "np") as weights:
                assert "config" in weights.metadata()
                status = "read"
        outcomes[str(status)] = outcomes.get(str(status), 0) + 1
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
