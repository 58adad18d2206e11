"""Make a map of each photograph that brings knowledge from outside the line, such as what stands out in it.

Off unless `method` names one; an objective of `train_classifier` may then learn from the maps.

Reads   data/import/maps   grey images that another program made, where the method is `files`
        data/dataset       photographs of the training list
Writes  data/priors        map [h, w] uint8 over the whole photograph, 255 the highest; supervision: kinds of labels that
                           touched the map, with blanks between; no row when off
Source  models/priors, one method a file.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import Field

from labelfactory.console import say
from labelfactory.dataset.map_files import map_digest, read_map
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import DataError
from labelfactory.files import remove_leftovers
from labelfactory.rows.columns import ArrayColumn, TextColumn
from labelfactory.rows.engine import Tally
from labelfactory.rows.plan import ShardPlan
from labelfactory.rows.shards import Row, Sample, ShardFolder
from labelfactory.settings.params import Section
from labelfactory.settings.registry import method_of
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main


class MakePriorsConfig(Section):
    """Section `make_priors` of params.yaml."""

    method: method_of("models.priors") = Field(  # type: ignore[valid-type]
        default="none", validate_default=True, description="where the maps come from; none: the stage is off"
    )

    @property
    def enabled(self) -> bool:
        """Whether there are to be maps."""
        return bool(self.method.name != "none")

    @property
    def supervision(self) -> list[str]:
        """Kinds of labels that touched the maps."""
        return sorted(set(getattr(self.method, "supervision", ())))


class MakePriors(PerImageStage[MakePriorsConfig]):
    """Makes the maps of the chosen prior."""

    reads = ("import", "dataset")
    writes = "priors"
    columns = {"map": ArrayColumn("uint8"), "supervision": TextColumn()}
    uses_gpu = False
    knows_classes = False

    @property
    def enabled(self) -> bool:
        """Whether params.yaml names a method."""
        return self.cfg.enabled

    @property
    def maps(self) -> Path:
        """The folder of maps that another program made."""
        return self.folder("import") / "maps"

    def file_of(self, record: ImageRecord) -> PurePath | None:
        """The file of a photograph's map, below `maps`; None where the method needs none."""
        if not hasattr(self.cfg.method.module, "source_of"):
            return None
        name: PurePath | None = self.cfg.method.bind("source_of")(record.image_id)
        return name

    def given(self, record: ImageRecord) -> dict[str, str] | None:
        """The digest of the photograph's file and of the section, which a row depends on where there is such a file.

        A name that is refused is no file here; `process` then says why.
        """
        name = self.file_of(record)
        try:
            digest = map_digest(name, self.maps) if name is not None else None
        except DataError:
            return None
        return {"params": self.cfg.digest(), "map": digest} if digest is not None else None

    def process(self, sample: Sample) -> Row:
        """The map of one photograph."""
        name = self.file_of(sample.record)
        source = read_map(name, self.maps) if name is not None else None
        made = self.cfg.method.bind("prior_map")(sample.photograph(), source)
        untouched = name is not None and source is None
        return {"map": made, "supervision": "" if untouched else " ".join(self.cfg.supervision)}

    def plan(self, only: Collection[int] | None = None, *, tolerant: bool = False) -> Iterator[ShardPlan]:
        """Nothing where it is off."""
        return super().plan(only, tolerant=tolerant) if self.enabled else iter(())

    def update(self, only: Collection[int] | None = None) -> Tally:
        """Nothing where it is off."""
        return super().update(only) if self.enabled else Tally()

    def run(self) -> dict[str, Any]:
        """Bring every shard up to date; where it is off, remove what an earlier run made."""
        if self.enabled:
            return super().run()
        remove_leftovers(self.output)
        folder = ShardFolder(self.output)
        for shard in folder.shards():
            folder.path(shard).unlink()
        say(f"{self.stage_name()}: off ({self.stage_name()}.method is none)")
        return {"enabled": False}

    def units(self, metrics: Mapping[str, Any]) -> int:
        """Rows that were computed; none where it is off."""
        return super().units(metrics) if self.enabled else 0


if __name__ == "__main__":
    main(MakePriors)
