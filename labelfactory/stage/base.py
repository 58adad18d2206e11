"""The base class of every stage: a section of params.yaml, folders that it reads, one that it writes, and a report."""

import inspect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

from labelfactory.dataset.prepared import Dataset, classes_of, read_dataset
from labelfactory.learning.checkpoints import CHECKPOINT, Passport, load_checkpoint, read_passport
from labelfactory.learning.learnt_classes import refuse_other_classes
from labelfactory.settings.closure import chosen_by, joined
from labelfactory.settings.params import Section
from labelfactory.settings.wiring import DATA, StageWiring, stage_wiring

if TYPE_CHECKING:
    from torch import Tensor


C = TypeVar("C", bound=Section)


class Stage(Generic[C]):
    """One stage of the line. A subclass names its folders and writes `run`; its name is its file's name."""

    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[str]
    section: ClassVar[type[Section]]
    borrows: ClassVar[tuple[str, ...]] = ()
    """Stages whose sections it reads beside its own."""
    spreads: ClassVar[bool] = False
    """Whether its work is spread over processes."""

    def __init_subclass__(cls) -> None:
        """Take the section's model from `Stage[Section]`, unless the class names another."""
        if "section" in cls.__dict__:
            return
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Section):
                    cls.section = argument

    def __init__(self, cfg: C, borrowed: Mapping[str, Section] | None = None) -> None:
        self.cfg = cfg
        self.borrowed = borrowed or {}
        self.elsewhere: Mapping[str, Path] = {}
        """Outputs that stand elsewhere than below data/, by noun: to ask about a state that is not there yet."""

    @classmethod
    def stage_name(cls) -> str:
        """The name of the stage: of its file, its section, its command and its report."""
        return Path(inspect.getfile(cls)).stem

    @property
    def enabled(self) -> bool:
        """Whether the stage makes anything; False for an optional stage that params.yaml switches off."""
        return True

    def run(self) -> dict[str, Any]:
        """Do the work. Returns the metrics for the report."""
        raise NotImplementedError

    def units(self, metrics: Mapping[str, Any]) -> int:
        """Units of work that a run did, by its metrics; its duration is proportional to them. 0 if there was nothing to do."""
        return 1

    def folder(self, noun: str) -> Path:
        """The folder of an output, such as data/cams."""
        return self.elsewhere.get(noun, DATA / noun)

    @property
    def output(self) -> Path:
        """The folder that this stage writes."""
        return self.folder(self.writes)

    @cached_property
    def dataset(self) -> Dataset:
        """The prepared data set."""
        return read_dataset(self.folder("dataset") / "images.parquet")

    def checkpoint_of(self, noun: str) -> "tuple[dict[str, Tensor], Passport]":
        """Weights (on the CPU) and passport of the checkpoint in a folder that this stage reads.

        Raises:
            MissingError: there is none.
            DataError: it is damaged, or it was trained for other classes than those of the data set.
        """
        state, passport = load_checkpoint(self.folder(noun) / CHECKPOINT)
        return state, self._of_these_classes(noun, passport)

    def has_checkpoint(self, noun: str) -> bool:
        """Whether there is a checkpoint in a folder that this stage reads: an optional stage writes none."""
        return (self.folder(noun) / CHECKPOINT).exists()

    def passport_of(self, noun: str) -> Passport:
        """The passport of the checkpoint in a folder that this stage reads; errors as for `checkpoint_of`."""
        return self._of_these_classes(noun, read_passport(self.folder(noun) / CHECKPOINT))

    def check_networks(self) -> None:
        """Check every network that this stage reads, for a stage whose processes open them by themselves.

        Raises:
            DataError: one is damaged, or it was trained for other classes than those of the data set.
        """
        for noun in self.reads:
            if self.has_checkpoint(noun):
                self.passport_of(noun)

    def _of_these_classes(self, noun: str, passport: Passport) -> Passport:
        refuse_other_classes(self.folder(noun) / CHECKPOINT, passport.classes, self._classes)
        return passport

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        """Names of the classes of the prepared data set."""
        return classes_of(self.folder("dataset") / "images.parquet").names

    @cached_property
    def wiring(self) -> StageWiring:
        """This stage in dvc.yaml."""
        return stage_wiring(self.stage_name())

    def methods(self) -> dict[str, set[str]]:
        """Plug-in family → methods that this stage runs: those of its sections, and of the networks that it reads.

        A stage that runs a method that no section names adds it.

        Raises:
            DataError: a checkpoint that it reads is damaged.
        """
        sections: list[Section] = [self.cfg, *self.borrowed.values()]
        networks = [read_passport(self.folder(n) / CHECKPOINT) for n in self.reads if self.has_checkpoint(n)]
        return joined([*(s.methods() for s in sections), *(chosen_by(n.architecture) for n in networks)])

    @cached_property
    def code_digest(self) -> str:
        """Digest of the code that decides what this stage makes; errors as for `methods` and `closure.code_digest`."""
        return self.wiring.code_digest(self.methods())
