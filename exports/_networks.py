"""The networks behind an export, and whether its masks were made with them."""

import json
from collections.abc import Mapping
from typing import Any

from labelfactory.learning.checkpoints import Passport
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.wiring import DATA, read_wiring


def networks_behind(what: str) -> tuple[str, ...]:
    """Folders of the networks that have a part in masks or predictions, in the order of the line."""
    wiring = read_wiring()
    maker = wiring.masks if what == "masks" else wiring.model
    names = (*wiring.upstream(maker.name), maker.name)
    return tuple(wiring[name].noun for name in names if wiring[name].meta.kind == "network")


def checkpoints(what: str, passports: Mapping[str, Passport], masks: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the passports of the networks behind an export say.

    Args:
        what: "masks" or "predictions".
        passports: by network; of predictions, that of the model is of the weights which made them.
        masks: image id → digest of each mask that was exported.

    Returns:
        By network. `made_them`: whether the masks or predictions were made with these weights; None where the rows between them
        and a network were made again or are gone.
    """
    named = _named(masks)[0] if what == "masks" else _named_by_model(passports)
    return {
        noun: {
            "weights_digest": passport.weights_digest,
            "made_them": named[noun] == {passport.weights_digest} if named.get(noun) else None,
            "training_rows_digest": passport.training_rows_digest,
            "params_digest": passport.params_digest,
            "commit": passport.git_commit,
            "seed": passport.seed,
            "supervision": passport.supervision,
        }
        for noun, passport in passports.items()
    }


def params_digests(what: str, masks: Mapping[str, str]) -> dict[str, list[str] | None]:
    """Stage of rows behind the masks (image id → digest) → digests of the sections of params.yaml that their rows were made with.

    None where the rows between were made again or are gone; empty for predictions, whose model has `params_digest`.
    """
    if what != "masks":
        return {}
    wiring = read_wiring()
    _, made_with = _named(masks)
    makers = {noun: maker.name for noun in made_with if (maker := wiring.maker(noun)) is not None}
    return {makers[noun]: None if digests is None else sorted(digests) for noun, digests in made_with.items()}


def _named(masks: Mapping[str, str]) -> tuple[dict[str, set[str]], dict[str, set[str] | None]]:
    """What masks and the rows behind them were made with: weights by network, params by output.

    Where a row is lost, as where a run has made it again since, there is no such network, and None for params.
    """
    wiring = read_wiring()
    nouns = (wiring.masks.noun, *reversed(wiring.rows_behind(wiring.masks.noun)))
    wanted = {noun: dict[str, str]() for noun in nouns}
    wanted[wiring.masks.noun] = dict(masks)
    named = {noun: set[str]() for noun in wiring.networks}
    made_with: dict[str, set[str] | None] = {noun: set() for noun in nouns}
    lost: set[str] = set()
    for noun in nouns:
        rows = _rows(noun)
        for image_id, digest in wanted[noun].items():
            found, inputs = rows.get(image_id, ("", ""))
            if found != digest:
                lost |= _networks_of(noun)  # the row that the next one was made from is no longer there
                made_with |= dict.fromkeys((noun, *wiring.rows_behind(noun)))
                continue
            for name, value in json.loads(inputs).items():
                if name in named:
                    named[name].add(value)
                if name == "params" and (digests := made_with[noun]) is not None:
                    digests.add(value)
                if name in wanted:
                    wanted[name][image_id] = value
    return {noun: digests for noun, digests in named.items() if noun not in lost}, made_with


def _rows(noun: str) -> dict[str, tuple[str, str]]:
    """Image id → digest and inputs of its row, of one reading: a run may replace the shard before the next."""
    folder = ShardFolder(DATA / noun)
    tables = (folder.table(shard, columns=["image_id", "digest", "inputs"]) for shard in folder.shards())
    rows = (row for table in tables if table is not None for row in table.to_pylist())
    return {row["image_id"]: (row["digest"], row["inputs"]) for row in rows}


def _networks_of(noun: str) -> set[str]:
    """The networks that the rows of an output are made with."""
    wiring = read_wiring()
    maker = wiring.maker(noun)
    stages = [wiring[name] for name in wiring.upstream(maker.name)] if maker else []
    return {stage.noun for stage in stages if stage.meta.kind == "network"}


def _named_by_model(passports: Mapping[str, Passport]) -> dict[str, set[str]]:
    """Network → digest of its weights: of the model that predicts, and of the networks that its passport names."""
    noun = read_wiring().model.noun
    model = passports.get(noun)
    return (
        {}
        if model is None
        else {name: {digest} for name, digest in {**model.parents, noun: model.weights_digest}.items()}
    )
