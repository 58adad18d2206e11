"""Audits of a mask: which one data/ holds, the chain behind each, and every model that learnt from the image."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.prepared import read_dataset
from labelfactory.errors import DataError, MissingError, UserError, did_you_mean
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.wiring import DATA, read_wiring
from lineage.audit import Answer
from lineage.ledger import ROW_COLUMNS
from lineage.lookup import Lookup, quality_of


@dataclass(frozen=True)
class MaskInData:
    """The mask that data/ holds of an image.

    Attributes:
        digest, key: of its row; empty where data/ holds no usable mask of the image.
        problem: why the row could not be read; empty if it could.
    """

    digest: str = ""
    key: str = ""
    problem: str = ""

    def version(self, masks: Iterable[Answer]) -> int | None:
        """Its number among the recorded masks of the image; None if it is none of them."""
        return next((m["version"] for m in masks if (m["digest"], m["key"]) == (self.digest, self.key)), None)

    @property
    def why_not(self) -> str:
        """Why no recorded mask is known to be this one."""
        folder = DATA / read_wiring().masks.noun
        if self.problem:
            return f"which mask {folder} holds is not known ({self.problem})"
        return f"the mask in {folder} is not recorded" if self.digest else f"{folder} holds no mask of this image"


def mask_in_data(image_id: str) -> MaskInData:
    """The row of an image in data/masks, whatever the data set says of it now."""
    folder = ShardFolder(DATA / read_wiring().masks.noun)
    try:
        for shard in folder.shards():
            row = folder.states(shard).get(image_id)
            if row is not None and row.status == "ok":
                return MaskInData(row.digest, row.key)
    except DataError as error:
        return MaskInData(problem=error.problem)
    return MaskInData()


def audit_mask(lookup: Lookup, image_id: str, version: int | None = None, *, held: MaskInData | None = None) -> Answer:
    """The chain behind a mask, and every model that ever learnt from the image.

    Args:
        lookup: the ledger.
        image_id: of the image.
        version: number of the mask, from 1; by default the mask in data/, and the newest where that is not recorded.
        held: the mask in data/; by default it is read.

    Returns:
        `in_data` is the version that data/ holds, None where that is none. A `note` says why the newest is answered instead.

    Raises:
        MissingError: the ledger knows no such image or version.
    """
    masks, users = lookup.masks(image_id), lookup.users([image_id])
    if not masks and not users:
        raise MissingError(f"the ledger knows no image {image_id!r}{_near(image_id)}", "Type `labelfactory record`.")
    held = held or mask_in_data(image_id)
    in_data = held.version(masks)
    number = (in_data or len(masks) or None) if version is None else version
    chosen = None if number is None else _version(masks, image_id, number)
    answer: Answer = {
        "image_id": image_id,
        "withdrawn": image_id in lookup.withdrawn(),
        "in_data": in_data,
        "versions": [_line_of(mask, masks, in_data) for mask in masks],
        "models": [_user(lookup, user, masks, chosen) for user in users],
    }
    if masks and version is None and in_data is None:
        answer["note"] = f"{held.why_not}: this is the newest recorded mask"
    return answer | ({"version": chosen["version"], "chain": steps(lookup, chosen)} if chosen else {"chain": []})


def _version(masks: list[Answer], image_id: str, version: int) -> Answer:
    if not 1 <= version <= len(masks):
        raise MissingError(f"{image_id} has {len(masks)} masks, no version {version}", "Leave --version out.")
    return masks[version - 1]


def _near(image_id: str) -> str:
    try:
        known = [r.image_id for r in read_dataset(DATA / "dataset" / "images.parquet").records]
    except UserError:
        return ""
    if image_id in known:
        return ", which the data set has: it has had no mask, and no model learnt from it"
    near = did_you_mean(image_id, known)
    return near if "did you mean" in near else ""


def _line_of(mask: Mapping[str, Any], masks: Iterable[Mapping[str, Any]], in_data: int | None) -> Answer:
    first = next(other["version"] for other in masks if other["digest"] == mask["digest"])
    return {
        "version": mask["version"],
        **({"in_data": True} if mask["version"] == in_data else {}),
        "digest": mask["digest"],
        **({"same_as_version": first} if first != mask["version"] else {}),
        "source": mask["source"],
        "time": mask["time"].isoformat(),
        **quality_of(mask),
    }


def _user(
    lookup: Lookup, user: Mapping[str, Any], masks: Iterable[Mapping[str, Any]], chosen: Mapping[str, Any] | None
) -> Answer:
    model = lookup.models.get(user["model"])
    learnt = next((m for m in masks if (m["digest"], m["key"]) == (user["digest"], user["key"])), None)
    return {
        "model": model.label if model else user["model"],
        "weights": model.weights if model else user["model"],
        "learnt_from": user["source"],
        "digest": user["digest"],
        "version": learnt["version"] if learnt else None,
        "this_version": learnt is not None and learnt is chosen,
        "withdrawn": user["model"] in lookup.withdrawn_models(),
        "time": user["time"].isoformat(),
    }


def steps(lookup: Lookup, mask: Mapping[str, Any]) -> list[Answer]:
    """Photograph, tags, then each network and row output behind a mask in the line's order: digests and what made them."""
    wiring, recipe = read_wiring(), json.loads(mask["recipe"])
    start: list[Answer] = [
        {"step": "photograph", "digest": mask["image"]},
        {"step": "tags", "tags": mask["tags"].split("|") if mask["tags"] else []},
    ]
    made_by = recipe.get(wiring.masks.noun, {})
    end = {"step": f"mask ({mask['source']})", "digest": mask["digest"], "key": mask["key"], "made_by": made_by}
    if mask["source"] == HUMAN:  # drawn over the photograph; nothing that the line made stands behind it
        return [*start, end | quality_of(mask)]
    behind: list[Answer] = []
    for noun in wiring.rows_behind(wiring.masks.noun):
        inputs = recipe.get(noun, {})
        behind += _networks_of(lookup, noun, inputs, mask)
        behind.append({"step": _word(noun), "digest": _row_digest(mask, noun, recipe), "made_by": inputs})
    return [*start, *behind, *_networks_of(lookup, wiring.masks.noun, made_by, mask), end | quality_of(mask)]


