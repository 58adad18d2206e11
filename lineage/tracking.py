"""Letters as MLflow runs, datasets, logged models and aliases. Only this module and `registry.py` import mlflow.

Every run has the tag `labelfactory.id`. A letter that was written only in part is written again from the start; a finished one
is not written twice.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine

from labelfactory.digests import digest_json
from labelfactory.settings.wiring import read_wiring
from lineage.mlflow_forms import milliseconds, mlflow_name, now
from lineage.mlflow_home import HOME, SQLITE
from lineage.outbox import Letter
from lineage.registry import ID, Registry
from lineage.settings_diff import flat

EXPERIMENT = "labelfactory"
PARENT = "mlflow.parentRunId"
RECOVERED = "recovered"
"""Tag of the run of a model whose execution is not known."""
DIGEST_LENGTH = 36
"""MLflow's limit for a dataset's digest."""
CONNECT_SECONDS = 10
BATCH = {"metrics": 1000, "params": 100, "tags": 100}


class Tracking:
    """MLflow, as the letters need it."""

    def __init__(self, uri: str, head: Mapping[str, Any]) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        direct = not uri.startswith("http")  # into the store itself; the models' files then lie in this folder
        if uri.startswith(SQLITE):
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        if uri.startswith("postgresql"):
            _connect_once(uri)
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.head = head
        self.experiment = self._experiment((HOME.resolve() / "artifacts").as_uri() if direct else None)

    @cached_property
    def registered(self) -> str:
        """The name of the model that people use: the only one that is registered."""
        return read_wiring().model.noun

    @cached_property
    def registry(self) -> Registry:
        """Its versions."""
        return Registry(self.client, self.experiment, self.registered)

    def take(self, letter: Letter) -> None:
        """Take one letter, as its kind asks."""
        {
            "line": self._line,
            "execution": self._execution,
            "model": self._model,
            "level": self._level,
            "promoted": self._promoted,
            "withdrawn": self._withdrawn,
            "tournament": self._tournament,
        }[letter.kind](letter)

    def is_empty(self) -> bool:
        """Whether it has no run of a letter at all: a new store, or one that was deleted."""
        runs = self.client.search_runs([self.experiment], f"tags.`{ID}` LIKE '%'", max_results=1)
        return not runs

    def answers(self) -> bool:
        """Whether it takes anything now, tried with a tag: then what failed before is a letter's own fault."""
        try:
            self.client.set_experiment_tag(self.experiment, "ledger.head", str(self.head["digest"]))
        except Exception:  # whatever ails it
            return False
        return True

    def _experiment(self, artifacts: str | None) -> str:
        """The experiment's id; it is made where it is not there, unless another process is a moment faster."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return self.client.create_experiment(EXPERIMENT, artifacts)
        except MlflowException as error:
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
            return str(experiment.experiment_id)

    def _line(self, letter: Letter) -> None:
        detail = letter.detail
        run = self._begin(letter.id, "line", None, {"executed": " ".join(detail["executed"]), **detail["tags"]})
        if run is None:
            return
        linked = {f"run.{stage}": self._find(id) for stage, id in detail["stages"].items()}
        tags = {name: known.info.run_id for name, known in linked.items() if known is not None}
        tags |= {"ledger.head": str(self.head["digest"]), "ledger.sequence": str(self.head["sequence"])}
        self._tag(run, tags)
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def _execution(self, letter: Letter) -> None:
        detail = letter.detail
        parent = self._find(detail["line"])
        tags = {**detail["tags"], **({PARENT: parent.info.run_id} if parent else {})}
        ended = milliseconds(detail["ended"])
        waiting = self._waiting_run(detail["model"]) if self._find(letter.id) is None else None
        run = waiting or self._begin(letter.id, detail["stage"], milliseconds(detail["started"]), tags)
        if run is None:
            return
        if waiting is not None:
            self._tag(run, tags)
        metrics = [(name, value, 0) for name, value in detail["metrics"].items()]
        for point in detail["curve"]:
            step = int(point["epoch"])
            metrics += [(f"curve/{name}", value, step) for name, value in point.items() if name != "epoch"]
        self._log(run, flat(detail["params"]), [Metric(mlflow_name(n), v, ended, s) for n, v, s in metrics])
        self.client.log_inputs(run.info.run_id, [_dataset(i) for i in detail["inputs"] if i["kind"] == "rows"])
        others = {f"input.{i['name']}": i["digest"] for i in detail["inputs"] if i["kind"] != "rows"}
        if detail["output"]:
            others[f"output.{detail['output']['name']}"] = detail["output"]["digest"]
        self._tag(run, others)
        known = self._logged_model(detail["model"]) if detail["model"] else None
        if known is not None and waiting is None:
            self.client.log_outputs(run.info.run_id, [LoggedModelOutput(known.model_id, 0)])
        if parent is not None:
            self._tag(parent, {f"run.{detail['stage']}": run.info.run_id})
        self.client.set_terminated(run.info.run_id, "FINISHED", ended)
        if waiting is not None:  # last: the run of a model alone until now
            self._tag(run, {ID: letter.id})
            self.client.delete_tag(run.info.run_id, RECOVERED)

    def _waiting_run(self, model: str | None) -> Run | None:
        """The run that a model got before its execution was known; it becomes the run of the execution that made it."""
        run = self._find(model or "")
        return run if run is not None and run.data.tags.get(RECOVERED) else None

    def _model(self, letter: Letter) -> None:
        """A checkpoint as a logged model under the run that trained it; the segmenter as a registered version too.

        A model whose execution is not known gets a run of its own, which becomes the execution's when that is recorded.
        """
        detail, passport = letter.detail, letter.detail["passport"]
        logged = self._logged_model(letter.id)
        run = self.client.get_run(logged.source_run_id) if logged and logged.source_run_id else None
        run = (
            run
            or self._find(detail["run"])
            or self._begin(
                letter.id,
                passport["stage"],
                None,
                {"stage": passport["stage"], RECOVERED: "its execution is not known"},
            )
        )
        run = run or self._find(letter.id)
        if run is None:
            raise MlflowException(f"the run of the model {letter.id} is gone")
        model = logged or self._log_model(letter, run)
        if detail["name"] == self.registered:
            self.registry.add(model, run.info.run_id, letter)
        self.client.set_terminated(run.info.run_id, "FINISHED", run.info.end_time)

    def _log_model(self, letter: Letter, run: Run) -> LoggedModel:
        detail, passport = letter.detail, letter.detail["passport"]
        model = self.client.create_logged_model(
            self.experiment,
            name=f"{detail['name']}-{detail['version']}",
            source_run_id=run.info.run_id,
            tags={
                "key": passport["key"],
                "training_rows": passport["training_rows_digest"],
                "supervision": " ".join(passport["supervision"]),
                **{f"parent.{name}": digest for name, digest in passport["parents"].items()},
            },
            params={name: value[:250] for name, value in flat(passport["params"]).items()},
            model_type=detail["name"],
        )
        if letter.files is not None:
            self.client.log_model_artifacts(model.model_id, str(letter.files))
        ended = run.info.end_time or now()
        metrics = [
            Metric(mlflow_name(name), value, ended, 0, model_id=model.model_id, run_id=run.info.run_id)
            for name, value in passport["metrics"].items()
        ]
        self._log(run, {}, metrics)
        self.client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
        finished = self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        # last: a model without this tag was not logged whole
        self.client.set_logged_model_tags(model.model_id, {ID: letter.id})
        return finished

    def _level(self, letter: Letter) -> None:
        """The figures of an estimate from audited images, as metrics of the model's run."""
        model = self._logged_model(letter.detail["model"])
        if model is None or not model.source_run_id:
            raise MlflowException(f"the model {letter.detail['model']} is not logged")
        at = now()
        metrics = [
            Metric(mlflow_name(name), value, at, 0, model_id=model.model_id, run_id=model.source_run_id)
            for name, value in letter.detail["figures"].items()
        ]
        for part in _parts(metrics, BATCH["metrics"]):
            self.client.log_batch(model.source_run_id, metrics=part)
        self.client.log_batch(
            model.source_run_id, tags=[RunTag("level.sample", json.dumps(_sample_of(letter.detail["record"])))]
        )

    def _promoted(self, letter: Letter) -> None:
        self.registry.promote(letter.detail["model"], letter.detail["alias"])

    def _withdrawn(self, letter: Letter) -> None:
        """Mark the models that an image touched."""
        for digest in letter.detail["models"]:
            tags = {"withdrawn": " ".join(letter.detail["images"])[:4000], "withdrawal": letter.id}
            model = self._logged_model(digest)
            if model is not None:
                self.client.set_logged_model_tags(model.model_id, tags)
            self.registry.mark(digest, tags)

    def _tournament(self, letter: Letter) -> None:
        """One run for the tournament, and one for each contender under it."""
        detail = letter.detail
        told = {n: str(detail[n]) for n in ("until", "split", "images", "seeds", "commit", "machine", "settings")}
        parent = self._begin(letter.id, f"tournament {detail['title']}", None, told)
        if parent is None:
            return
        for contender in detail["contenders"]:
            tags = {n: str(contender[n]) for n in ("state", "problem", "supervision") if contender[n]}
            own = digest_json([letter.id, contender["name"]])
            run = self._begin(own, contender["name"], None, {PARENT: parent.info.run_id, **tags})
            if run is None:  # of a letter that was taken in part
                continue
            at = now()
            metrics = [Metric(mlflow_name(n), value, at, 0) for n, value in contender["figures"].items()]
            self._log(run, flat(contender["overlay"]), metrics)
            self.client.set_terminated(run.info.run_id, "FAILED" if contender["state"] == "failed" else "FINISHED")
        self.client.set_terminated(parent.info.run_id, "FINISHED")

    def _begin(self, id: str, name: str, started: int | None, tags: Mapping[str, str]) -> Run | None:
        """A new run; None where it is there already, whole. One that was begun and not ended is thrown away."""
        old = self._find(id)
        if old is not None and old.info.status == "FINISHED":
            return None
        if old is not None:
            self.client.delete_run(old.info.run_id)
        return self.client.create_run(self.experiment, started, {ID: id, **tags}, run_name=name)

    def _find(self, id: str) -> Run | None:
        runs = self.client.search_runs([self.experiment], f"tags.`{ID}` = '{id}'", max_results=1) if id else []
        return runs[0] if runs else None

    def _logged_model(self, digest: str) -> LoggedModel | None:
        models = self.client.search_logged_models([self.experiment], f"tags.`{ID}` = '{digest}'", max_results=1)
        return models[0] if models else None

    def _tag(self, run: Run, tags: Mapping[str, str]) -> None:
        self.client.log_batch(run.info.run_id, tags=[RunTag(mlflow_name(n), v) for n, v in tags.items()])

    def _log(self, run: Run, params: Mapping[str, str], metrics: list[Metric]) -> None:
        """In batches, as MLflow allows them."""
        for part in _parts(metrics, BATCH["metrics"]):
            self.client.log_batch(run.info.run_id, metrics=part)
        for part in _parts([Param(mlflow_name(n), v) for n, v in params.items()], BATCH["params"]):
            self.client.log_batch(run.info.run_id, params=part)


