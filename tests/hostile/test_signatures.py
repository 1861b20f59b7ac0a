"""Signed bundles: who vouches for one, which checksums in the same folder cannot say."""

import json
import shutil
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.main import get_command

from tests.helpers.command import command
from tests.helpers.toy_bundle import REFERENCE, images
from thorax.bundle import load_bundle
from thorax.bundle.signature import new_key, signatures_required
from thorax.bundle.writing import copy_bundle
from thorax.cli.main import VERBS, _app
from thorax.cli.signed import OPENING
from thorax.errors import BundleError, DataError
from thorax.exporting import export_float32
from thorax.models import build_classifier
from thorax.workflows.model import load
from thorax.workflows.signing import sign, verify


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("keys") / "site.key")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("others") / "other.key")


@pytest.fixture
def signed(folder, keys):
    sign(folder, keys.private)
    return folder


def test_a_signed_bundle_is_verified_and_opened(signed, keys):
    assert verify(signed).signature == "not checked"
    verified = verify(signed, keys.public)
    assert verified.signature == "right"
    assert verified.num_files == 4  # manifest, weights, graph, patients
    assert verified.others == ()
    assert load_bundle(signed, require_signature=keys.public) == load_bundle(signed)
    assert load(signed, device="cpu", require_signature=keys.public).bundle.folder == signed


def test_an_unsigned_bundle_and_another_key_are_refused(folder, keys, others):
    with pytest.raises(BundleError, match=r"must have a signature of the key .* \(it has none\)"):
        load_bundle(folder, require_signature=keys.public)
    sign(folder, others.private)
    with pytest.raises(BundleError, match=r"is not a signature of .* by the key"):
        load_bundle(folder, require_signature=keys.public)
    with pytest.raises(BundleError, match="is not a signature of"):
        load(load_bundle(folder), require_signature=keys.public)


def test_a_changed_file_with_its_checksum_changed_is_refused_by_the_signature_alone(signed, keys):
    """What the checksums cannot find: they are in the same folder."""
    manifest = signed / "bundle.json"
    values = json.loads(manifest.read_text())
    values["operating_points"] = {"rule": "one-half", "thresholds": {"Mass": 0.01}, "chosen_on": None}
    manifest.write_text(json.dumps(values))
    assert verify(signed).signature == "not checked"  # whole, by its own checksums
    with pytest.raises(BundleError, match="the bundle was changed after it was signed"):
        verify(signed, keys.public)


def test_every_bit_of_the_signature_counts(signed, keys):
    path = signed / "bundle.json.sig"
    right = path.read_bytes()
    assert len(right) == 64
    for content in (
        b"",
        right[:-1],
        right + b"\0",
        bytes(64),
        *(_flipped(right, bit) for bit in (0, 255, 256, 511)),
    ):
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"is not a signature of|more than 64 bytes"):
            load_bundle(signed, require_signature=keys.public)


def _flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_weights_that_were_changed_are_found_behind_a_right_signature(signed, keys):
    (signed / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(BundleError, match="is not the file that the manifest describes"):
        verify(signed, keys.public)


def test_a_copy_keeps_the_signature_and_a_change_removes_it(signed, keys, tmp_path):
    copy = copy_bundle(load_bundle(signed), tmp_path / "copy")
    assert verify(copy, keys.public).signature == "right"
    assert verify(copy_bundle(load_bundle(signed), copy.folder), keys.public).signature == "right"
    with signatures_required(keys.public):
        changed = export_float32(copy, images(4), compared_on=REFERENCE)
    assert verify(changed).signature == "absent"


def test_no_way_to_a_bundle_goes_past_a_requirement(signed, folder, keys, tmp_path):
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "bundle.json.sig").unlink()
    with signatures_required(keys.public):
        load_bundle(signed)
        with pytest.raises(BundleError, match="must have a signature"):
            load_bundle(plain)
        with pytest.raises(BundleError, match="must have a signature"):
            load("starter")
    load_bundle(plain)


def test_keys(keys, tmp_path):
    assert stat.S_IMODE(keys.private.stat().st_mode) == 0o600
    for taken in ("site.key", "other.key.pub"):
        (tmp_path / taken).touch()
    for name in ("site.key", "other.key"):
        with pytest.raises(DataError, match="exists, and a key is never replaced"):
            new_key(tmp_path / name)


def _pem(key, *, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a private key in PEM"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "a key of another kind than ed25519"),
        (_pem(ed25519.Ed25519PrivateKey.generate(), password=b"x"), "a key with a password"),
        (b"x" * 20_000, "cannot be read"),
    ],
    ids=["empty", "another kind", "password", "large"],
)
def test_files_that_cannot_sign(folder, tmp_path, content, reason):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        sign(folder, tmp_path / "key")
    assert not (folder / "bundle.json.sig").exists()