def _word(noun: str) -> str:
    maker = read_wiring().maker(noun)
    return maker.word if maker else noun


def _networks_of(lookup: Lookup, noun: str, inputs: Mapping[str, Any], mask: Mapping[str, Any]) -> list[Answer]:
    """The networks that rows were made with; an optional one where the rows name it, others even where no digest is known.

    Of networks with the same weights, the last one before the mask is meant, among those with the classes of its line.
    """
    wiring = read_wiring()
    maker = wiring.maker(noun)
    networks = []
    for network in maker.inputs if maker else ():
        trainer = wiring.maker(network)
        if trainer is None or trainer.meta.kind != "network" or (trainer.meta.optional and network not in inputs):
            continue
        digest = inputs.get(network)
        model = lookup.network(network, digest or "", mask["time"], _classes_at(lookup, mask["run"], trainer.name))
        networks.append({"step": trainer.word, "digest": digest, "model": model.label if model else None})
    return networks


def _classes_at(lookup: Lookup, run: str, stage: str) -> Sequence[str]:
    """The classes of the network that a stage had left in the first line with an execution; none where they are not known."""
    lines = (event["detail"]["stages"] for event in lookup.events if event["event"] == "line")
    stages: dict[str, str] = next((stages for stages in lines if run and run in stages.values()), {})
    return lookup.executions.get(stages.get(stage, ""), {}).get("classes") or ()


def _row_digest(mask: Mapping[str, Any], noun: str, recipe: Mapping[str, Mapping[str, str]]) -> str | None:
    """The digest of a row behind a mask: in the ledger's own column, or among the inputs of the rows made from it."""
    if noun in ROW_COLUMNS:
        digest: str | None = mask[ROW_COLUMNS[noun]]
        return digest
    return next((inputs[noun] for inputs in recipe.values() if noun in inputs), None)
