"""A run that arrives on a real MLflow server."""

import json

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from tests.tracking.conftest import running
from thorax.tracking.service import parse_target


def arrives(row: Row, workshop: Workshop) -> None:
    """Parameters, metrics of each epoch, and the bundle."""
    folder = workshop.folder / "mlflow"
    folder.mkdir()
    small = "--set model.arguments.channels=[8,8,16,16]"
    with running(folder) as server:
        command = row.type[0].replace("http://127.0.0.1:5000", server.uri)
        workshop.run(f"{command} $CUT {small}")
        client = parse_target(f"mlflow:{server.uri}").connect()._client
        number = json.loads((workshop.folder / "runs" / "tracked" / "tracking.json").read_text())["run"]
        run = client.get_run(number)
        files = {file.path for file in client.list_artifacts(number)}
    assert run.info.status == "FINISHED"
    assert {name: run.data.params[name] for name in row.source["parameters"]} == row.source["parameters"]
    assert run.data.metrics.keys() >= set(row.source["metrics"])
    assert files >= {"recipe.toml", "log.jsonl", "bundle"}
