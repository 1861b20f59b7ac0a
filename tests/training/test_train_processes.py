"""`thorax train --processes`, torchrun and SLURM's script, each as a user starts it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.command import command
from tests.training.processes import results, whole_run
from tests.training.test_train import log_of
from thorax.recipe.load import write_recipe

SBATCH = Path(__file__).parents[2] / "examples/slurm/train.sbatch"


@pytest.fixture(scope="module")
def toy(make_recipe):
    """A recipe with many checkpoints."""
    return make_recipe(training={"epochs": 3, "checkpoint_minutes": 0})


@pytest.fixture
def recipe(toy, tmp_path):
    """The file of that recipe."""
    write_recipe(toy, tmp_path / "toy.toml")
    return tmp_path / "toy.toml"


@pytest.fixture
def long_recipe(make_recipe, tmp_path):
    """The file of a recipe that takes a minute or more."""
    path = tmp_path / "long.toml"
    write_recipe(make_recipe(training={"epochs": 900, "checkpoint_minutes": 0}), path)
    return path


def begin(*arguments, launcher=(), **environment):
    """Start the command line in a process of its own, with Ctrl-C as in a shell."""
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "300", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} | environment,
    )


def wait_for_epochs(run, count, process):
    """Wait until a run has ended so many epochs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "log.jsonl").exists() and (run / "log.jsonl").read_text().count(
            '"event": "epoch"'
        ) >= count:
            return
        time.sleep(0.05)
    process.terminate()
    raise AssertionError(process.communicate())


