"""Builds and tries the container images without a container engine: `make containers`.

Each RUN line of `Dockerfile` and `Dockerfile.train` is executed as it is written, in a Debian root that
debootstrap makes; the other instructions are imitated. The image of the page is then started as its user,
without network, and must pass its health check and predict the test images. Needs root, debootstrap and 6 GB.
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
    elif name != "EXPOSE":
        raise SystemExit(f"{image.root.name}: {name} is not understood by this script")


def check_page(image: Image) -> None:
    """Start the page as the container would, wait for its health check, and predict the test images."""
    refused = subprocess.run(enter(image, image.entrypoint), capture_output=True, text=True, check=False)
    if "without a token" not in refused.stderr:
        raise SystemExit(f"the container starts without a token: {refused.stderr}")
    served = subprocess.Popen(enter(image, [*image.entrypoint, "--public"]))
    try:
        inside = ["nsenter", "--target", str(served.pid), "--net"]
        for _ in range(60):
            if (
                subprocess.run(
                    [*inside, *enter(image, image.health, network=True)],
                    stderr=subprocess.DEVNULL,
                    check=False,
                ).returncode
                == 0
            ):
                break
            if served.poll() is not None:
                raise SystemExit(f"the page ended with code {served.returncode}")
            time.sleep(0.5)
        else:
            raise SystemExit("the page did not become healthy within 30 s")
    finally:
        served.terminate()
        code = served.wait(timeout=20)
    print(f"healthy; ended with code {code} after SIGTERM")
    images = "/opt/thorax/lib/python3.11/site-packages/thorax/starter/images"
    subprocess.run(enter(image, ["thorax", "predict", images]), check=True)
    absent = subprocess.run(
        enter(image, ["python3", "-c", "import torch"]), stderr=subprocess.DEVNULL, check=False
    )
    if absent.returncode == 0:
        raise SystemExit("the image of the page has torch")


def main() -> None:
    """Build and try both images."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit("`make containers` needs root and debootstrap: sudo apt-get install debootstrap")
    ROOTS.mkdir(parents=True, exist_ok=True)
    for dockerfile in sys.argv[1:] or ["Dockerfile", "Dockerfile.train"]:
        image = build(dockerfile)
        size = subprocess.run(["du", "-sm", str(image.root)], check=True, capture_output=True, text=True)
        print(f"{dockerfile}: {size.stdout.split()[0]} MB")
        if image.health:
            check_page(image)
        else:
            subprocess.run(enter(image, [*image.entrypoint, *image.command]), check=True)


if __name__ == "__main__":
    main()
