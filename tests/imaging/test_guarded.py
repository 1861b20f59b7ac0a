"""A file that crashes or stops its decoder costs an error, and neither the program nor the other files."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.helpers.dicom_writing import dataset, to_bytes, written
from tests.helpers.hostile import DAMAGED, HOSTILE, crashes_gdcm, faulty_decoders, gray, jpeg, jpeg_dicom
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import decoders, read_guarded, read_radiograph
from thorax.imaging.read import decodes_safely

TWELVE = np.arange(64 * 72, dtype=np.uint16).reshape(64, 72) % 4096
DESCRIBED = {
    "ViewPosition": "AP",
    "ImageLaterality": "R",
    "ImagerPixelSpacing": [0.2, 0.3],
    "PatientAge": "044Y",
    "PatientSex": "F",
}


def png():
    stream = BytesIO()
    Image.fromarray(gray()).save(stream, "PNG")
    return stream.getvalue()


def compressed(syntax):
    ds = dataset(TWELVE, bits=12, **DESCRIBED)
    ds.compress(syntax)
    return to_bytes(ds)


KINDS = {
    "PNG": png,
    "JPEG": jpeg,
    "plain": lambda: written(TWELVE, bits=12, **DESCRIBED),
    "without preamble": lambda: to_bytes(
        dataset(TWELVE, bits=12), preamble=False, implicit_vr=False, little_endian=True
    ),
    "JPEG in DICOM": jpeg_dicom,
    "JPEG 2000": lambda: compressed(JPEG2000Lossless),
    "JPEG-LS": lambda: compressed(JPEGLSLossless),
    "RLE": lambda: compressed(RLELossless),
}


def same(one, other):
    assert np.array_equal(one.pixels, other.pixels)
    assert one.pixels.dtype == other.pixels.dtype
    return all(getattr(one, field.name) == getattr(other, field.name) for field in fields(one)[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_radiograph_is_that_of_read_radiograph(kind, tmp_path):
    data = KINDS[kind]()
    (tmp_path / "image").write_bytes(data)
    assert same(read_guarded(data), read_radiograph(data))
    assert same(read_guarded(data, name="/ward/a.png"), read_radiograph(data, name="a.png"))
    assert same(read_guarded(tmp_path / "image"), read_radiograph(tmp_path / "image"))
    with (tmp_path / "image").open("rb") as file:
        assert same(read_guarded(file), read_radiograph(tmp_path / "image"))


def test_everything_that_a_radiograph_says_passes_through_json():
    read = read_radiograph(compressed(JPEG2000Lossless))
    full = replace(read, origin=replace(read.origin, name="\udcff\x1b.dcm"))
    assert full.age_years == 44
    assert full.spacing_mm == (0.2, 0.3)
    said, content = decoders.read_task(None, ("\udcff\x1b.dcm", compressed(JPEG2000Lossless)))
    assert same(decoders._radiograph(json.loads(json.dumps(said)), content, ""), full)


@pytest.mark.parametrize("source", [TWELVE, Image.fromarray(gray()), dataset(TWELVE, bits=12)])
def test_what_is_in_memory_already_is_read_here(source):
    assert same(read_guarded(source), read_radiograph(source))


def test_value_range_is_for_arrays():
    assert read_guarded(TWELVE / 4096, value_range=(0, 1)).pixels.dtype == np.uint16
    with pytest.raises(ImageError, match="value_range applies to arrays"):
        read_guarded(jpeg(), value_range=(0, 1))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ImageError),
        (b"GIF89a" + bytes(200), UnsupportedImage),
        (jpeg()[:700], ImageError),
        (to_bytes(dataset(gray(), bits=8, BodyPartExamined="HAND")), UnsupportedImage),
        (compressed(RLELossless).replace(b"CHEST ", b"HAND  "), UnsupportedImage),
        (jpeg_dicom().replace(b"\xff\xd8\xff", b"\xff\xd8\0"), ImageError),
    ],
)
def test_a_refusal_is_that_of_read_radiograph(data, kind):
    with pytest.raises(ImageError) as expected:
        read_radiograph(data, name="scan")
    with pytest.raises(ImageError) as said:
        read_guarded(data, name="scan")
    assert type(said.value) is type(expected.value) is kind
    assert str(said.value) == str(expected.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash.jpg", r"the decoder crashed \(SIGABRT\); "),
        ("hang.jpg", "decoding took more than the 2 s of CPU time that the image allows; "),
    ],
)
def test_a_file_that_takes_its_decoder_down_is_an_image_error(name, reason, capfd):
    with faulty_decoders():
        with pytest.raises(ImageError, match=rf"^{name}: {reason}"):
            read_guarded(HOSTILE[name](), name=name)
        assert same(read_guarded(jpeg()), read_radiograph(jpeg()))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", DAMAGED)
def test_files_that_took_decoders_down(name, capfd):
    """Whether they are refused, mended, or still do."""
    with suppress(ImageError):
        read_guarded(DAMAGED[name](), name=name)
    assert same(read_guarded(jpeg()), read_radiograph(jpeg()))
    assert capfd.readouterr() == ("", "")


def test_plain_files_are_recognized():
    assert decodes_safely(KINDS["PNG"]()[:1024])
    assert decodes_safely(KINDS["plain"]()[:1024])
    for kind in ("JPEG", "without preamble", "JPEG in DICOM", "JPEG 2000", "JPEG-LS", "RLE"):
        assert not decodes_safely(KINDS[kind]()[:1024])


PLAIN = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"


@pytest.mark.parametrize(
    "planted",
    [
        b"\x02\x00\x01\x00OB\0\0" + len(PLAIN).to_bytes(4, "little") + PLAIN,  # within another element
        PLAIN,  # twice
        b"\x02\x00\x00\x00XX\x04\x00" + bytes(4) + PLAIN,  # after a type that parsers read in their own ways
    ],
)
def test_no_file_passes_as_a_plain_one(planted):
    """Its meta information says JPEG lossless, and somewhere else what looks like a plain syntax."""
    data = crashes_gdcm()
    for place in (132, data.index(b"\x08\x00", 132)):
        assert not decodes_safely((data[:place] + planted + data[place:])[:1024])
    with suppress(ImageError):
        read_guarded(data[:132] + planted + data[132:])


def test_an_answer_that_is_not_a_radiograph():
    """As of a decoder that a file has taken over."""
    said, content = decoders.read_task(None, ("a.jpg", jpeg()))
    for changes in (
        {"pixels": [7, 80, "uint8"]},
        {"pixels": [72, 80, "object"]},
        {"origin": {"name": "a"}},
        {"sex": "__import__('os')"},
        {"pixels": None},
        {"more": 1},
    ):
        with pytest.raises(ImageError, match=r"a\.jpg: the answer of its decoder is not a radiograph"):
            decoders._radiograph(said | changes, content, "a.jpg")


def running(program, *arguments, **settings):
    """Start a program of the library's user."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **settings)