def ranks_of(process):
    """Return the process ids of the ranks that an agent has started, in order."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    numbered = {}
    for child in children:
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        rank = [int(value[5:]) for value in variables if value.startswith(b"RANK=")]
        numbered |= dict.fromkeys(rank, int(child))
    return [numbered[rank] for rank in sorted(numbered)]


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_the_command_prints_what_one_process_prints(recipe, toy_store_path, tmp_path):
    run = tmp_path / "run"
    arguments = ("train", recipe, "--store", toy_store_path, "--out", run, "--device", "cpu")
    process = begin("thorax", *arguments, "--processes", 2)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors == ""
    lines = output.splitlines()
    assert sum(line.startswith("recipe ") for line in lines) == 1
    assert "cpu, 1 thread, float32, in each of 2 processes" in output
    assert [line.split()[1] for line in lines if re.match(r"epoch +\d/", line)] == ["1/3", "2/3", "3/3"]
    assert lines[-1].startswith(f"next: thorax evaluate {run} ")
    assert (run / "bundle/bundle.json").is_file()


def test_a_killed_process_ends_all_and_the_run_is_resumed(recipe, long_recipe, toy_store_path, tmp_path):
    run = tmp_path / "run"
    arguments = ("--store", toy_store_path, "--out", run, "--device", "cpu", "--processes", 2)
    process = begin("thorax", "train", long_recipe, *arguments)
    wait_for_epochs(run, 2, process)
    pids = ranks_of(process)
    os.kill(pids[1], signal.SIGKILL)
    began = time.monotonic()
    output, errors = process.communicate(timeout=40)
    assert time.monotonic() - began < 30
    assert process.returncode == 1
    assert alive(pids) == []
    assert len(errors.splitlines()) == 1
    assert errors.startswith("ProcessLost: process 1 (from 0) of 2 was ended by SIGKILL, and the others with")
    again = f"thorax train --resume --store {toy_store_path} --out {run} --processes 2 --device cpu"
    assert errors.rstrip().endswith(again)
    resumed = begin(*again.split())
    wait_for_epochs(run, 4, resumed)

    # Ctrl-C in a terminal reaches the command; it ends all, with one message.
    pids = ranks_of(resumed)
    os.kill(resumed.pid, signal.SIGINT)
    output, errors = resumed.communicate(timeout=40)
    assert resumed.returncode == 130
    assert alive(pids) == []
    assert "resumed" in output
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("TrainingInterrupted: training was stopped after step ")
    assert errors.rstrip().endswith(again)


@pytest.mark.slow
def test_a_frozen_process_ends_all_within_half_a_minute(long_recipe, toy_store_path, tmp_path):
    run = tmp_path / "run"
    process = begin(
        "thorax", "train", long_recipe, "--store", toy_store_path, "--out", run, "--device", "cpu",
        "--processes", 2,
    )  # fmt: skip
    wait_for_epochs(run, 1, process)
    pids = ranks_of(process)
    os.kill(pids[1], signal.SIGSTOP)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert "process 1 (from 0) of 2 has not answered for 18 s" in errors
    assert process.returncode == 1
    assert alive(pids) == []
    assert errors.count("ProcessLost") == 1
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_torchrun_starts_a_killed_run_again_to_the_same_end(toy, recipe, toy_store_path, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    process = begin(
        "--standalone", "--max-restarts", "2", "--nproc-per-node", "2", "-m", "thorax", "train", recipe,
        "--store", toy_store_path, "--out", run, "--device", "cpu", launcher=["torch.distributed.run"],
        OMP_NUM_THREADS="1",
    )  # fmt: skip
    wait_for_epochs(run, 1, process)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert "resumed" in output
    results(whole_run, tmp_path / "ended", toy_store_path, toy, [other, tmp_path / "second"], 0)
    weights = "bundle/weights.safetensors"
    assert (run / weights).read_bytes() == (other / weights).read_bytes()
    events = [[event["event"] for event in log_of(folder)] for folder in (run, other)]
    assert events[0] == events[1]


class TestRefusals:
    def test_processes_under_torchrun(self, recipe, toy_store_path, tmp_path, monkeypatch):
        for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 4}.items():
            monkeypatch.setenv(name, str(value))
        done = command(
            "train", recipe, "--store", toy_store_path, "--out", tmp_path / "run", "--processes", 2, expect=2
        )
        assert "torchrun has started 4 processes, so --processes 2 cannot be set; leave" in done.stderr

    def test_small_batches(self, recipe, toy_store_path, tmp_path):
        done = command(
            "train", recipe, "--store", toy_store_path, "--out", tmp_path / "run", "--processes", 9, expect=2
        )
        assert "training.batch_size = 16 gives some of 9 processes fewer than two images" in done.stderr
        assert not (tmp_path / "run").exists()

    def test_a_used_folder(self, recipe, toy_store_path, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run/log.jsonl").write_text('{"event": "start"}\n')
        done = command(
            "train", recipe, "--store", toy_store_path, "--out", tmp_path / "run", "--processes", 2, expect=3
        )
        assert "already holds a run; set --resume" in done.stderr


class TestSlurm:
    def test_shellcheck_has_nothing_to_say(self):
        program = shutil.which("shellcheck")
        if program is None:
            pytest.skip("shellcheck is not installed")
        done = subprocess.run([program, SBATCH], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")

    @pytest.mark.slow
    def test_the_script_trains_with_a_stand_in_for_srun(self, recipe, toy_store_path, tmp_path):
        programs = tmp_path / "bin"
        programs.mkdir()
        stand_ins = {
            "srun": 'while [[ "$1" == -* ]]; do shift; done\nexec "$@"',
            "scontrol": 'if [ "$1" = requeue ]; then echo "$*" >> "$CALLS"; else echo localhost; fi',
            "python": f'exec {sys.executable} "$@"',
        }
        for name, lines in stand_ins.items():
            (programs / name).write_text(f"#!/bin/bash\n{lines}\n")
            (programs / name).chmod(0o755)
        environment = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "SLURM_JOB_ID": "42",
            "SLURM_JOB_NODELIST": "localhost",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_PER_TASK": "2",
            "PROCESSES": "2",
            "PORT": "0",
            "STORE": str(toy_store_path),
            "RUN": str(tmp_path / "run"),
            "RECIPE": str(recipe),
        }
        bash = ["bash", str(SBATCH), "--device", "cpu"]
        done = subprocess.run(bash, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert log_of(tmp_path / "run")[0]["processes"] == 2
        assert log_of(tmp_path / "run")[-1]["event"] == "end"
        assert not (tmp_path / "calls").exists()

        broken = environment | {"RUN": str(tmp_path / "other"), "RECIPE": "no-such-recipe", "RESTARTS": "0"}
        done = subprocess.run(bash, env=broken, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "there is no recipe 'no-such-recipe'" in done.stderr
        assert not (tmp_path / "calls").exists()  # it would fail again
