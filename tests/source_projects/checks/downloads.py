"""`thorax download` from a server on loopback, with addresses of its own."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from tests.helpers.file_server import file_server
from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.datasets.download import load_source
from thorax.datasets.download.kaggle_key import find_kaggle_key

SECTION = """[{name}]
title = "Phantoms"
page = "https://example.org"
terms = "None"
citation = "None"
{more}
"""


def from_nih(row: Row, workshop: Workshop) -> None:
    """Archive and labels arrive so that `prepare` reads them; the shipped addresses are NIH's."""
    shipped = load_source("nih", None)
    hosts = {file.address.split("/")[2] for file in shipped.files}
    assert hosts <= set(row.source["hosts"])
    assert sum(file.name.endswith(".tar.gz") for file in shipped.files) == row.source["archives"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, image in images(workshop).items():
            archive.add(image, f"images/{name}")
    contents = {"images_001.tar.gz": stream.getvalue(), "Data_Entry_2017_v2020.csv": labels(workshop)}
    assert "2 files are new" in fetch(workshop, "nih", contents, unpack="images_001/images")
    output = workshop.run("thorax prepare downloaded-nih --size 64 --out stores/downloaded")
    count = len(images(workshop))
    assert f"{count} of {count} labeled images" in output


def from_kaggle(row: Row, workshop: Workshop) -> None:
    """The source's variables in .env are the key, which is sent with the request and never printed."""
    env = workshop.folder / ".env"
    user, secret = row.source["variables"]
    env.write_text(f"{user}=ada\n{secret}=not-shown\n")
    key = find_kaggle_key({"HOME": str(workshop.folder)}, workshop.folder)
    assert key is not None
    assert key.header.startswith("Basic ")
    assert "not-shown" not in repr(key) + str(key)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, image in images(workshop).items():
            archive.write(image, f"sample/images/{name}")
        archive.writestr("sample_labels.csv", labels(workshop))
    more = 'key = "optional"\nlabels = ["sample_labels.csv"]'
    downloaded = fetch(workshop, "nih-sample", {"sample.zip": stream.getvalue()}, unpack="images", more=more)
    assert "not-shown" not in downloaded
    env.unlink()


def fetch(workshop: Workshop, source: str, contents: dict[str, bytes], *, unpack: str, more: str = "") -> str:
    """Run `thorax download` against a server that has these files; return what it printed."""
    with file_server() as server:
        text = SECTION.format(name=source, more=more)
        for name, content in contents.items():
            server.files[name] = content
            digest = hashlib.sha256(content).hexdigest()
            text += f'[[{source}.files]]\nname = "{name}"\naddress = "{server.address(name)}"\n'
            text += f'size = {len(content)}\nsha256 = "{digest}"\n'
            text += f'unpack_into = "{unpack}"\n' if name.endswith(("gz", "zip")) else ""
        (workshop.folder / f"{source}.toml").write_text(text)
        return workshop.run(f"thorax download {source} downloaded-{source} --addresses {source}.toml")


def images(workshop: Workshop) -> dict[str, Path]:
    """The phantoms, under names as NIH's images have them."""
    files = sorted((workshop.folder / "nih" / "images").iterdir())
    return {file.name.replace("90000", "00", 1): file for file in files}


def labels(workshop: Workshop) -> bytes:
    """Their label file, with these names."""
    text = (workshop.folder / "nih" / "Data_Entry_2017_v2020.csv").read_text()
    return text.replace("90000", "00").encode()