def said_by(program, *arguments, **settings):
    with running(program, *arguments, **settings) as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    return output.split()


def descendants(pid):
    """The processes that a process has started, in any of its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_gone(pid):
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


READ = "import sys; from thorax.imaging import read_guarded as read; "


def test_safe_files_do_not_even_import_the_pool(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.dcm").write_bytes(KINDS["plain"]())
    program = READ + "read(sys.argv[1]); print(*sys.modules)"
    for name in ("a.png", "a.dcm"):
        modules = said_by(program, tmp_path / name)
        assert "thorax.imaging.guarded" in modules
        assert not {"thorax.imaging.decoders", "thorax.imaging.decode_pool"} & set(modules)


def test_a_process_that_is_killed_from_outside_is_replaced_and_the_file_read_again(tmp_path):
    (tmp_path / "large.jpg").write_bytes(jpeg(6000, 6000))
    with ThreadPoolExecutor(1) as thread:
        read_guarded(jpeg())
        before = set(descendants(os.getpid()))
        future = thread.submit(read_guarded, tmp_path / "large.jpg")
        time.sleep(0.1)
        for child in before:
            os.kill(child, signal.SIGKILL)
        assert future.result().pixels.shape == (6000, 6000)
    for child in descendants(os.getpid()):
        os.kill(child, signal.SIGKILL)
    assert same(read_guarded(jpeg()), read_radiograph(jpeg()))


def test_threads_do_not_wait_for_each_other(tmp_path):
    (tmp_path / "large.jpg").write_bytes(jpeg(3000, 3000))
    program = READ + (
        "from pathlib import Path; from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(3) as threads: list(threads.map(read, [sys.argv[1]] * 12))\n"
        "print(sum(len(f.read_text().split()) for f in Path('/proc/self/task').glob('*/children')))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    assert said_by(program, tmp_path / "large.jpg", env=environment) == ["3"]


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(number, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    program = READ + "read(sys.argv[1]); print('read', flush=True); sys.stdin.read()"
    with running(program, tmp_path / "a.jpg", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "read\n"
        children = descendants(process.pid)
        assert len(children) == 1
        if number is not None:
            process.send_signal(number)
        process.communicate(timeout=20)
    wait_until(lambda: all(is_gone(child) for child in children))


def test_a_decoder_that_hangs_outlives_a_killed_program_by_its_limit_only(tmp_path):
    (tmp_path / "hang.jpg").write_bytes(HOSTILE["hang.jpg"]())
    with faulty_decoders(), running(READ + "read(sys.argv[1])", tmp_path / "hang.jpg") as process:
        (child,) = wait_until(lambda: descendants(process.pid))
        wait_until(lambda: _cpu(child) > 1)
        process.kill()
        process.wait()
    wait_until(lambda: is_gone(child), seconds=60)


def _cpu(pid):
    """CPU seconds of a process."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_processes_of_its_own(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    program = READ + (
        "import os\n"
        "first = read(sys.argv[1]).pixels_sha256()\n"
        "children = [os.fork() for _ in range(2)]\n"
        "again = [read(sys.argv[1]).pixels_sha256() for _ in range(20)]\n"
        "assert set(again) == {first}\n"
        "if 0 in children: sys.exit()\n"
        "assert all(os.waitpid(child, 0)[1] == 0 for child in children)\n"
        "print('same')"
    )
    assert said_by(program, tmp_path / "a.jpg").count("same") == 1


