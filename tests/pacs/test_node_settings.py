"""Whom a node serves and which images it predicts: what is refused, and what the rules decide."""

import re
import ssl
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.helpers.certificates import certificate
from tests.helpers.studies import study_file
from thorax.certificates import load_authority, load_certificate
from thorax.errors import DataError, RecipeError, ServiceError
from thorax.pacs.node.peers import is_loopback, read_destinations, read_senders
from thorax.pacs.node.queue import Queue
from thorax.pacs.node.rules import Header, Rule, Rules, header_of, load_rules
from thorax.pacs.node.settings import NodeSettings

FORWARD = ("PACS@127.0.0.1:104",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"forward": ()}, "the results would go nowhere"),
        ({"listen": "0.0.0.0"}, "each of them could send; set `allow`"),
        ({"listen": "0.0.0.0", "allow": ("A@10.0.0.1",)}, "in the clear; set `certificate`"),
        ({"listen": "node.example.org"}, "is not an address"),
        ({"forward": ("PACS@192.0.2.7:104",)}, "results would go to PACS@192.0.2.7:104 in the clear"),
        ({"stow": ("http://192.0.2.7/dicom-web",)}, "in the clear"),
        ({"stow": ("https://user:word@192.0.2.7/dicom-web",)}, "has a name or a password"),
        ({"stow": ("ftp://192.0.2.7",)}, "not the address of a DICOMweb service"),
        ({"forward": ("PACS:104",)}, "does not name a destination"),
        ({"forward": ("PACS@h:104", "PACS@h:104"), "no_tls": True}, "is a destination twice"),
        ({"forward": ("PACS\\X@127.0.0.1:104",)}, "is not an AE title"),
        ({"ae_title": "A" * 17}, "is not an AE title"),
        ({"allow": ("PACS@host.example.org",)}, "does not say who may send"),
        ({"port": 70_000}, "there is no port 70000"),
        ({"associations": 0}, "`associations` is 0"),
        ({"key": "key.pem"}, "is a key without a certificate"),
    ],
)
def test_what_is_not_safe_or_not_sensible_is_refused(tmp_path, settings, message):
    with pytest.raises(ServiceError, match=re.escape(message)):
        _ = NodeSettings(queue=tmp_path, **{"forward": FORWARD, **settings}).senders


def test_the_modes_that_are_meant_are_accepted(tmp_path):
    assert NodeSettings(queue=tmp_path, forward=FORWARD).is_local
    beyond = {"listen": "0.0.0.0", "allow": ("A@10.0.0.0/8",), "forward": ("PACS@192.0.2.7:104",)}
    assert not NodeSettings(queue=tmp_path, no_tls=True, **beyond).is_local
    tls = {**beyond, "forward": (), "forward_tls": ("PACS@192.0.2.7:2762",), "stow": ("https://h/dicom-web",)}
    settings = NodeSettings(queue=tmp_path, certificate=tmp_path / "c.pem", **tls)
    assert [destination.kind for destination in settings.destinations] == ["dimse", "stow"]
    assert all(destination.encrypted for destination in settings.destinations)


def test_senders_are_an_ae_title_at_an_address_or_in_a_network():
    one, many = read_senders(["PACS@192.0.2.7", "CR 1@2001:db8::/32"])
    assert one.at("192.0.2.7")
    assert one.at("::ffff:192.0.2.7")
    assert not one.at("192.0.2.8")
    assert many.ae_title == "CR 1"
    assert many.at("2001:db8::17")
    assert is_loopback("localhost")
    assert is_loopback("127.8.8.8")
    assert not is_loopback("localhost.example.org")
    (six,) = read_destinations(["PACS@[::1]:104"], [], [])
    assert (six.host, six.port) == ("::1", 104)


RULES = """
otherwise = "skip"
held_back = "nothing"

[[rule]]
action = "skip"
view = ["LL"]

[[rule]]
action = "predict"
modality = ["DX", "CR"]
body_part = ["CHEST*", ""]
description = ["*chest*", "*thorax*"]
"""


