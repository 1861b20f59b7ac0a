"""Builds and tries the container images without a container engine: `make containers`.

Each RUN line of the Dockerfiles is executed as it is written, in a Debian root that debootstrap makes; the
other instructions are imitated. The images of the page and of the node are then started as their user,
without network: each must refuse to start unsafely, pass its health check, do its work without torch, and
end at SIGTERM. The page's predicts the test images, and the node's answers an image that is sent to it with
a report. Needs root, debootstrap and 7 GB.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ROOTS = REPOSITORY / "build" / "containers"
SUITE = "bookworm"
# What lets a root reach packages the way this machine does, mounted while a RUN line is executed.
# The certificates have a path of their own, because apt writes those of the root.
CERTIFICATES = "/mnt/certificates.crt"
NETWORK = {
    "/etc/resolv.conf": "/etc/resolv.conf",
    os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"): CERTIFICATES,
    **{folder: folder for folder in os.environ.get("PIP_FIND_LINKS", "").split()},
}
PIP = {name: value for name, value in os.environ.items() if name.startswith("PIP_")} | {
    "PIP_CERT": CERTIFICATES
}


@dataclass
class Image:
    """The state of an image while its instructions are executed."""

    root: Path
    folder: str = "/"
    user: str = "0"
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"}
    )
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a Dockerfile with its arguments; lines that end in a backslash are joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.strip().partition(" ")
        yield name, arguments.strip()


def context_files(ignored: str) -> Iterator[Path]:
    """Yield the files of the build context: those that `.dockerignore` lets through after `*`."""
    kept = [line[1:] for line in ignored.splitlines() if line.startswith("!")]
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *kept],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    yield from (Path(name) for name in names.splitlines())


def enter(image: Image, command: Sequence[str], *, network: bool = False) -> list[str]:
    """Return the command line that runs a command in an image as its user; by default without network."""
    settings = [
        f"{name}={value}" for name, value in {**image.environment, **(PIP if network else {})}.items()
    ]
    inner = shlex.join(
        ["env", "-i", *settings, "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", image.folder, *command]
    )
    root = shlex.quote(str(image.root))
    script = f"mount -t proc proc {root}/proc && mount --bind /dev {root}/dev && "
    if network:
        script += "".join(mounted(Path(path), f"{image.root}{target}") for path, target in NETWORK.items())
    else:
        script += "ip link set lo up && "
    script += f"exec chroot --userspec={image.user} {root} {inner}"
    return ["unshare", "--mount", *([] if network else ["--net"]), "sh", "-c", script]


def mounted(path: Path, target: str) -> str:
    """Return the command that shows a file or folder of this machine in a root, if it exists."""
    if not path.exists():
        return ""
    create = "mkdir -p" if path.is_dir() else "touch"
    there = shlex.quote(target)
    here = shlex.quote(str(path))
    return f"mkdir -p $(dirname {there}) && {create} {there} && mount --bind {here} {there} && "


def copy(image: Image, arguments: str, stages: Mapping[str, Image]) -> None:
    """Imitate COPY: from an earlier stage, or the build context."""
    *options, source, target = arguments.split()
    if options:
        stage = stages[options[0].removeprefix("--from=")]
        subprocess.run(["cp", "-a", f"{stage.root}{source}", f"{image.root}{target}"], check=True)
        return
    for file in context_files((REPOSITORY / ".dockerignore").read_text()):
        copied = image.root / image.folder.lstrip("/") / file
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, copied)


def new_root(name: str) -> Path:
    """Return a fresh copy of the Debian root, which is made at first."""
    base, root = ROOTS / SUITE, ROOTS / name
    if not (base / "made").exists():
        shutil.rmtree(base, ignore_errors=True)
        subprocess.run(["debootstrap", "--variant=minbase", SUITE, str(base)], check=True)
        (base / "made").touch()
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
    return root


def build(dockerfile: str) -> Image:
    """Execute the instructions of a Dockerfile, and return the image of its last stage."""
    stages: dict[str, Image] = {}
    image = Image(Path("/nowhere"))
    for name, arguments in instructions((REPOSITORY / dockerfile).read_text()):
        print(f"--- {name} {arguments}", flush=True)
        if name == "FROM":
            _, _, stage = arguments.partition(" AS ")
            stages[stage] = image = Image(new_root(f"{dockerfile}-{stage or 'last'}"))
        elif name == "COPY":
            copy(image, arguments, stages)
        elif name == "RUN":
            subprocess.run(enter(image, ["sh", "-c", arguments], network=True), check=True)
        else:
            configure(image, name, arguments)
    return image


def configure(image: Image, name: str, arguments: str) -> None:
    """Imitate an instruction that runs nothing."""
    if name == "WORKDIR":
        image.folder = arguments
        (image.root / arguments.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif name == "ENV":
        for setting in arguments.split():
            key, _, value = setting.partition("=")
            image.environment[key] = value.replace(f"${key}", image.environment.get(key, ""))
    elif name == "USER":
        image.user = arguments
    elif name in {"ENTRYPOINT", "CMD", "HEALTHCHECK"}:
        attribute = {"ENTRYPOINT": "entrypoint", "CMD": "command", "HEALTHCHECK": "health"}[name]
        setattr(image, attribute, json.loads(re.sub(r".*?CMD ", "", arguments, count=1)))
    elif name not in {"EXPOSE", "VOLUME"}:
        raise SystemExit(f"{image.root.name}: {name} is not understood by this script")


def check_page(image: Image) -> None:
    """Start the page as the container would, wait for its health check, and predict the test images."""
    refuses(image, [], because="without a token")
    with healthy(image, ["--public"]):
        pass
    images = "/opt/thorax/lib/python3.11/site-packages/thorax/starter/images"
    subprocess.run(enter(image, ["thorax", "predict", images]), check=True)


def check_node(image: Image) -> None:
    """Start the node as compose.yaml does, and send it an image, whose report must come back."""
    options = [
        "starter",
        "--queue=/queue",
        "--listen=0.0.0.0",
        "--no-tls",
        "--forward=ARCHIVE@127.0.0.1:11113",
    ]
    refuses(image, options, because="--allow")
    client = (REPOSITORY / "tools" / "container_client.py").read_text()
    with healthy(image, [*options, "--allow=MODALITY@127.0.0.1"]) as inside:
        subprocess.run([*inside, *enter(image, ["python3", "-c", client], network=True)], check=True)


def refuses(image: Image, options: Sequence[str], *, because: str) -> None:
    """Check that a container does not start with these options, and says why."""
    done = subprocess.run(
        enter(image, [*image.entrypoint, *options]), capture_output=True, text=True, check=False
    )
    if done.returncode == 0 or because not in done.stderr:
        raise SystemExit(f"{image.root.name} does not say {because!r}: {done.stderr}")


@contextmanager
def healthy(image: Image, options: Sequence[str]) -> Iterator[list[str]]:
    """Start a container, and wait for its health check; yield what enters its network. SIGTERM ends it."""
    served = subprocess.Popen(enter(image, [*image.entrypoint, *options]))
    inside = ["nsenter", "--target", str(served.pid), "--net"]
    try:
        end = time.monotonic() + 60
        check = [*inside, *enter(image, image.health, network=True)]
        while subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            if served.poll() is not None:
                raise SystemExit(f"{image.root.name} ended with code {served.returncode}")
            if time.monotonic() > end:
                raise SystemExit(f"{image.root.name} did not become healthy within 60 s")
            time.sleep(0.5)
        yield inside
    finally:
        served.terminate()
        code = served.wait(timeout=90)
    print(f"healthy; ended with code {code} after SIGTERM")
    if code != 0:
        raise SystemExit(f"{image.root.name} ended with code {code} after SIGTERM")


def refuse_torch(image: Image) -> None:
    """End if an image for a CPU has torch."""
    command = enter(image, ["python3", "-c", "import torch"])
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        raise SystemExit(f"{image.root.name} has torch")


CHECKS = {"Dockerfile": check_page, "Dockerfile.node": check_node}
"""How the images that are without torch are tried; `Dockerfile.train` starts with its own command."""


def main() -> None:
    """Build and try the images."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit("`make containers` needs root and debootstrap: sudo apt-get install debootstrap")
    ROOTS.mkdir(parents=True, exist_ok=True)
    for dockerfile in sys.argv[1:] or [*CHECKS, "Dockerfile.train"]:
        image = build(dockerfile)
        size = subprocess.run(["du", "-sm", str(image.root)], check=True, capture_output=True, text=True)
        print(f"{dockerfile}: {size.stdout.split()[0]} MB")
        if dockerfile in CHECKS:
            refuse_torch(image)
            CHECKS[dockerfile](image)
        else:
            subprocess.run(enter(image, [*image.entrypoint, *image.command]), check=True)


if __name__ == "__main__":
    main()
