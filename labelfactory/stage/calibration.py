"""A stage that chooses thresholds: the same rows, networks, params and code give the same ones, so they are chosen once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from labelfactory.console import say
from labelfactory.digests import digest_json, digest_rows
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import THRESHOLDS, Threshold, read_thresholds, write_thresholds
from labelfactory.stage.base import Stage
from labelfactory.store.entries import STORE
from labelfactory.store.limit import is_on
from labelfactory.store.outputs import keep_output, kept_output, put_back

C = TypeVar("C", bound=Section)


class CalibrationStage(Stage[C]):
    """Chooses thresholds. A subclass writes `choose`."""

    def choose(self) -> Mapping[str, Threshold]:
        """The thresholds by name. A file about how they were chosen goes into the output's folder, which is empty."""
        raise NotImplementedError

    def key(self) -> str:
        """SHA-256 over all that the thresholds depend on."""
        return digest_json(
            {
                "stage": self.stage_name(),
                "code": self.code_digest,
                "params": self.cfg.digest(),
                "classes": list(self.dataset.classes.names),
                "images": digest_rows((record.image_id, record.digest) for record in self.dataset.training),
                "reads": {noun: self._digest(noun) for noun in self.reads},
            }
        )

    def _digest(self, noun: str) -> str:
        """Digest of the rows or weights of an output; empty where it is neither."""
        if self.has_checkpoint(noun):
            return self.passport_of(noun).weights_digest
        rows = ShardFolder(self.folder(noun))
        return (
            digest_rows((s.image_id, s.digest) for s in rows.all_states() if s.status == "ok") if rows.shards() else ""
        )

    def units(self, metrics: Mapping[str, Any]) -> int:
        """One where thresholds were chosen."""
        return 0 if metrics.get("found") else 1

    def made_before(self) -> Path | None:
        """The folder of the store with the thresholds that a run would choose; None where they were never chosen, or are gone."""
        return kept_output(self.writes, self.key()) if is_on() else None

    def run(self) -> dict[str, Any]:
        """Choose the thresholds, or find them in the store."""
        self.check_networks()
        key = self.key() if is_on() else ""
        for file in self._files()[:-1]:  # about how the last ones were chosen
            file.unlink()
        if put_back(self.writes, key, self.output):
            say(f"{self.stage_name()}: the thresholds were chosen before, and found again in {STORE}")
            return {"found": True, **self._values()}
        write_thresholds(self.output, self.choose())
        keep_output(self.writes, key, self._files())
        return self._values()

    def _values(self) -> dict[str, float]:
        return {name: threshold.value for name, threshold in read_thresholds(self.output).items()}

    def _files(self) -> list[Path]:
        """What lies in the output's folder, and the thresholds last."""
        beside = sorted(path for path in self.output.glob("[!.]*") if path.is_file() and path.name != THRESHOLDS)
        return [*beside, self.output / THRESHOLDS]
