"""A data set as NIH has it, on a server on loopback, and calls that download it."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from thorax.datasets.download import Patience, download_data_set, load_source

QUICK = Patience(timeout=0.5, attempts=3, first_wait=0.02, longest_wait=0.1)
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
NAMES = [f"{patient:08}_{visit:03}.png" for patient in range(1, 31) for visit in range(2)]
LABELS = "\n".join(
    [HEADER, *(f"{name},Mass,{name[11]},{int(name[:8])},50,F,PA,64,64,1,1" for name in NAMES), ""]
)


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


IMAGES = {name: png(seed) for seed, name in enumerate(NAMES)}


def tar_gz(contents: dict[str, bytes], *, extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for header in extra:
            archive.addfile(header, io.BytesIO(b"x" * header.size))
    return stream.getvalue()


def zipped(contents: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


def part(number: int) -> dict[str, bytes]:
    names = NAMES[(number - 1) * 20 : number * 20]
    return {f"images/{name}": IMAGES[name] for name in names}


def addresses(place, *files: str, section: str = "nih", **settings: str) -> Path:
    """A TOML of addresses; without `files`, of the three archives and the label file."""
    lines = [f"[{section}]", 'title = "A copy"', 'page = "https://example.org/nih"', 'terms = "As NIH says."']
    lines += ['citation = "Wang 2017"', *(f"{name} = {value}" for name, value in settings.items())]
    if not files:
        files = (
            entry(place, "labels", "Data_Entry_2017_v2020.csv"),
            *(entry(place, f"{number}.gz", f"images_{number:03}.tar.gz") for number in (1, 2, 3)),
        )
    place.toml.write_text("\n".join([*lines, *(f"[[{section}.files]]\n{file}" for file in files)]))
    return place.toml


def entry(place, path: str, name: str, *, known: bool = True, **settings: str) -> str:
    content = place.server.files.get(path, b"")
    lines = {"name": f'"{name}"', "address": f'"{place.server.address(path)}"'}
    if known:
        lines |= {"size": str(len(content)), "sha256": f'"{hashlib.sha256(content).hexdigest()}"'}
    if name.endswith((".gz", ".zip")):
        lines["unpack_into"] = f'"{name.partition(".")[0]}/images"' if name.endswith(".gz") else '"images"'
    return "\n".join(f"{key} = {value}" for key, value in (lines | settings).items())


def fetch(place, toml=None, *, source="nih", patience=QUICK, **settings):
    chosen = load_source(source, toml or addresses(place))
    return download_data_set(chosen, place.dest, patience=patience, **settings)


def fetch_one(place, content: bytes, *, name="images_001.tar.gz", known=False, **settings):
    """Download one archive with this content."""
    place.server.files["one"] = content
    return fetch(place, addresses(place, entry(place, "one", name, known=known)), **settings)


def images_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png")}
