"""The networks behind an export, and whether its masks were made with those that are on disk."""

import json
from collections.abc import Iterable
from typing import Any

from labelfactory.learning.checkpoints import CHECKPOINT, Passport, read_passport
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import DATA, read_wiring


def networks_behind(what: str) -> tuple[str, ...]:
    """Folders of the networks that have a part in masks or predictions, in the order of the line."""
    wiring = read_wiring()
    maker = wiring.masks if what == "masks" else wiring.model
    names = (*wiring.upstream(maker.name), maker.name)
    return tuple(wiring[name].noun for name in names if wiring[name].meta.kind == "network")


def checkpoints(what: str, image_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the passports on disk say of the networks behind an export.

    `made_them`: whether the masks or predictions were made with these weights; None where the rows between them and a network
    were made again or are gone.
    """
    passports = {
        noun: read_passport(path) for noun in networks_behind(what) if (path := DATA / noun / CHECKPOINT).exists()
    }
    named = _named_by_rows(image_ids) if what == "masks" else _named_by_passports(passports)
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


def params_digests(what: str, image_ids: Iterable[str]) -> dict[str, list[str] | None]:
    """Stage of rows behind the masks → digests of the sections of params.yaml that their rows were made with.

    None where the rows between were made again or are gone; empty for predictions, whose model has `params_digest`.
    """
    if what != "masks":
        return {}
    wiring = read_wiring()
    _, made_with = _named(image_ids)
    makers = {noun: maker.name for noun in made_with if (maker := wiring.maker(noun)) is not None}
    return {makers[noun]: None if digests is None else sorted(digests) for noun, digests in made_with.items()}


def _named_by_rows(image_ids: Iterable[str]) -> dict[str, set[str]]:
    """Network → digests of its weights in the inputs of these masks and of the rows behind them; none where a row is lost."""
    return _named(image_ids)[0]


def _named(image_ids: Iterable[str]) -> tuple[dict[str, set[str]], dict[str, set[str] | None]]:
    """What masks and the rows behind them were made with: weights by network, params by output; None where a row is lost."""
    wiring = read_wiring()
    masks = RowReader(DATA / wiring.masks.noun)
    nouns = (wiring.masks.noun, *reversed(wiring.rows_behind(wiring.masks.noun)))
    wanted = {noun: dict[str, str]() for noun in nouns}
    wanted[wiring.masks.noun] = {image_id: masks.states[image_id].digest for image_id in image_ids}
    named = {noun: set[str]() for noun in wiring.networks}
    made_with: dict[str, set[str] | None] = {noun: set() for noun in nouns}
    lost: set[str] = set()
    for noun in nouns:
        reader = RowReader(DATA / noun)
        inputs = reader.values("inputs")
        for image_id, digest in wanted[noun].items():
            if image_id not in inputs or reader.states[image_id].digest != digest:
                lost |= _networks_of(noun)  # the row that the next one was made from is no longer there
                made_with |= dict.fromkeys((noun, *wiring.rows_behind(noun)))
                continue
            for name, value in json.loads(inputs[image_id]).items():
                if name in named:
                    named[name].add(value)
                if name == "params" and (digests := made_with[noun]) is not None:
                    digests.add(value)
                if name in wanted:
                    wanted[name][image_id] = value
    return {noun: digests for noun, digests in named.items() if noun not in lost}, made_with


def _networks_of(noun: str) -> set[str]:
    """The networks that the rows of an output are made with."""
    wiring = read_wiring()
    maker = wiring.maker(noun)
    stages = [wiring[name] for name in wiring.upstream(maker.name)] if maker else []
    return {stage.noun for stage in stages if stage.meta.kind == "network"}


def _named_by_passports(passports: dict[str, Passport]) -> dict[str, set[str]]:
    """Network → digest of its weights: of the model that predicts, and of the networks that its passport names."""
    model = passports.get(read_wiring().model.noun)
    if model is None:
        return {}
    return {
        noun: {digest} for noun, digest in {**model.parents, read_wiring().model.noun: model.weights_digest}.items()
    }
