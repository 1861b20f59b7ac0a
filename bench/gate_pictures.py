"""Pictures that are not chest radiographs, to measure an input gate on; none is ever fitted on.

    pip download --no-deps -d PACKAGES scikit-image==0.26.0 PyWavelets==1.9.0 matplotlib==3.11.2 \
        imgaug==0.4.0 pydicom==3.0.2 pydicom-data==1.0.0 scikit-learn==1.9.1
    (cd PACKAGES && apt-get download mate-backgrounds gnome-backgrounds ukui-wallpapers \
        lomiri-wallpapers-16.04 lomiri-wallpapers-20.04)
    python bench/gate_pictures.py PACKAGES OUT

Photographs, drawings and scans come from those packages, one of each motif. The other kinds, at most 40
pictures of each, are made here, with other code, fonts and distributions than what the gate is fitted on:
text, web pages in Chromium, charts, noise, gradients, blank and colored images, fractals; enlarged faces and
digits of data sets; one slice of each tomogram; and the one radiograph of a limb. OUT/pictures.csv lists the
kind and file of each. A package that is missing is reported.
"""

import argparse
import csv
import gzip
import html
import inspect
import io
import pkgutil
import pydoc
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright
from pydicom import dcmread
from pydicom.pixels.processing import apply_color_lut

mpl.use("Agg")

MOST = 40
"""Pictures of a kind, except photographs, which are all counted."""

LONGEST = 1024
"""Longer side of a photograph, in pixels: large wallpapers are shrunk."""

Found = tuple[str, str, Image.Image]
"""Kind, name, picture."""

PHOTOGRAPHS = {
    "scikit_image": (
        "astronaut brick camera chelsea clock_motion coffee coins grass gravel hubble_deep_field moon "
        "motorcycle_left rocket"
    ),
    "scikit_learn": "china flower",
    "pywavelets": "aero ascent",
    "matplotlib": "grace_hopper",
    "imgaug": "quokka",
    "mate-backgrounds": (
        "Elephants Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood "
        "YellowFlower"
    ),
    "lomiri-wallpapers-16.04": "*",
    "lomiri-wallpapers-20.04": "*",
    "ukui-wallpapers": "2004default calla goldfish the-mouse string",
}
DRAWINGS_AND_SCANS = {
    "scikit_image": "cell color horse ihc logo microaneurysms page phantom retina text",
    "matplotlib": "Minduka_Present_Blue_Pack logo2",
    "mate-backgrounds": (
        "Arc-Colors-Transparent-Wallpaper Flow Gulp Silk Spring Waves Float-into-MATE GreenTraditional "
        "MATE-Stripes-Light Stripes Ubuntu-Mate-Cold-no-logo"
    ),
    "gnome-backgrounds": "adwaita-l grid-l licorice-l pixels-l symbolic-l truchet-l wood-l",
    "ukui-wallpapers": "city desert fluent-color focal-ubuntukylin rollpaper rhythm",
}
"""Names of the pictures in each package, without their endings; "*" is all."""

SLICES = {
    "pydicom-3": "CT_small MR_small liver_1frame examples_palette",
    "pydicom_data": (
        "693_UNCR JPEG2000_UNC MR2_UNCR MR-SIEMENS-DICOM-WithOverlays US1_UNCR color-pl eCT_Supplemental "
        "emri_small gdcm-US-ALOKA-16 OBXXXX1A color3d_jpeg_baseline OT-PAL-8-face mlut_18 "
        "JPGLosslessP14SV1_1s_1f_8b"
    ),
}
LIMB = "RG3_UNCR"


@dataclass(frozen=True)
class Packages:
    """The downloaded wheels and Debian packages in a folder."""

    folder: Path

    def files(self, package: str) -> dict[str, bytes]:
        """Return the pictures and DICOM files of a package by name without ending; {} if it is missing."""
        archives = sorted([*self.folder.glob(f"{package}*.whl"), *self.folder.glob(f"{package}*.deb")])
        if not archives:
            print(f"missing: {package}")
            return {}
        members = _wheel(archives[0]) if archives[0].suffix == ".whl" else _deb(archives[0])
        return {Path(name).stem: content for name, content in members}


def _wanted(name: str) -> bool:
    return name.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".dcm", ".npz", ".npy", "digits.csv.gz"))


def _wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if _wanted(name):
                yield name, archive.read(name)


def _deb(path: Path) -> Iterator[tuple[str, bytes]]:
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() and _wanted(member.name) else None
            if content is not None:
                yield member.name, content.read()


def packaged(packages: Packages, kind: str, names: dict[str, str]) -> Iterator[Found]:
    """Yield the named pictures of packages."""
    for package, wanted in names.items():
        files = packages.files(package)
        for name in sorted(files) if wanted == "*" else wanted.split() if files else []:
            if name not in files:
                print(f"missing: {name} in {package}")
                continue
            content = files[name]
            picture = Image.fromarray(np.load(io.BytesIO(content))["data"]) if content[:2] == b"PK" else None
            picture = picture or Image.open(io.BytesIO(content))
            yield kind, f"{package}-{name}", picture


