"""The ledger for other tools: OpenLineage events and a PROV-JSON document.

Sources  OpenLineage 2-0-2, https://openlineage.io/spec/2-0-2/OpenLineage.json (RunEvent); facets ParentRunFacet 1-1-0 and
         DatasetVersionDatasetFacet 1-0-1. PROV-JSON, https://www.w3.org/submissions/prov-json/ (W3C submission, 2013).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from labelfactory.destinations import blank_seal, refuse_folder, write_sealed
from labelfactory.files import make_folder, remove_leftovers
from lineage.lookup import Lookup

PRODUCER = "urn:labelfactory:lineage"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PREFIX = "urn:labelfactory:"
COMMAND = "labelfactory export-lineage"
REMEDY = "Name another folder."
FACETS = "https://openlineage.io/spec/facets"
NAMESPACE = "labelfactory"

Json = dict[str, Any]


def export_lineage(lookup: Lookup, folder: Path) -> list[Path]:
    """Write openlineage.jsonl (one event a line, in order of time) and prov.json into a folder.

    Raises:
        DataError: the folder belongs to the project, or has files of these names that are not of an earlier call, or were
            changed since.
    """
    events, prov = folder / "openlineage.jsonl", folder / "prov.json"
    refuse_folder(folder, (events.name, prov.name), COMMAND, REMEDY)
    make_folder(folder)
    remove_leftovers(folder, [events.name, prov.name], alone=False)
    lines = sorted(openlineage(lookup), key=lambda e: str(e["eventTime"]))
    with write_sealed(events, COMMAND, REMEDY) as temporary:
        temporary.write_text("".join(json.dumps(event) + "\n" for event in _sealed(lines)), encoding="utf-8")
    with write_sealed(prov, COMMAND, REMEDY) as temporary:
        document = prov_json(lookup)
        document["entity"]["lf:this-document"] = {"prov:label": "this document", "lf:seal": blank_seal(COMMAND)}
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [events, prov]


def _sealed(events: list[Json]) -> Iterator[Json]:
    """The events, the first with a facet of ours for the seal of their file."""
    for event in events[:1]:
        facet = {"_producer": PRODUCER, "_schemaURL": f"{PREFIX}seal", "seal": blank_seal(COMMAND)}
        yield {**event, "run": {**event["run"], "facets": {**event["run"]["facets"], "labelfactory_seal": facet}}}
    yield from events[1:]


def run_id(identity: str) -> str:
    """The UUID of an execution: the first half of its digest, marked as version 8 (RFC 9562: free of meaning)."""
    return str(UUID(bytes=_version_8(bytes.fromhex(identity)[:16])))


def _version_8(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[6] = changed[6] & 0x0F | 0x80
    changed[8] = changed[8] & 0x3F | 0x80
    return bytes(changed)


def _executions(lookup: Lookup) -> Iterator[tuple[str, Json]]:
    for event in lookup.events:
        if event["event"] == "execution":
            yield event["subject"], event["detail"]


def openlineage(lookup: Lookup) -> Iterator[Json]:
    """A START and a COMPLETE event for each execution."""
    for identity, detail in _executions(lookup):
        parent = {
            **_facet("1-1-0/ParentRunFacet.json#/$defs/ParentRunFacet"),
            "run": {"runId": run_id(detail["line"])},
            "job": {"namespace": NAMESPACE, "name": "line"},
        }
        common = {
            "run": {"runId": run_id(identity), "facets": {"parent": parent}},
            "job": {"namespace": NAMESPACE, "name": detail["stage"]},
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
        }
        inputs = [_dataset(state) for state in detail["inputs"]]
        outputs = [_dataset(detail["output"])] if detail["output"] else []
        for kind, time, results in (("START", detail["started"], []), ("COMPLETE", detail["ended"], outputs)):
            yield {"eventType": kind, "eventTime": time, **common, "inputs": inputs, "outputs": results}


def _facet(schema: str) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}/{schema}"}


def _dataset(state: Mapping[str, Any]) -> Json:
    version = {
        **_facet("1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"),
        "datasetVersion": state["digest"],
    }
    return {"namespace": NAMESPACE, "name": f"data/{state['name']}", "facets": {"version": version}}


def prov_json(lookup: Lookup) -> Json:
    """Outputs and models as entities, executions as activities, hosts as agents."""
    document: Json = {
        "prefix": {"lf": PREFIX, "xsd": "http://www.w3.org/2001/XMLSchema#"},
        **{part: {} for part in ("entity", "activity", "agent")},
        **{part: {} for part in ("used", "wasGeneratedBy", "wasAssociatedWith", "wasDerivedFrom")},
    }

    def entity(name: str, digest: str, **more: str) -> str:
        known = f"lf:{name}-{digest}"
        document["entity"].setdefault(known, {"prov:label": name, "lf:digest": digest}).update(more)
        return known

    for identity, detail in _executions(lookup):
        activity, host = f"lf:run-{identity}", f"lf:host-{detail['tags']['host']}"
        document["activity"][activity] = {
            "prov:startTime": detail["started"],
            "prov:endTime": detail["ended"],
            "prov:label": detail["stage"],
            "lf:code": detail["tags"]["code"],
            "lf:commit": detail["tags"]["git_commit"],
        }
        document["agent"][host] = {"prov:type": "prov:SoftwareAgent", "prov:label": "labelfactory"}
        document["wasAssociatedWith"][f"_:a{identity}"] = {"prov:activity": activity, "prov:agent": host}
        for state in detail["inputs"]:
            used = entity(state["name"], state["digest"])
            document["used"][f"_:u{identity}-{state['name']}"] = {"prov:activity": activity, "prov:entity": used}
        if detail["output"]:
            output = entity(detail["output"]["name"], detail["output"]["digest"])
            document["wasGeneratedBy"][f"_:g{identity}"] = {"prov:entity": output, "prov:activity": activity}
    _models(lookup, document, entity)
    return document


def _models(lookup: Lookup, document: Json, entity: Any) -> None:
    """Networks by their weights: one entity for all versions that have the same, with the number of each."""
    versions: dict[tuple[str, str], list[str]] = {}
    for model in lookup.models.values():
        versions.setdefault((model.name, model.weights), []).append(str(model.version))
    for digest, model in lookup.models.items():
        entity_of_model = entity(
            model.name,
            model.weights,
            **{"prov:type": "lf:model", "lf:version": " ".join(versions[model.name, model.weights])},
        )
        for name, weights in model.passport.parents.items():
            parent = entity(name, weights)
            relation = {"prov:generatedEntity": entity_of_model, "prov:usedEntity": parent}
            document["wasDerivedFrom"][f"_:d{digest}-{name}"] = relation
