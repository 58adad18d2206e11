"""A stage that makes one row for each image. Its engine is in labelfactory/rows."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from labelfactory.dataset.prepared import Chosen, ImageRecord, ShardedDataset
from labelfactory.devices import pick_device
from labelfactory.rows.columns import Column
from labelfactory.rows.engine import Tally, update_shards
from labelfactory.rows.header import ROW_FORMAT
from labelfactory.rows.plan import RowSpec, ShardPlan, plan_shards
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.base import Stage
from labelfactory.stage.runner import stage_class

if TYPE_CHECKING:
    import torch

C = TypeVar("C", bound=Section)
Columns = Mapping[str, Column]


class PerImageStage(Stage[C]):
    """A stage that makes one row for each image. A subclass writes `setup` and `process`, nothing else."""

    columns: ClassVar[Columns]
    """Columns of the rows that this stage writes."""
    reads_rows: ClassVar[tuple[str, ...]] = ()
    """Per-image outputs that it reads, by noun."""
    knows_classes: ClassVar[bool] = True
    """Whether a row depends on the classes of the data set beside its own tags; then another class makes all rows anew."""
    spreads = True
    uses_gpu: ClassVar[bool] = True
    """Whether the work runs on a GPU where there is one."""

    on_cluster: ClassVar[bool] = True
    """Whether a cluster may work on its shards before it runs."""

    @property
    def chosen(self) -> Chosen | None:
        """The photographs that it makes rows of; None for those of the training list."""
        return None

    @cached_property
    def sharded(self) -> ShardedDataset:
        """The prepared data set, a shard at a time; `dataset` would hold every image of it."""
        return ShardedDataset(self.folder("dataset") / "images.parquet", self.chosen)

    @property
    def device(self) -> "torch.device":
        """Device of this stage's networks."""
        import torch

        return pick_device() if self.uses_gpu else torch.device("cpu")

    def fixed(self) -> dict[str, str]:
        """Digests of what every row depends on beside its image: checkpoints, thresholds."""
        return {}

    def given(self, record: ImageRecord) -> dict[str, str] | None:
        """Digests that the key of this image's row has in place of parameters and upstream rows; None for an ordinary row.

        For a row from outside the line: a person's mask, a map that another program made. It exists even where earlier stages
        quarantined the image.
        """
        return None

    def setup(self) -> None:
        """Load networks and thresholds. Called once in each process."""

    def group(self, record: ImageRecord) -> Hashable:
        """Images of the same group may be processed in one batch."""
        return record.image_id

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return 1

    def process(self, sample: Sample) -> Row:
        """Make one row. An exception quarantines this image alone."""
        raise NotImplementedError

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        """Make the rows of a batch."""
        return [self.process(sample) for sample in samples]

    def summary(self) -> dict[str, Any]:
        """Metrics over the finished rows, for the report."""
        return {}

    def units(self, metrics: Mapping[str, Any]) -> int:
        """Rows that were computed."""
        return int(metrics["rows_computed"])

    def row_spec(self) -> RowSpec:
        """All that the engine needs to plan and store this stage's rows."""
        return RowSpec(
            stage=self.stage_name(),
            output=self.output,
            columns=self.columns,
            dataset=self.sharded,
            upstream={noun: self.folder(noun) for noun in self.reads_rows},
            shared={
                "stage": self.stage_name(),
                "format": ROW_FORMAT,
                "code": self.code_digest,
                **({"classes": list(self.sharded.classes.names)} if self.knows_classes else {}),
            },
            computed={"params": self.cfg.digest(), **self.fixed()},
            given=self.given,
        )

    def plan(self, only: Collection[int] | None = None, *, tolerant: bool = False) -> Iterator[ShardPlan]:
        """The plan of each shard; arguments as for `plan_shards`."""
        return plan_shards(self.row_spec(), only, tolerant=tolerant)

    def update(self, only: Collection[int] | None = None) -> Tally:
        """Bring shards up to date; arguments and errors as for `update_shards`."""
        return update_shards(self.row_spec(), self, (_make_stage, (self.stage_name(), self.cfg, self.borrowed)), only)

    def run(self) -> dict[str, Any]:
        """Bring every shard up to date."""
        tally = self.update()
        return {**tally.__dict__, **self.summary()}


def _make_stage(name: str, cfg: Section, borrowed: Mapping[str, Section]) -> Any:
    """Build the stage in a worker process."""
    return stage_class(name)(cfg, borrowed)