def test_a_signature_is_not_replaced_unless_that_is_said(signed, others):
    before = (signed / "bundle.json.sig").read_bytes()
    with pytest.raises(DataError, match=r"bundle\.json\.sig already exists; .* set `overwrite`"):
        sign(signed, others.private)
    assert (signed / "bundle.json.sig").read_bytes() == before
    sign(signed, others.private, overwrite=True)
    assert (signed / "bundle.json.sig").read_bytes() != before


def test_the_keys_are_not_mixed_up(signed, keys):
    with pytest.raises(DataError, match="is a public key; give the private key"):
        sign(signed, keys.public, overwrite=True)
    with pytest.raises(DataError, match="is a private key, which should stay where it signs"):
        verify(signed, keys.private)
    with pytest.raises(DataError, match="cannot be read"):
        verify(signed, keys.private.with_name("nowhere"))


def test_the_starter_is_not_signed_where_it_is_installed(keys):
    with pytest.raises(BundleError, match="is part of the installation"):
        sign("starter", keys.private)


def test_openssl_makes_keys_and_checks_signatures(folder, tmp_path):
    """Keys and signatures are what other programs write and read."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")

    def openssl(*words):
        return subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False).returncode

    key, public = tmp_path / "own.key", tmp_path / "own.pub"
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", key) == 0
    assert openssl("pkey", "-in", key, "-pubout", "-out", public) == 0
    signature = sign(folder, key)
    assert verify(folder, public).signature == "right"
    checked = ("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in")
    assert openssl(*checked, folder / "bundle.json", "-sigfile", signature) == 0
    assert openssl(*checked, folder / "patients.json", "-sigfile", signature) != 0


# ---- the command line ------------------------------------------------------------------------------------


def test_no_training_starts_from_an_unsigned_bundle(folder, keys):
    start = load_bundle(folder).manifest.members[0].model.model_copy(update={"weights": f"bundle:{folder}"})
    unsigned = pytest.raises(BundleError, match="must have a signature of the key")
    with signatures_required(keys.public), unsigned:
        build_classifier(start, 2)
    sign(folder, keys.private)
    with signatures_required(keys.public):
        assert build_classifier(start, 2)


def test_the_commands(folder, png, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("verify", folder).stderr == "it has no signature, so that who made it is not known\n"
    assert command("sign", "--new-key", "site.key").stdout.endswith("public key: site.key.pub\n")
    assert command("sign", folder, "--key", "site.key").stdout == f"signature: {folder}/bundle.json.sig\n"
    (folder / "card.md").touch()
    done = command("verify", folder, "--key", "site.key.pub")
    assert (
        done.stdout == f"toy: 4 files are as {folder}/bundle.json describes them\nsigned with site.key.pub\n"
    )
    assert done.stderr == "not part of it, and not verified: card.md\n"
    assert "which was not checked: name the public key" in command("verify", folder).stderr
    command("predict", folder, png, "--require-signature", "site.key.pub")
    command("sign", "--new-key", "other.key")
    refused = command("predict", folder, png, "--require-signature", "other.key.pub", expect=5)
    assert refused.stderr.startswith("BundleError: ")
    command("predict", folder, png)  # the requirement ended with its command
    for words in (
        ("sign",),
        ("sign", folder),
        ("sign", "--key", "a"),
        ("sign", folder, "--key", "a", "--new-key", "b"),
    ):
        assert "give a bundle with --key, or --new-key alone" in command(*words, expect=2).stderr


def test_a_project_requires_signatures(folder, png, tmp_path, thorax, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = new_key("site.key")
    (tmp_path / "thorax.toml").write_text('[paths]\nkey = "site.key.pub"\n')
    refused = thorax("predict", folder, png)
    assert refused.returncode == BundleError.exit_code
    assert "must have a signature of the key site.key.pub" in refused.stderr
    sign(folder, made.private)
    assert thorax("predict", folder, png).returncode == 0
    assert "signed with site.key.pub" in command("verify", folder).stdout


def test_what_is_no_key_is_refused_also_where_no_bundle_is_opened(tmp_path):
    (tmp_path / "key").write_text("no key")
    with pytest.raises(DataError, match="is not a public key in PEM"), signatures_required(tmp_path / "key"):
        pytest.fail("the requirement holds nothing")


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_that_opens_a_bundle_can_require_a_signature(verb, folder, keys):
    group = get_command(_app([verb]))
    names = {option for parameter in getattr(group.commands[verb], "params", []) for option in parameter.opts}
    takes_one = bool(names & {"bundle", "bundles", "models", "path", "paths", "model", "--bundle", "--model"})
    assert ("--require-signature" in names) == (verb in OPENING)
    assert takes_one == (verb in OPENING - {"train"} | {"sign", "verify"})  # `train` names one in a setting