@pytest.mark.parametrize(
    ("header", "action"),
    [
        (Header("DX", "PA", "CHEST", ("CHEST PA", "", "")), "predict"),
        (Header("CR", "", "", ("", "X-RAY THORAX", "")), "predict"),
        (Header("DX", "LL", "CHEST", ("CHEST LAT", "", "")), "skip"),
        (Header("DX", "PA", "HAND", ("CHEST", "", "")), "skip"),
        (Header("DX", "PA", "CHEST", ("HAND", "", "")), "skip"),
        (Header("MG", "PA", "CHEST", ("CHEST", "", "")), "skip"),
    ],
)
def test_the_first_rule_that_holds_decides(tmp_path, header, action):
    (tmp_path / "rules.toml").write_text(RULES)
    rules = load_rules(tmp_path / "rules.toml")
    assert rules.action_for(header) == action
    assert bool(rules.reason_to_skip(header)) == (action == "skip")
    assert rules.held_back == "nothing"
    assert Rules().action_for(header) == "predict"


def test_what_leaves_an_image_out_is_named_and_an_empty_pattern_is_for_what_is_not_stated():
    lateral, chest = Rule("skip", view=("LL",)), Rule("predict", description=("*CHEST*", ""))
    rules = Rules((lateral, chest), otherwise="skip")
    assert rules.reason_to_skip(Header("DX", "LL", "", ("", "", ""))) == "rule 1 leaves it out"
    assert rules.reason_to_skip(Header("DX", "PA", "", ("", "", ""))) == ""
    assert rules.reason_to_skip(Header("DX", "PA", "", ("", "CHEST PA", ""))) == ""
    unheld = rules.reason_to_skip(Header("DX", "PA", "", ("", "HAND", "")))
    assert unheld == 'no rule holds for it, and otherwise is "skip"'


def test_rules_see_what_the_header_states():
    dataset = pydicom.dcmread(BytesIO(study_file(SeriesDescription="Thorax pa", ViewPosition="RL")))
    assert header_of(dataset) == Header("DX", "LL", "CHEST", ("THORAX PA", "CHEST PA", ""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]]\nview = ['PA']", "rule 1 has no action"),
        ("[[rule]]\naction = 'drop'", "action is 'drop'; set it to predict or skip"),
        ("[[rule]]\naction = 'skip'\nviews = ['PA']", "there is no key 'views'"),
        ("[[rule]]\naction = 'skip'\nview = [1]", "give a list of texts"),
        ("rule = 1", "each rule is a table"),
        ("held_back = 'send'", "set it to report or nothing"),
        ("rule = [", "is not TOML"),
    ],
)
def test_rules_that_say_nothing_sensible_are_refused(tmp_path, text, message):
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_rules(tmp_path / "rules.toml")


def test_what_is_wrong_with_a_certificate_is_said_of_the_right_file(tmp_path):
    (ours, our_key), (_, other_key) = certificate(tmp_path, "ours"), certificate(tmp_path, "other")
    text = tmp_path / "text"
    text.write_text("no certificate")
    for files, message in (
        (
            (tmp_path / "nowhere", our_key),
            "nowhere cannot be read (No such file or directory); set `certificate`",
        ),
        ((ours, tmp_path / "nowhere"), "nowhere cannot be read (No such file or directory); set `key`"),
        ((text, our_key), "text does not hold a certificate; set `certificate`"),
        ((ours, text), "text does not hold the private key of the certificate; set `key`"),
        ((ours, None), "does not hold the private key of the certificate; set `key`"),
        ((ours, other_key), f"the key in {other_key} is not that of the certificate in {ours}; set `key`"),
    ):
        with pytest.raises(ServiceError, match=re.escape(message)):
            load_certificate(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), *files)
    with pytest.raises(ServiceError, match="text does not hold a certificate; set `authority`"):
        load_authority(ssl.create_default_context(), text)


def test_a_queue_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is a file; give a folder"):
        Queue(tmp_path / "file")
    with pytest.raises(DataError, match="/proc takes no new file"):
        Queue(Path("/proc/none"))
