"""The Docker Space: what its Dockerfile runs is started here, and answers under the name of the Space."""

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.service import started

SPACE = Path(__file__).parents[2] / "space"
DOCKERFILE = (SPACE / "Dockerfile").read_text()
README = (SPACE / "README.md").read_text()
(COMMAND,) = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)


def test_the_front_matter_is_that_of_a_docker_space_on_the_port_of_the_dockerfile():
    front = dict(re.findall(r"^(\w+): (.+)$", README.split("---")[1], re.MULTILINE))
    assert (front["sdk"], front["license"]) == ("docker", "mit")
    assert len(front["short_description"]) <= 60
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    assert front["app_port"] == exposed
    assert f"--port {exposed} " in COMMAND
    assert f"--publish {exposed}:{exposed}" in README


def test_the_dockerfile_names_the_lines_that_were_not_run():
    comment = " ".join(line.removeprefix("# ") for line in DOCKERFILE.split("FROM", 1)[0].splitlines())
    assert "Not run as written" in comment
    assert "USER user" in DOCKERFILE  # not root


def test_what_is_copied_is_what_the_readme_puts_there():
    (copied,) = re.findall(r"^COPY (.+) \./$", DOCKERFILE, re.MULTILINE)
    assert copied.split() == ["constraints.txt", "thorax_cxr-*.whl"]
    assert "pip wheel --no-deps --wheel-dir space ." in README
    assert "cp constraints.txt space/" in README


@pytest.mark.parametrize("host", ["someone-thorax.hf.space", ""])
def test_the_command_serves_the_starter_under_the_name_of_the_space(host):
    command = COMMAND.replace("--port 7860", "--port 0").replace("thorax", f"{sys.executable} -m thorax", 1)
    with started(["sh", "-c", command], {"SPACE_HOST": host}) as service:
        assert service.get("/v1/models", Host=host or "10.0.0.1").json["models"][0]["name"] == "starter"
        assert service.get("/", Host="other-thorax.hf.space").status == 421
        page = service.get("/", Host=host or "localhost")
        assert page.headers["content-security-policy"].endswith("frame-ancestors https://huggingface.co")
        assert service.get("/v1/models").json["public"] is True