def test_closed_standard_streams(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    program = READ + "shape = read(sys.argv[1]).pixels.shape; open(sys.argv[2], 'w').write(str(shape))"
    closing = 'exec "$@" <&- >&- 2>&-'
    command = ["sh", "-c", closing, "sh", sys.executable, "-c", program, tmp_path / "a.jpg", tmp_path / "out"]
    subprocess.run(command, check=True, timeout=60)
    assert (tmp_path / "out").read_text() == "(72, 80)"


def test_modules_that_only_this_process_finds(tmp_path):
    """As where a notebook adds a folder to its path."""
    (tmp_path / "a.jpg").write_bytes(jpeg())
    program = "import sys; sys.path[:] = sys.argv[2:]; " + READ.removeprefix("import sys; ")
    program += "print(read(sys.argv[1]).origin.format)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert said_by(program, tmp_path / "a.jpg", *sys.path, env=environment, cwd=tmp_path) == ["JPEG"]


def test_without_descriptors_for_a_process_the_message_says_what_to_do(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    program = READ + (
        "import resource, os, thorax.imaging.decoders, thorax.imaging.jpeg\n"
        "spare = [os.dup(0) for _ in range(3)]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (spare[-1] + 1, spare[-1] + 1))\n"
        "try: read(open(sys.argv[1], 'rb').read() if not os.close(spare.pop()) else b'')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = " ".join(said_by(program, tmp_path / "a.jpg"))
    assert said.startswith(
        "DataError a process that decodes images cannot be started (Too many open files); "
    )


def test_datasets_that_were_read_lazily_are_left_alone():
    ds = dcmread(BytesIO(KINDS["plain"]()))
    assert same(read_guarded(ds), read_radiograph(ds))