def _connect_once(uri: str) -> None:
    """Connect once: MLflow itself retries a database that is down for minutes."""
    engine = create_engine(uri, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def run_ids(uri: str) -> dict[str, dict[str, str]]:
    """Id of a letter → the run that it became, and its experiment. Reads, and makes nothing."""
    if uri.startswith("postgresql"):
        _connect_once(uri)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    ids: dict[str, dict[str, str]] = {}
    page = None
    while experiment is not None:
        runs = client.search_runs([experiment.experiment_id], max_results=1000, page_token=page)
        for run in runs:
            if ID in run.data.tags:
                ids[run.data.tags[ID]] = {"run": run.info.run_id, "experiment": experiment.experiment_id}
        page = runs.token
        if not page:
            break
    return ids


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _sample_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The sample behind a level."""
    return {name: record[name] for name in ("list", "seed", "audited", "by_points", "drawn", "population")}


def _dataset(state: Mapping[str, Any]) -> DatasetInput:
    """Rows that a run read, named by the digest of the whole set."""
    source = json.dumps({"uri": f"data/{state['name']}"})
    profile = json.dumps({"num_rows": state["rows"], "digest": state["digest"]})
    dataset = Dataset(state["name"], state["digest"][:DIGEST_LENGTH], "local", source, None, profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