def dicom(packages: Packages) -> Iterator[Found]:
    """Yield the middle frame of each volume, and the limb, from black to white between their extremes."""
    for package, names in SLICES.items():
        files = packages.files(package)
        limb = [LIMB] if package == "pydicom_data" else []
        for name in [*names.split(), *limb] if files else []:
            try:
                data = dcmread(io.BytesIO(files[name]), force=True)
                values = data.pixel_array
            except Exception as error:  # noqa: BLE001  (of a test file, whatever a decoder says)
                print(f"not decoded: {name} ({type(error).__name__})")
                continue
            if int(data.get("NumberOfFrames", 1)) > 1:
                values = values[len(values) // 2]
            if data.PhotometricInterpretation == "PALETTE COLOR":
                values = apply_color_lut(values, data)
            low, high = float(values.min()), float(values.max())
            shares = (values - low) / max(high - low, 1)
            if data.PhotometricInterpretation == "MONOCHROME1":
                shares = 1 - shares
            kind = "limb radiograph" if name == LIMB else "slices and ultrasound"
            yield kind, name, Image.fromarray((shares * 255).astype(np.uint8))


def faces(packages: Packages) -> Iterator[Found]:
    """Enlarged faces of 25 x 25 pixels."""
    content = packages.files("scikit_image").get("lfw_subset")
    for number, face in enumerate(np.load(io.BytesIO(content))[:MOST] if content else []):
        picture = Image.fromarray((face * 255).astype(np.uint8))
        yield "faces", f"face-{number}", picture.resize((250, 250), Image.Resampling.BICUBIC)


def digits(packages: Packages) -> Iterator[Found]:
    """Enlarged handwritten digits of 8 x 8 pixels."""
    content = packages.files("scikit_learn").get("digits.csv")
    if content is None:
        return
    for number, row in enumerate(np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",")[:MOST, :-1]):
        picture = Image.fromarray((row.reshape(8, 8) * 15).astype(np.uint8))
        yield "digits", f"digit-{number}", picture.resize((256, 256), Image.Resampling.BICUBIC)


