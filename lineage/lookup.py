"""Queries of the ledger through DuckDB: by image, by mask, by model."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from labelfactory.errors import MissingError, UserError, did_you_mean, first_line
from labelfactory.learning.checkpoints import Passport, training_digest
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.output_state import passport_of
from lineage.evaluation import MEASURED, Evaluation, evaluation_of
from lineage.index import KINDS, QUALITY, fresh_index, open_index, rebuilt_index, rows_digest_sql
from lineage.ledger import ROW_COLUMNS, Ledger
from lineage.makers import maker_of

T = TypeVar("T")

OF_MODEL = "sequence IN (SELECT sequence FROM model_files WHERE model = ?)"
"""A training file holds the rows of one model, and lies together in the index."""
MASKS_OF_MODEL = f"""SELECT m.* FROM (SELECT * FROM training WHERE {OF_MODEL}) t
    JOIN masks m ON t.image_id = m.image_id AND t.digest = m.digest AND t.key = m.key"""
LEAST = 6
"""Digits of a digest that are enough to name a model."""


@dataclass(frozen=True)
class Model:
    """A model that the ledger knows.

    Attributes:
        digest: names it: of its weights; where another training ended with the same ones before, `training_digest`.
        run: the execution that made it; empty where it is not known.
    """

    digest: str
    name: str
    version: int
    run: str
    passport: Passport
    time: Any

    @property
    def weights(self) -> str:
        """The digest of its weights, by which passports name it."""
        return self.passport.weights_digest

    @property
    def label(self) -> str:
        """How people name it: segmenter 3."""
        return f"{self.name} {self.version}"


class Lookup:
    """The ledger, opened for questions."""

    def __init__(self, ledger: Ledger | None = None, *, fresh: bool = False) -> None:
        self.ledger, self.fresh = ledger or Ledger(), fresh
        self._behind: dict[str, dict[str, str]] = {}

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The index; with `fresh`, one that is made anew from the chain's files."""
        return fresh_index(self.ledger) if self.fresh else open_index(self.ledger)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a query, digests as 64 hex digits."""
        result = self._guarded(lambda: self.connection.execute(query, list(values)))
        names = [column[0] for column in result.description]
        return [{n: _plain(n, v) for n, v in zip(names, row, strict=True)} for row in result.fetchall()]

    def _guarded(self, question: Callable[[], T]) -> T:
        try:
            try:
                return question()
            except duckdb.Error:
                if self.fresh:
                    raise
                self.connection = rebuilt_index(self.ledger)  # a damaged index; a second error is the chain's
                return question()
        except (duckdb.Error, OSError) as error:
            reason = f"{self.ledger.folder}: {first_line(error)}"
            raise UserError(reason, "Type `labelfactory audit verify`.") from None

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """What happened, in order."""
        return self.ledger.events("model", "execution", "line", "evaluation", "level", "promoted", "withdrawn")

    @cached_property
    def models(self) -> dict[str, Model]:
        """Every model by the digest that names it, oldest first."""
        models = {}
        for event in self.events:
            if event["event"] == "model":
                digest, detail = event["subject"], event["detail"]
                passport = Passport.model_validate(detail["passport"])
                run = maker_of(self.executions.items(), digest, passport, detail["run"])
                models[digest] = Model(digest, detail["name"], detail["version"], run, passport, event["time"])
        return models

    @cached_property
    def executions(self) -> dict[str, dict[str, Any]]:
        """What is known of every execution by its id, in the ledger's order."""
        return {event["subject"]: event["detail"] for event in self.events if event["event"] == "execution"}

    def network(
        self, name: str, weights: str, time: Any, classes: Sequence[str] = (), kinds: Collection[str] = ()
    ) -> Model | None:
        """The version of a network that had these weights at a time; None where none is recorded.

        Of several with the same weights the last one before that time, among those with these classes, and of these among
        those that saw nothing but these kinds of labels, if there are any.

        Args:
            name: of the network.
            weights: their digest, by which passports and rows name it.
            time: when the network was used.
            classes: of what was made with it, if they are known.
            kinds: of labels that what was made with it saw, this network included; empty if they are not known.
        """
        same = [model for model in self.models.values() if (model.name, model.weights) == (name, weights)]
        same = [model for model in same if model.passport.classes == list(classes)] or same
        same = [model for model in same if set(model.passport.supervision) <= set(kinds)] or same
        earlier = [model for model in same if model.time <= time]
        return next(iter(earlier[-1:] or same), None)

    def parents(self, model: Model) -> dict[str, Model | None]:
        """The networks that a model started or learnt from, by name; None for one that is not recorded."""
        passport = model.passport
        own = model.time, passport.classes, passport.supervision
        return {name: self.network(name, weights, *own) for name, weights in passport.parents.items()}

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """Every evaluation, in the ledger's order."""
        details = (event["detail"] for event in self.events if event["event"] == "evaluation")
        evaluations = [evaluation_of(detail["figures"], detail[MEASURED]) for detail in details]
        return [each if each.classes else replace(each, classes=self._classes_of(each)) for each in evaluations]

    def _classes_of(self, evaluation: Evaluation) -> tuple[str, ...]:
        """The classes by which an evaluation scored that does not say them: those of the first version of its networks.

        Where it has figures of other classes, these are all that is known.
        """
        scored = (m for m in self.models.values() if evaluation.measured.get(m.name) == m.weights)
        classes = next((tuple(model.passport.classes) for model in scored), ())
        named = {key.split("/", 3)[3] for key in evaluation.figures if key.startswith("iou/") and key.count("/") > 2}
        others = named.difference(classes, ("background",))
        return tuple(sorted(named)) if classes and others else classes

    def versions(self, name: str = "") -> list[Model]:
        """All models of a network, oldest first; by default of the one that people use."""
        name = name or read_wiring().model.noun
        return [model for model in self.models.values() if model.name == name]

    def on_disk(self, name: str = "") -> Model | None:
        """The model of a network that data/ holds, by default of the one that people use; None if it is not recorded.

        It is not always the newest: the models of a sweep have versions too, and data/ may hold an older one again.
        """
        name = name or read_wiring().model.noun
        return self.of(name, passport_of(name))

    def of(self, name: str, passport: Passport | None) -> Model | None:
        """The model of a network that came out of the training of this passport; None if it is not recorded."""
        training = passport and training_digest(passport)
        return next((m for m in self.versions(name) if training_digest(m.passport) == training), None)

    def aliases(self) -> dict[str, str]:
        """Alias → digest of the model that has it: `latest`, which data/ holds, and `champion` if one was promoted."""
        latest = self.on_disk()
        promoted = {e["detail"]["alias"]: e["detail"]["model"] for e in self.events if e["event"] == "promoted"}
        return ({"latest": latest.digest} if latest else {}) | promoted

    def withdrawn(self) -> dict[str, str]:
        """Withdrawn images: image_id → digest of the photograph, empty where it is not known."""
        photographs: dict[str, str] = {}
        for event in self.events:
            if event["event"] == "withdrawn":
                photographs |= dict.fromkeys(event["detail"]["images"], "") | event["detail"]["photographs"]
        return photographs

    def withdrawn_models(self) -> dict[str, list[str]]:
        """Digest of a model → images whose withdrawal marked it."""
        images: dict[str, list[str]] = {}
        for event in self.events:
            if event["event"] == "withdrawn":
                for digest in event["detail"]["models"]:
                    images.setdefault(digest, []).extend(event["detail"]["images"])
        return images

    def model(self, text: str) -> Model:
        """The model that a text names: segmenter, segmenter@3, 3, latest, champion, or the digits of its digest.

        Raises:
            MissingError: no such model, or more than one.
        """
        name, _, version = text.partition("@")
        usual = read_wiring().model.noun
        if name.isdigit() and not version:
            name, version = usual, name
        aliases, names = self.aliases(), {m.name for m in self.models.values()}
        if text in aliases:
            return self.models[aliases[text]]
        if name in names:
            if version in aliases and self.models[aliases[version]].name == name:
                return self.models[aliases[version]]
            same, held = self.versions(name), self.on_disk(name)
            matches = [m for m in same if str(m.version) == version] if version else [held] if held else []
        else:
            matches = [m for d, m in self.models.items() if len(text) >= LEAST and d.startswith(text.lower())]
        if len(matches) != 1:
            known = [*aliases, *(f"{m.name}@{m.version}" for m in self.models.values())]
            problem = "more than one model" if matches else f"no model{did_you_mean(text, known)}"
            if "latest" in (text, version) or text in names:
                problem = f"no model: data/{name if name in names else usual} holds none that is recorded"
            models = list(self.models.values())
            newest = (self.versions(name if name in names else usual) or models)[-1:]
            example = f"Name one as {newest[0].name}@{newest[0].version}" if newest else "Type `labelfactory run`"
            raise MissingError(f"{text!r} is {problem}", f"{example}, or type `labelfactory record` first.")
        return matches[0]

    def training(self, model: str) -> pa.Table:
        """The rows that a model learnt from: image_id, digest, source, image, tags, key; digests are 32 bytes."""
        query = f"SELECT image_id, digest, source, image, tags, key FROM training WHERE {OF_MODEL} ORDER BY image_id"
        return self._guarded(lambda: self.connection.sql(query, params=[bytes.fromhex(model)]).to_arrow_table())

    def training_summary(self, model: str) -> list[dict[str, Any]]:
        """The same by source: how many rows, and the quality of those that are masks of the line."""
        means = ", ".join(f"avg({name}) AS {name}, min({name}) AS least_{name}" for name in QUALITY)
        return self.rows(
            f"SELECT source, count(*) AS rows, {means} FROM training WHERE {OF_MODEL} GROUP BY source ORDER BY source",
            [bytes.fromhex(model)],
        )

    def rows_behind(self, model: str) -> dict[str, str]:
        """The rows that a model's masks were made from: noun → digest of all rows. Kept, since no later run changes it."""
        if model not in self._behind:
            columns = ", ".join(
                f"{rows_digest_sql('image_id', f'lower(hex({c}))')} AS {c}" for c in ROW_COLUMNS.values()
            )
            (row,) = self.rows(f"SELECT {columns} FROM ({MASKS_OF_MODEL})", [bytes.fromhex(model)])
            self._behind[model] = {noun: row[column] for noun, column in ROW_COLUMNS.items() if row[column]}
        return self._behind[model]

    def recipes(self, model: str) -> list[dict[str, dict[str, str]]]:
        """What a model's masks were made with, each once: noun of a row output → name of an input → digest."""
        rows = self.rows(f"SELECT DISTINCT recipe FROM ({MASKS_OF_MODEL}) ORDER BY recipe", [bytes.fromhex(model)])
        return [json.loads(row["recipe"]) for row in rows]

    def masks(self, image_id: str) -> list[dict[str, Any]]:
        """Every mask that an image ever had, oldest first, numbered from 1."""
        masks = self.rows("SELECT * FROM masks WHERE image_id = ? ORDER BY time, sequence", [image_id])
        return [{"version": number, **row} for number, row in enumerate(masks, 1)]

    def ids_of(self, photographs: Collection[str]) -> list[str]:
        """Images that ever had one of these photographs, by its digest."""
        return sorted({image_id for image_id, _ in self._shown("image", map(bytes.fromhex, photographs))})

    def photographs_of(self, image_ids: Collection[str]) -> set[str]:
        """Digest of every photograph that these images ever had."""
        return {photograph for _, photograph in self._shown("image_id", image_ids)}

    def _shown(self, column: str, values: Iterable[Any]) -> set[tuple[str, str]]:
        """Image and digest of its photograph, of every time, where a column has one of these values."""
        wanted = list(values)
        places = ", ".join("?" * len(wanted))
        query = " UNION ".join(
            f"SELECT image_id, image FROM {kind} WHERE image IS NOT NULL AND {column} IN ({places})" for kind in KINDS
        )
        rows = self.rows(query, wanted * len(KINDS)) if wanted else []
        return {(row["image_id"], row["image"]) for row in rows}

    def true_masks_of(self, photographs: Collection[str]) -> set[str]:
        """Digest of the file of every true mask that these photographs ever had, under any id."""
        raw = [bytes.fromhex(digest) for digest in photographs]
        query = f"SELECT DISTINCT mask FROM images WHERE mask IS NOT NULL AND image IN ({', '.join('?' * len(raw))})"
        return {row["mask"] for row in self.rows(query, raw)} if raw else set()

    def masks_of_others(self, masks: Collection[str], photographs: Collection[str]) -> set[str]:
        """Those of some true masks that any other photograph ever had: empty ones, for instance, are alike."""
        own = [bytes.fromhex(digest) for digest in photographs]
        query = (
            f"SELECT DISTINCT mask FROM images WHERE mask IS NOT NULL AND image NOT IN ({', '.join('?' * len(own))})"
        )
        return {row["mask"] for row in self.rows(query, own)}.intersection(masks) if own else set(masks)

    def users(self, image_ids: Iterable[str], photographs: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Every model that learnt from these images, or from these photographs under any id: image_id, digest, source, model,
        run, time."""
        ids, raw = list(image_ids), [bytes.fromhex(digest) for digest in photographs]
        return self.rows(
            f"""SELECT image_id, digest, key, source, model, run, time FROM training
            WHERE image_id IN ({", ".join("?" * len(ids))}) OR image IN ({", ".join("?" * len(raw))})
            ORDER BY time, model, image_id""",
            [*ids, *raw],
        )

    def masks_of(self, photographs: Collection[str]) -> list[dict[str, Any]]:
        """Every mask that these photographs ever had, under any id, oldest first."""
        raw = [bytes.fromhex(digest) for digest in sorted(photographs)]
        query = f"SELECT * FROM masks WHERE image IN ({', '.join('?' * len(raw))}) ORDER BY time, sequence, image_id"
        return self.rows(query, raw) if raw else []


def open_ledger(ledger: Ledger | None = None) -> Lookup:
    """The ledger for questions.

    Raises:
        MissingError: nothing was ever recorded.
    """
    ledger = ledger or Ledger()
    if all(file.kind == "images" for file in ledger.files()):  # an import alone
        raise MissingError(f"{ledger.folder}: nothing is recorded yet", "Type `labelfactory run`.")
    return Lookup(ledger)


def _plain(name: str, value: Any) -> Any:
    if name == "time" and value is not None:
        return datetime.fromtimestamp(value / 1000, tz=UTC)
    return value.hex() if isinstance(value, bytes) else value


def quality_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of quality that a row has."""
    return {name: round(float(row[name]), 4) for name in QUALITY if row.get(name) is not None}
