"""Debian's Orthanc as a program, with the configuration of deploy/; only in a network of its own."""

import io
import json
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pydicom

from tests.helpers.node import program, wait_for

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
DEPLOY = Path(__file__).parents[2] / "deploy"


class Orthanc:
    """A running Orthanc: DICOM on port 4242, REST on 8042."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def start(self):
        config = self.folder / "orthanc.json"
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("Orthanc"), str(config)], stdout=subprocess.DEVNULL, stderr=log
            )
        wait_for(self._answers, seconds=60)

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()[-2000:]
        try:
            return self.get("/system")
        except OSError:
            return None

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:8042{path}", timeout=30) as answer:
            return json.load(answer)

    def file(self, instance):
        with urllib.request.urlopen(f"http://127.0.0.1:8042/instances/{instance}/file", timeout=30) as answer:
            return answer.read()

    def post(self, path, content):
        request = urllib.request.Request(f"http://127.0.0.1:8042{path}", data=content, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def find(self, level, **query):
        """Return what C-FIND's attributes match, in Orthanc's own words."""
        asked = {"Level": level, "Query": query, "Expand": True}
        return self.post("/tools/find", json.dumps(asked).encode())


@contextmanager
def running_orthanc(folder, **settings):
    folder.mkdir()
    config = {
        **json.loads((DEPLOY / "orthanc.json").read_text()),
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "AuthenticationEnabled": False,
        "LuaScripts": [str(DEPLOY / "forward.lua")],
        "DicomModalities": {"thorax": ["THORAX", "127.0.0.1", 11112]},
        "Plugins": [str(PLUGIN)] if PLUGIN.exists() else [],
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    running = Orthanc(folder)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def stored(orthanc):
    """Return all data sets in Orthanc by SOP Instance UID."""
    datasets = {}
    for instance in orthanc.get("/instances"):
        dataset = pydicom.dcmread(io.BytesIO(orthanc.file(instance)))
        assert dataset.SOPInstanceUID not in datasets
        datasets[str(dataset.SOPInstanceUID)] = dataset
    return datasets