def rendered_text(random: np.random.Generator) -> Iterator[Found]:
    """Docstrings of the standard library in matplotlib's fonts, as scanned: turned a little, on paper."""
    fonts = sorted((Path(mpl.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    texts = [doc for name in _modules() if len(doc := inspect.getdoc(__import__(name)) or "") > 300]
    for number in range(MOST):
        size, paper = int(random.integers(8, 34)), int(random.integers(200, 256))
        picture = Image.new("L", (600, int(random.integers(450, 900))), paper)
        letters = [font for font in fonts if not font.stem.startswith(("STIXNon", "STIXSiz", "cmex", "cmsy"))]
        font = ImageFont.truetype(str(letters[number % len(letters)]), size)
        ImageDraw.Draw(picture).multiline_text(
            (30, 20), texts[number % len(texts)], 30, font, spacing=size // 3
        )
        turned = picture.rotate(float(random.uniform(-3, 3)), fillcolor=paper)
        yield "text", f"text-{number}", turned if number % 4 else Image.eval(turned, lambda gray: 255 - gray)


def _modules() -> list[str]:
    """Names of modules of the standard library whose import does nothing else."""
    skipped = {
        "antigravity",
        "this",
        "idlelib",
        "turtledemo",
        "turtle",
        "lib2to3",
        "tkinter",
        "test",
        "nturl2path",
    }
    names = [module.name for module in pkgutil.iter_modules([str(Path(inspect.__file__).parent)])]
    return [name for name in names if not name.startswith("_") and name not in skipped]


def web_pages() -> Iterator[Found]:
    """Help pages of the standard library in a browser, at widths from a phone to a desktop."""
    names = [name for name in _modules() if inspect.getdoc(__import__(name))][:MOST]
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for number, name in enumerate(names):
            width = (390, 800, 1200, 1600)[number % 4]
            page = browser.new_page(viewport={"width": width, "height": 844})
            title, body = html.escape(name), pydoc.HTMLDoc().docmodule(__import__(name))
            dark = "<style>body{background:#111;color:#eee}</style>" if number % 3 == 0 else ""
            page.set_content(f"<title>{title}</title>{dark}{body}")
            content = page.screenshot()
            page.close()
            yield "web pages", f"page-{name}", Image.open(io.BytesIO(content))
        browser.close()


def charts(random: np.random.Generator) -> Iterator[Found]:
    """Figures of eight sorts by matplotlib."""
    for number in range(MOST):
        with plt.style.context(("default", "dark_background", "grayscale", "ggplot")[number % 4]):
            figure, axes = plt.subplots(figsize=(5, float(random.uniform(3, 6))), dpi=80)
            values = random.standard_normal((60, 3)).cumsum(axis=0)
            match number % 8:
                case 0:
                    axes.plot(values)
                case 1:
                    axes.bar(range(12), random.random(12))
                case 2:
                    axes.imshow(random.random((12, 12)))
                case 3:
                    axes.scatter(values[:, 0], values[:, 1], c=values[:, 2])
                case 4:
                    axes.pie(random.random(6))
                case 5:
                    axes.contourf(random.random((20, 20)).cumsum(axis=0))
                case 6:
                    axes.hist(random.standard_normal(500), bins=30)
                case _:
                    axes.boxplot(values)
            axes.set_title(f"Result {number}")
            content = io.BytesIO()
            figure.savefig(content, format="png")
            plt.close(figure)
        yield "charts", f"chart-{number}", Image.open(content)


def noises(random: np.random.Generator) -> Iterator[Found]:
    """Noise by its power spectrum, from white to very smooth, and of single quanta; a quarter in color."""
    for number in range(MOST):
        height, width = (int(side) for side in random.integers(200, 700, size=2))
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
        steep = float(random.uniform(0, 3))
        gain = np.where(np.hypot(rows, columns) > 0, np.hypot(rows, columns), 1) ** -steep
        channels = []
        for _ in range(3 if number % 4 == 3 else 1):
            white = np.fft.fft2(random.standard_normal((height, width)))
            field = np.fft.ifft2(white * gain).real
            channels.append((field - field.min()) / np.ptp(field))
        shares = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
        if number % 5 == 4:
            shares = random.poisson(8, size=shares.shape) / 40
        yield "noise", f"noise-{number}", Image.fromarray((np.clip(shares, 0, 1) * 255).astype(np.uint8))


def gradients(random: np.random.Generator) -> Iterator[Found]:
    """Bends of two or three colors or grays along a curve."""
    for number in range(MOST):
        height, width = (int(side) for side in random.integers(200, 700, size=2))
        down, right = np.mgrid[:height, :width] / max(height, width)
        powers = random.uniform(0.5, 3, size=2)
        field = random.normal() * down ** powers[0] + random.normal() * right ** powers[1]
        field += random.normal() * down * right
        shares = (field - field.min()) / np.ptp(field)
        stops = random.random((3, 3))
        channels = [np.interp(shares, (0, 0.5, 1), stops[:, channel]) for channel in range(3)]
        picture = Image.fromarray((np.stack(channels, axis=-1) * 255).astype(np.uint8))
        yield "gradients", f"gradient-{number}", picture.convert("L") if number % 2 else picture


def blanks(random: np.random.Generator) -> Iterator[Found]:
    """One gray or color, exactly or with the noise of a camera."""
    for number in range(MOST):
        height, width = (int(side) for side in random.integers(100, 900, size=2))
        color = random.integers(0, 256, size=3) if number % 2 else np.repeat(random.integers(0, 256), 3)
        values = np.zeros((height, width, 3)) + color
        if number % 3 == 2:
            values += random.normal(0, 6, size=(height, width, 1))
        picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        yield "blank and color", f"blank-{number}", picture if number % 2 else picture.convert("L")


def fractals(random: np.random.Generator) -> Iterator[Found]:
    """Julia sets in gray."""
    rows, columns = np.mgrid[-1.3:1.3:400j, -1.3:1.3:400j]
    for number in range(MOST):
        angle, far = random.uniform(0, 2 * np.pi), random.uniform(0.6, 0.9)
        constant, zoom = far * np.exp(1j * angle), random.uniform(0.2, 1.1)
        points = zoom * (columns + 1j * rows)
        steps = np.zeros(points.shape)
        for _ in range(60):
            inside = np.abs(points) < 4
            points[inside] = points[inside] ** 2 + constant
            steps += inside
        picture = Image.fromarray((steps / 60 * 255).astype(np.uint8))
        yield "fractals", f"fractal-{number}", picture


def _plain(picture: Image.Image) -> Image.Image:
    """Return a picture in gray or RGB, over white where it is transparent."""
    if "A" not in picture.getbands():
        return picture if picture.mode in {"L", "RGB"} else picture.convert("RGB")
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")


def collect(packages: Packages, out: Path, *, seed: int = 0) -> dict[str, int]:
    """Write all pictures and their list, and return how many there are of each kind."""

    def made(draw: Callable[[np.random.Generator], Iterator[Found]], stream: int) -> Iterator[Found]:
        return draw(np.random.default_rng([seed, stream]))

    out.mkdir(parents=True)
    counts: dict[str, int] = {}
    with (out / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("kind", "picture"))
        for source in (
            packaged(packages, "photographs", PHOTOGRAPHS),
            packaged(packages, "drawings and scans", DRAWINGS_AND_SCANS),
            dicom(packages),
            faces(packages),
            digits(packages),
            web_pages(),
            *(
                made(draw, stream)
                for stream, draw in enumerate((rendered_text, charts, noises, gradients, blanks, fractals))
            ),
        ):
            for kind, name, picture in source:
                picture.thumbnail((LONGEST, LONGEST))
                _plain(picture).save(out / f"{name}.png")
                rows.writerow((kind, f"{name}.png"))
                counts[kind] = counts.get(kind, 0) + 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    counts = collect(Packages(arguments.packages), arguments.out)
    for kind, count in counts.items():
        print(f"{count:4} {kind}")
    print(f"{sum(counts.values()):4} pictures")


if __name__ == "__main__":
    main()
