"""What other tools are given validates against their own schemas."""

import json
from importlib.resources import files

import jsonschema
import pytest
from made_line import MadeLine
from openlineage.client import event_v2
from openlineage.client.generated.base import EventType
from prov.model import ProvDocument
from workspace import ROOT

from labelfactory.errors import DataError
from lineage.export import export_lineage
from lineage.lookup import Lookup
from lineage.record import record


@pytest.fixture
def written(tmp_path, monkeypatch) -> tuple[list, dict]:
    """Events and document of a project of two runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    line = MadeLine()
    record()
    line.run(refine_crf="changed")
    record()
    events, prov = export_lineage(Lookup(), tmp_path / "out")
    return [json.loads(text) for text in events.read_text().splitlines()], json.loads(prov.read_text())


@pytest.mark.slow
def test_files_of_other_programs_stay(written, tmp_path):
    """An earlier call's are replaced; of another one's, with the same names, each is named and left, and so is an edited one."""
    export_lineage(Lookup(), tmp_path / "out")
    for name in ("openlineage.jsonl", "prov.json"):
        other = tmp_path / "other" / name
        other.parent.mkdir(exist_ok=True)
        other.write_text('{"mine": 1}')
        with pytest.raises(DataError, match=rf"{name}: was not written by"):
            export_lineage(Lookup(), other.parent)
        assert [path.read_text() for path in other.parent.iterdir()] == ['{"mine": 1}']
        other.unlink()
    for name in ("openlineage.jsonl", "prov.json"):
        ours = tmp_path / "out" / name
        whole = ours.read_text()
        if name == "prov.json":
            document = json.loads(whole)
            document["agent"]["lf:me"] = {"prov:label": "who checked it"}
            ours.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        else:
            ours.write_text(whole + whole.splitlines()[-1] + "\n")
        changed = ours.read_bytes()
        with pytest.raises(DataError, match=rf"{name}: was not written by .* or was changed since"):
            export_lineage(Lookup(), tmp_path / "out")
        assert ours.read_bytes() == changed
        ours.write_text(whole)
    export_lineage(Lookup(), tmp_path / "out")


@pytest.mark.slow
def test_openlineage_events_validate(written):
    """Against the schema written from the specification, and by the project's own client."""
    schema = json.loads((ROOT / "tests/lineage/openlineage_run_event.schema.json").read_text())
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    events, _ = written
    assert len(events) == 2 * 14
    for event in events:
        checker.validate(event)
        event_v2.RunEvent(
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=event_v2.Run(event["run"]["runId"]),
            job=event_v2.Job(event["job"]["namespace"], event["job"]["name"]),
            eventType=EventType(event["eventType"]),
        )
    times = [event["eventTime"] for event in events]
    assert times == sorted(times)
    broken = {**events[0], "run": {"runId": "no uuid"}}
    with pytest.raises(jsonschema.ValidationError):
        checker.validate(broken)


@pytest.mark.slow
def test_prov_json_validates(written):
    """Against the schema of the W3C submission, as the package prov ships it; prov reads it, and the chain is in it."""
    _, document = written
    schema = json.loads((files("prov") / "tests/schemas/prov-json.schema.json").read_text())
    jsonschema.Draft4Validator(schema).validate(document)
    read = ProvDocument.deserialize(content=json.dumps(document), format="json")
    assert len(list(read.get_records())) > 40
    models = [e for e in document["entity"].values() if e.get("prov:type") == "lf:model"]
    assert len(models) == 4
    derived = {(d["prov:generatedEntity"].split("-")[0], d["prov:usedEntity"].split("-")[0])
               for d in document["wasDerivedFrom"].values()}  # fmt: skip
    assert derived == {
        ("lf:affinity", "lf:classifier"),
        ("lf:segmenter", "lf:classifier"),
        ("lf:segmenter", "lf:affinity"),
    }
