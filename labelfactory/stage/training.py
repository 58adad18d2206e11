"""A stage that trains one network: its key, its passport, its rows, and nothing to do when they have not changed."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from labelfactory.console import say
from labelfactory.devices import FabricPrecision, pick_device
from labelfactory.digests import digest_json, digest_rows
from labelfactory.errors import DataError, UserError, first_line
from labelfactory.files import remove_leftovers
from labelfactory.interrupt import Interrupted
from labelfactory.learning.batches import Examples, batches_in_epoch
from labelfactory.learning.checkpoints import (
    CHECKPOINT,
    CURVE,
    Passport,
    change_passport,
    load_checkpoint,
    save_checkpoint,
)
from labelfactory.learning.learner import Learner
from labelfactory.learning.ranks import training_devices
from labelfactory.learning.resume import STATE, Resume
from labelfactory.learning.supervision import allowed_with, check_supervision, supervision_of
from labelfactory.learning.training import TrainingSection, fit, write_curve
from labelfactory.learning.training_precision import training_precision
from labelfactory.learning.training_rows import photographs_of, seen_by, values_of, write_training_rows
from labelfactory.stage.base import Stage
from labelfactory.stage.network_files import is_whole, keep_network
from labelfactory.stage.output_state import SCORED_ON
from labelfactory.store.entries import STORE, folder_of, remove
from labelfactory.store.limit import is_on
from labelfactory.store.outputs import kept_output, put_back
from labelfactory.versions import git_state, library_versions

T = TypeVar("T", bound=TrainingSection)


class TrainingStage(Stage[T]):
    """Trains one network and writes checkpoint.safetensors, training_rows.parquet and curve.csv into its folder.

    The key of a checkpoint is over its training rows, parents, params and code. Where it stands on disk already, or in
    the store, nothing is trained; where a run of the same key was killed, it goes on after the last finished epoch.
    """

    supervision: ClassVar[str]
    """The kind of labels that this training reads: tags or masks."""
    without_images: ClassVar[str] = "Import images for the training list."
    """What to do where there is nothing to learn from."""

    def training_rows(self) -> Mapping[str, str]:
        """image_id → digest of what is learnt from, source of truth for the key."""
        raise NotImplementedError

    def row_source(self, image_id: str) -> str:
        """Where the label of a row comes from, for the audit: tags, affinity_labels, refine_crf, human, true masks."""
        raise NotImplementedError

    def label_kinds(self) -> set[str]:
        """Kinds of labels that this training reads, as a passport names them."""
        return {self.supervision}

    def parents(self) -> dict[str, Passport]:
        """Passports of our own checkpoints that this training starts from or learns from."""
        return {}

    def foreign_supervision(self) -> list[str]:
        """Kinds of labels that pretrained weights from elsewhere have seen."""
        return []

    def allowed_supervision(self) -> list[str]:
        """Kinds of stronger labels that params.yaml allows by name."""
        return []

    def architecture(self) -> dict[str, Any]:
        """All that is needed to build the network again, JSON."""
        raise NotImplementedError

    def learner(self) -> tuple[Learner, Sequence[Tensor]]:
        """The network with its starting weights under its loss, and which of its parameters are pretrained."""
        raise NotImplementedError

    def examples(self) -> Examples:
        """The training set."""
        raise NotImplementedError

    def ema_decay(self) -> float:
        """Decay of the moving average of the weights; 0 for none."""
        return 0.0

    def score(self, model: nn.Module) -> dict[str, float]:
        """Figures of the network on photographs and tags of the validation list, and on nothing else; without true masks.

        They are measured again where that list has changed, on the network as it is.
        """
        return {}

    def texts(self, model: nn.Module) -> dict[str, str]:
        """What the header of the checkpoint tells beside the passport: name → text. No weight depends on it."""
        return {}

    def is_current(self) -> bool:
        """Whether the checkpoint on disk was made from the present rows, parents, params and code.

        Raises:
            UserError: what it reads is not there.
        """
        return self._kept(self._key(self.training_rows(), self.parents())) is not None

    def made_before(self) -> Path | None:
        """The folder of the store with the checkpoint that a run would make; None where it was never made, or is gone.

        Raises:
            UserError: what it reads is not there.
        """
        return kept_output(self.writes, self._key(self.training_rows(), self.parents())) if is_on() else None

    def units(self, metrics: Mapping[str, Any]) -> int:
        """Rows that were learnt from, if anything was learnt."""
        return int(metrics["training_rows"]) if metrics.get("trained") else 0

    @property
    def checkpoint(self) -> Path:
        """The file of weights and passport."""
        return self.output / CHECKPOINT

    def run(self) -> dict[str, Any]:
        """Train, unless a checkpoint was made from the same rows, parents, params and code: on disk, or in the store."""
        rows = self.training_rows()
        if not rows:
            raise DataError(f"{self.stage_name()}: there is no image to learn from", self.without_images)
        parents = self.parents()
        kinds = self._kinds(parents)
        key = self._key(rows, parents)
        remove_leftovers(self.output)
        kept = self._kept(key)
        if kept is not None:
            Resume(self.output / STATE, key).clear()  # of a run that was killed when all was written
            say(f"{self.stage_name()}: the checkpoint is up to date")
            return {
                "trained": False,
                "training_rows": len(rows),
                **self._brought_up_to_date(kept, rows, parents, kinds),
            }
        resume = Resume(self.output / STATE, key)
        keep_network(self.writes, self.output)  # before another replaces it: it may have come from another machine
        found = self._found(key)
        if found is not None:
            resume.clear()
            say(f"{self.stage_name()}: the network was trained before, and found again in {STORE}")
            figures = self._brought_up_to_date(found, rows, parents, kinds)
            return {"trained": False, "found": True, "training_rows": len(rows), **figures}
        model, curve, circumstances = self._fit(resume)
        passport = Passport(
            stage=self.stage_name(),
            key=key,
            training_rows=len(rows),
            training_rows_digest=digest_rows(rows.items()),
            parents={name: p.weights_digest for name, p in parents.items()},
            **kinds,
            metrics={"loss": curve[-1]["loss"], **self.score(model)},
            measured_on=self._measured_on,
            **circumstances,
        )
        self._write_rows(rows, parents)
        write_curve(self.output / CURVE, curve)
        save_checkpoint(self.checkpoint, model.state_dict(), passport, self.texts(model))
        resume.clear()
        keep_network(self.writes, self.output)
        return {"trained": True, "training_rows": len(rows), **self._figures(passport)}

    def _fit(self, resume: Resume) -> tuple[nn.Module, list[dict[str, float]], dict[str, Any]]:
        """The trained network, its curve, and the circumstances for its passport.

        Raises:
            Interrupted: says how many epochs are kept.
        """
        learner, pretrained = self.learner()
        examples, title = self.examples(), self.stage_name()
        devices = training_devices(min(self.cfg.batch_size, len(examples)), learner.share_multiple)
        precision = training_precision(learner, examples, self.cfg, resume)
        ema_decay = self.ema_decay()
        try:
            model, curve = fit(
                learner,
                examples,
                self.cfg,
                pretrained=pretrained,
                title=title,
                resume=resume,
                precision=precision,
                ema_decay=ema_decay,
            )
        except KeyboardInterrupt as interruption:
            epochs = self.cfg.epochs_of(batches_in_epoch(len(examples), self.cfg.batch_size))
            raise Interrupted(f"{resume.epochs()} of {epochs} epochs done") from interruption
        return model, curve, self._circumstances(devices, precision)

    def _circumstances(self, devices: int, precision: FabricPrecision) -> dict[str, Any]:
        """What a passport says of the network, the code and the machine, whatever was learnt."""
        commit, dirty = git_state()
        return {
            "architecture": self.architecture(),
            "classes": list(self.dataset.classes.names),
            "params": self.cfg.model_dump(mode="json"),
            "params_digest": self.cfg.digest(),
            "code_digest": self.code_digest,
            "git_commit": commit,
            "git_dirty": dirty,
            "seed": self.cfg.seed,
            "device": f"{'' if devices == 1 else f'{devices} × '}{pick_device()}, {precision}",
            "libraries": library_versions(),
        }

    def _key(self, rows: Mapping[str, str], parents: Mapping[str, Passport]) -> str:
        return digest_json(
            {
                "stage": self.stage_name(),
                "code": self.code_digest,
                "params": self.cfg.digest(),
                "architecture": self.architecture(),
                "classes": list(self.dataset.classes.names),
                "parents": {name: p.weights_digest for name, p in parents.items()},
                "rows": digest_rows(rows.items()),
            }
        )

    def _kept(self, key: str) -> Passport | None:
        try:
            passport = load_checkpoint(self.checkpoint)[1] if self.checkpoint.exists() else None
        except UserError as error:  # a damaged checkpoint of our own is made again
            say(f"{error.problem}: trained again")
            return None
        if passport is None or passport.key != key or not is_whole(self.output, passport):
            return None
        return passport if self._saw_what_is_present() else None

    def _saw_what_is_present(self) -> bool:
        """Whether it learnt from the photographs as they are, and from true masks by the present classes of their values.

        A row that is a true mask has the same digest over another photograph, and whatever its values mean.
        """
        present = {record.image_id: record.sha256 for record in self.dataset.training}
        same = all(present.get(i, sha256) == sha256 for i, sha256 in photographs_of(self.output).items())
        return same and values_of(self.output) in (None, self._values)

    @property
    def _values(self) -> dict[str, int] | None:
        """The class of each value in true masks; None for a stage that does not learn from them."""
        values = {str(value): class_id for value, class_id in sorted(self.dataset.mask_ids.items())}
        return values if self.supervision == "masks" else None

    @cached_property
    def _measured_on(self) -> str:
        """Digest of what `score` reads beside the network; empty for a stage that measures nothing."""
        if type(self).score is TrainingStage.score:
            return ""
        return self.dataset.digest_of(self.dataset.val_list)

    def _brought_up_to_date(
        self,
        passport: Passport,
        rows: Mapping[str, str],
        parents: Mapping[str, Passport],
        kinds: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The figures of the network on disk, for the report; what surrounds its weights is written anew where it is stale.

        So are the kinds of labels: a parent may have the same weights as before out of a training that saw others.
        """
        inherited = all(getattr(passport, name) == value for name, value in kinds.items())
        if not inherited:
            passport = change_passport(self.checkpoint, **kinds)
        measured, told = passport.measured_on == self._measured_on, seen_by(self.output) is not None
        if not measured:
            passport = self._measured_again(passport)
        if not told:
            self._write_rows(rows, parents)
        if not (inherited and measured and told):
            keep_network(self.writes, self.output)
        return self._figures(passport)

    def _measured_again(self, passport: Passport) -> Passport:
        """Score the network on disk on the validation list as it is now. Where that fails, its passport has no score."""
        name, loss = self.dataset.val_list, {"loss": passport.metrics["loss"]}
        try:
            learner, _ = self.learner()
            learner.network.load_state_dict(load_checkpoint(self.checkpoint)[0])
            scores = self.score(learner.network.eval())
        except (UserError, OSError, RuntimeError) as error:
            say(f"{self.stage_name()}: not measured on {name}: {first_line(error)}")
            return change_passport(self.checkpoint, metrics=loss, measured_on="")
        say(f"{self.stage_name()}: measured on {name} as it is now")
        return change_passport(self.checkpoint, metrics={**loss, **scores}, measured_on=self._measured_on)

    def _figures(self, passport: Passport) -> dict[str, Any]:
        """The figures of a network for the report, and what they were measured on: lists, which DVC does not take for metrics."""
        if not self._measured_on:
            return passport.metrics
        return {**passport.metrics, SCORED_ON: [{"list": self.dataset.val_list, "digest": passport.measured_on}]}

    def _found(self, key: str) -> Passport | None:
        """The passport of the network of this key, put back from the store; None where there is none."""
        if not put_back(self.writes, key, self.output):
            return None
        found = self._kept(key)
        if found is None:  # of other photographs or values: the network that is trained now takes its place
            remove(folder_of(self.writes, key))
        return found

    def _kinds(self, parents: Mapping[str, Passport]) -> dict[str, Any]:
        """For the passport: all kinds of labels that ever touched these weights, and the stronger ones that were allowed by name.

        Raises:
            SupervisionError: a kind is stronger than tags and not allowed.
        """
        own = self.label_kinds()
        allowed = [*self.allowed_supervision(), *own]
        check_supervision(self.stage_name(), self.foreign_supervision(), allowed)
        return {
            "supervision": supervision_of({*own, *self.foreign_supervision()}, allowed, parents),
            "allowed_supervision": allowed_with(self.allowed_supervision(), parents),
        }

    def _write_rows(self, rows: Mapping[str, str], parents: Iterable[str]) -> None:
        photographs = {record.image_id: record.sha256 for record in self.dataset.training}
        sources = {image_id: self.row_source(image_id) for image_id in rows}
        behind = [self.folder(noun) for noun in parents]
        write_training_rows(self.output, rows, sources, photographs, behind, self._values)
