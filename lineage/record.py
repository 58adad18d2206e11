"""Record what is on disk: masks, models, executions and the state of the line. The same state twice adds nothing.

The ledger is written first and needs nothing but the disk. Records for MLflow go through the outbox, so that a line
never waits for it. Why afterwards, and what this can miss: docs/decisions/0008-the-record-is-taken-afterwards.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.digests import digest_file, digest_json
from labelfactory.learning.checkpoints import Passport, training_digest
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.wiring import LOCK_FILE, METRICS, read_wiring
from labelfactory.stage.output_state import output_state
from labelfactory.versions import git_state
from lineage.artifacts import Artifact, KnownFiles, cached_artifacts, live_artifacts, measured_by
from lineage.evaluation import MEASURED, evaluation_of
from lineage.executions import Execution, executions
from lineage.ledger import Ledger, events_table
from lineage.ledger_rows import (
    Chains,
    Labels,
    Trained,
    in_order,
    mask_table,
    rows_of,
    trained_models,
    without_known,
)
from lineage.makers import left, made_model, maker_of
from lineage.outbox import Outbox
from lineage.shown_images import new_images

MASK = ["image_id", "digest", "key"]
"""What tells a mask in the ledger from another."""


@dataclass
class Recorded:
    """What was new."""

    masks: int = 0
    models: list[str] = field(default_factory=list)
    training_rows: int = 0
    executions: list[str] = field(default_factory=list)
    bytes: int = 0


def record(extra: Mapping[str, str] | None = None, *, ledger: Ledger | None = None) -> Recorded:
    """Write what is new on disk into the ledger, and letters to MLflow into the outbox.

    Args:
        extra: tags for the run of the line, such as the Prefect flow run that it belongs to.
        ledger: another ledger than data/ledger.
    """
    ledger = ledger or Ledger()
    with ledger.locked():
        return _Recorder(ledger, dict(extra or {})).record()


class _Recorder:
    """One look at the disk, under the ledger's lock."""

    def __init__(self, ledger: Ledger, extra: dict[str, str]) -> None:
        self.ledger, self.extra, self.outbox = ledger, extra, Outbox(ledger.folder / "outbox")
        self.known_files = KnownFiles(ledger.folder / "seen.json")
        self.done, self.now = Recorded(), datetime.now(UTC).replace(microsecond=0)
        happened = ledger.events("execution", "line", "model", "evaluation")
        self.executions = {e["subject"]: e["detail"] for e in happened if e["event"] == "execution"}
        self.lines = {e["subject"] for e in happened if e["event"] == "line"}
        self.models = {e["subject"]: e["detail"] for e in happened if e["event"] == "model"}
        self.evaluations = {e["subject"] for e in happened if e["event"] == "evaluation"}
        self.passports = {name: Passport.model_validate(d["passport"]) for name, d in self.models.items()}
        self.named: dict[str, str] = {training_digest(passport): name for name, passport in self.passports.items()}
        self.current = executions(self.executions)
        self.run_of = {e.stage: e.id for e in self.current}
        self.events: list[tuple[str, str, Mapping[str, Any], Any]] = []

    def record(self) -> Recorded:
        """Look at everything and write what is new."""
        self._append("images", new_images(self.ledger, self.known_files))
        live = list(live_artifacts())
        cached = list(cached_artifacts(self.known_files))
        self._masks(live, cached)
        fresh = self._models([*live, *cached], live)
        self._line()
        for model in fresh:
            self._say_model(model)
        self._evaluations([*live, *cached])
        self._append("events", events_table(self.events))
        self.known_files.keep()
        return self.done

    def _append(self, kind: Any, table: pa.Table) -> int:
        path = self.ledger.append(kind, table)
        self.done.bytes += path.stat().st_size if path else 0
        return int(table.num_rows)

    def _masks(self, live: list[Artifact], cached: list[Artifact]) -> None:
        """Masks that no row of the ledger names yet, wherever they lie."""
        maker = read_wiring().masks
        new = [a for a in live if a.content == maker.noun and self.known_files.is_new(a.path)]
        new = sorted([a for a in cached if a.content == maker.noun], key=lambda a: a.time) + new
        if not new:
            return
        chains, known = Chains(live), self.ledger.read("masks", MASK)
        tables = []
        # what is live first: those rows may have an execution, their copies in the cache have none
        current = next((e for e in self.current if e.stage == maker.name), None)
        live_run = current.id if current and left(current.detail, output_state(maker.noun)) else ""
        for artifact in sorted(new, key=lambda a: not a.live):
            run = live_run if artifact.live else ""
            table = _unknown(rows_of(artifact), known, chains, run, artifact.time)
            known = pa.concat_tables([known, table.select(MASK)])
            tables.append(table)
        self.done.masks = self._append("masks", pa.concat_tables(tables))

    def _models(self, files: list[Artifact], live: list[Artifact]) -> list[Trained]:
        """Models whose training rows the ledger does not hold yet; writes those rows."""
        on_disk = {training_digest(m.passport) for m in trained_models(live)}
        models: dict[str, Trained] = {}
        for model in sorted(map(self._with_time, trained_models(files)), key=in_order):
            training = training_digest(model.passport)  # of two copies of a file the older one, which may be DVC's
            models.setdefault(training, replace(model, live=training in on_disk))
        fresh = sorted((m for training, m in models.items() if training not in self.named), key=in_order)
        if not fresh:
            return []
        labels = Labels(live, self.ledger.read("masks", ["image_id", "digest", "image", "tags", "key"]))
        recorded = {d.hex() for d in self.ledger.read("training", ["model"]).column("model").unique().to_pylist()}
        for model in fresh:
            name = self._name_of(model.passport)
            self.passports[name] = model.passport
            if name not in recorded:
                run = self._run_of(model.passport)
                self.done.training_rows += self._append("training", labels.table(model, name, run))
        return fresh

    def _with_time(self, model: Trained) -> Trained:
        """The model with the time of the first execution that left it, where its file is newer, as one that was pulled."""
        training = training_digest(model.passport)
        details = [*self.executions.values(), *(e.detail for e in self.current)]
        ends = [datetime.fromisoformat(d["ended"]) for d in details if d.get("training") == training]
        return replace(model, time=min([model.time, *(end.replace(microsecond=0) for end in ends)]))

    def _run_of(self, passport: Passport) -> str:
        """The execution that made a model; empty where its stage has not ended, or its report was overwritten."""
        known = [*self.executions.items(), *((e.id, e.detail) for e in self.current if e.id not in self.executions)]
        return maker_of(known, self._name_of(passport), passport)

    def _name_of(self, passport: Passport) -> str:
        return self._name(passport.weights_digest, training_digest(passport))

    def _name(self, weights: str, training: str) -> str:
        """The digest that names a model: of its weights; where another training ended with these before, of the whole training."""
        return self.named.setdefault(training, training if weights in self.named.values() else weights)

    def _say_model(self, model: Trained) -> None:
        passport, digest = model.passport, self._name_of(model.passport)
        version = 1 + sum(known["name"] == model.name for known in self.models.values())
        detail = {
            "name": model.name,
            "version": version,
            "run": self._run_of(passport),
            "listed": model.rows is not None,
            "passport": passport.model_dump(mode="json"),
        }
        self.models[digest] = detail
        self.events.append(("model", digest, detail, model.time))
        self.done.models.append(f"{model.name} {version}")
        self.outbox.put("model", digest, detail, model.files)

    def _evaluations(self, files: list[Artifact]) -> None:
        """Scores with the digests that they belong to, of the line and of sweeps, each file once."""
        run_of = {e.detail.get("scores"): e.id for e in self.current if e.detail.get("scores")}
        for artifact in [a for a in files if a.content == METRICS.name]:
            content, digest = measured_by(artifact.path), digest_file(artifact.path)
            if content and digest not in self.evaluations:
                figures = evaluation_of(content, content[MEASURED]).figures
                detail = {"figures": dict(figures), MEASURED: content[MEASURED], "run": run_of.get(digest, "")}
                self.events.append(("evaluation", digest, detail, artifact.time))
                self.evaluations.add(digest)

    def _line(self) -> None:
        """The state of the line, and the executions in it that are new."""
        line = digest_json(self.run_of)
        if not self.run_of or line in self.lines:
            return
        new = [e for e in self.current if e.id not in self.executions]
        commit, dirty = git_state()
        detail = {
            "stages": self.run_of,
            "executed": [e.stage for e in new],
            "tags": {
                "git_commit": commit or "",
                "git_dirty": str(bool(dirty)).lower(),
                "dvc_lock": digest_file(LOCK_FILE) if LOCK_FILE.exists() else "",
                "params": digest_file(Path(PARAMS_FILE)),
                **self.extra,
            },
        }
        self.outbox.put("line", line, detail)
        for execution in new:
            self._say_execution(execution, line)
        self.events.append(("line", line, detail, self.now))
        self.lines.add(line)

    def _say_execution(self, execution: Execution, line: str) -> None:
        detail = {**execution.detail, "line": line}
        detail["model"] = self._model_left_by(execution.detail)
        self.outbox.put("execution", execution.id, detail)
        self.events.append(("execution", execution.id, detail, datetime.fromisoformat(detail["ended"])))
        self.executions[execution.id] = detail
        self.done.executions.append(execution.stage)

    def _model_left_by(self, detail: Mapping[str, Any]) -> str | None:
        """The digest that names the model that an execution left, None if it left none."""
        weights: str | None = detail["model"]
        if weights and detail["training"]:
            return self._name(weights, detail["training"])
        # the report of an earlier version does not tell trainings with the same weights apart, its parameters may
        fitting = [name for name, passport in self.passports.items() if made_model(detail, name, passport)]
        return fitting[0] if len(fitting) == 1 else weights


def _unknown(rows: list[dict[str, Any]], known: pa.Table, chains: Chains, run: str, time: Any) -> pa.Table:
    """Rows of the ledger for those masks that it does not hold; their chains are looked up for them alone."""
    recorded = set(zip(*(known.column(name).to_pylist() for name in MASK), strict=True))
    fresh = [r for r in rows if (r["image_id"], bytes.fromhex(r["digest"]), bytes.fromhex(r["key"])) not in recorded]
    return without_known(mask_table(fresh, chains, run, time), known, MASK)
