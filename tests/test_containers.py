"""The container files name what exists; `make containers` runs their lines."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.command import command
from tests.helpers.service import started
from thorax.errors import BundleError, ServiceError
from tools.containers import context_files, instructions

ROOT = Path(__file__).parents[1]
DOCKERFILES = ("Dockerfile", "Dockerfile.node", "Dockerfile.train")


def lines_of(name):
    return list(instructions((ROOT / name).read_text()))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_a_user_without_rights(name):
    users = [arguments for instruction, arguments in lines_of(name) if instruction == "USER"]
    assert users
    assert users[-1] not in {"0", "root"}
    created = [
        arguments
        for instruction, arguments in lines_of(name)
        if instruction == "RUN" and "useradd" in arguments
    ]
    assert any(users[-1] in arguments for arguments in created)


def test_instructions_are_joined_over_lines_and_comments_are_left_out():
    text = "# a comment\nFROM a AS b\nRUN one && \\\n    two\n\nCMD []\n"
    assert [name for name, _ in instructions(text)] == ["FROM", "RUN", "CMD"]
    assert dict(instructions(text))["RUN"].split() == ["one", "&&", "two"]


def test_the_build_context_is_the_package_alone():
    names = {path.as_posix() for path in context_files((ROOT / ".dockerignore").read_text())}
    assert {"pyproject.toml", "constraints.txt", "README.md", "src/thorax/__init__.py"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "LICENSE", "README.md", "constraints.txt", "pyproject.toml", "src",
    }  # fmt: skip


def test_compose_builds_files_that_exist():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"page", "own-model", "train", "node", "orthanc"}
    for name, service in services.items():
        build = service["build"]
        if name == "orthanc":
            assert (
                "install --yes --no-install-recommends orthanc orthanc-dicomweb" in build["dockerfile_inline"]
            )
        else:
            assert (ROOT / ("Dockerfile" if build == "." else build["dockerfile"])).is_file()
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_the_node_of_compose_and_of_systemd_takes_its_options(tmp_path):
    """Each command is parsed and checked as it is written; the model that it names is missing here."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    unit = (ROOT / "deploy" / "thorax-node.service").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=/opt/thorax/bin/thorax node (.*)$", unit, re.MULTILINE)
    for words in (services["node"]["command"], line.split()):
        with_queue = [
            word.replace("/var/lib/thorax", str(tmp_path)).replace("=/queue", f"={tmp_path}")
            for word in words
        ]
        done = command("node", *with_queue, expect=BundleError.exit_code)
        assert "model does not exist" in done.stderr


def test_the_development_container_runs_commands_that_exist():
    text = re.sub(
        r"^\s*//.*$", "", (ROOT / ".devcontainer/devcontainer.json").read_text(), flags=re.MULTILINE
    )
    described = json.loads(text)
    assert described["postCreateCommand"] == "make install TORCH=cpu"
    packages = re.search(r"--no-install-recommends (.*)$", described["onCreateCommand"])
    assert packages is not None
    needed = re.findall(r"packages\+=\(([^)]*)\)", (ROOT / ".ci/run").read_text())
    assert {"make", "chromium"} <= set(packages[1].split()) <= set(" ".join(needed).split())


def test_the_container_serves_other_machines_only_with_a_token_or_in_public(monkeypatch):
    """What the Dockerfile starts, on a free port: without either it ends, and says how to go on."""
    (entry,) = [
        json.loads(arguments)
        for instruction, arguments in lines_of("Dockerfile")
        if instruction == "ENTRYPOINT"
    ]
    monkeypatch.delenv("THORAX_TOKEN", raising=False)
    done = command(*entry[1:], "--port", "0", expect=ServiceError.exit_code)
    assert "without a token everyone could use the model" in done.stderr
    program = [sys.executable, "-m", *entry, "--port", "0"]
    with started([*program, "--public"], {}) as service:
        assert service.get("/v1/models").json["public"] is True
    with started(program, {"THORAX_TOKEN": "0123456789abcdef"}) as service:
        assert service.get("/v1/models").status == 401
        assert service.get("/v1/models", Authorization="Bearer 0123456789abcdef").json["public"] is False
