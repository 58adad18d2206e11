"""A made line in which no two evaluations have a figure alike: a figure anywhere tells which evaluation measured it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from made_line import SIZE, MadeLine

from labelfactory.dataset.tables import HEAD
from labelfactory.files import write_json
from labelfactory.rows.columns import MaskColumn
from labelfactory.settings.wiring import METRICS, read_wiring
from labelfactory.stage.output_state import states

NAMES = ("seeds", "walks", "masks", "model")
LISTS = ("train", "val")
FIGURE = re.compile(r"(?<![\w.])(7[1-9]\d\d)(?:00\.0|\.0+)?(?!\w|\.\d)")
"""A figure of an evaluation, as a fraction or in per cent: 7103 is the third of the first. No other figure is so high."""
DRAWN = re.compile(r"""\s(?:x|y|[xy][12]|d|r[xy]?|c[xy]|width|height|viewBox|points|transform|style)="[^"]*\"""")
"""Attributes of a drawing, whose numbers are places."""
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The id of a run, of which a part may be all digits."""


class MarkedLine(MadeLine):
    """Each evaluation has other figures, all impossibly high: 7, its number, and two digits for the key."""

    evaluation = 0
    figures: dict[int, dict[str, float]]
    """Number of an evaluation → its figures by their keys."""

    def __init__(self, images: int = 4) -> None:
        self.figures = {}
        super().__init__(images)
        self.evaluation, self.figures = 0, {}
        self.evaluate()
        self.commit()

    def _payload(self, *words: Any) -> dict[str, Any]:
        """As `MadeLine` has it; figures of quality that no reader takes for those of an evaluation."""
        payload = super()._payload(*words)
        quality = dict.fromkeys(("mean_confidence", "void_share", "agreement"), np.float32(0.25))
        return payload | {name: value for name, value in quality.items() if name in payload}

    def evaluate(self, figures: Any = ()) -> None:
        """Metrics, images, report and the report of the stage, with figures of their own."""
        self.evaluation += 1
        keys = [f"miou/{split}/{name}" for split in LISTS for name in NAMES]
        keys += [f"miou/train/{name}_at_best_threshold" for name in ("seeds", "walks")]
        keys += [f"iou/train/{name}/cat" for name in NAMES]
        keys += [f"affinity_labels/train/{name}" for name in ("accuracy", "coverage")]
        keys += [
            "threshold/seeds",
            "threshold/train/seeds_best",
            "threshold_cost/train/seeds",
            "fraction_of_supervised",
        ]
        numbers = {key: 7000.0 + 100 * self.evaluation + k for k, key in enumerate(keys, 1)}
        each = {name: 7000.0 + 100 * self.evaluation + 50 + k for k, name in enumerate(NAMES)}
        self.figures[self.evaluation] = numbers | {f"image/{name}": value for name, value in each.items()}
        measured = states(read_wiring()["evaluate"].inputs, LISTS)
        write_json(METRICS, {"true_masks": 1, **numbers, "measured": measured})
        self.report("evaluate", number=self.evaluation)  # after what it names
        ids = [record.image_id for record in self.dataset.records]
        truth = [MaskColumn().encode(np.zeros(SIZE, dtype=np.uint8), image_id) for image_id in ids]
        columns = {name: pa.array([value] * len(ids), pa.float32()) for name, value in each.items()}
        table = pa.table({"image_id": ids, **columns, "truth": pa.array(truth, MaskColumn().arrow_type)})
        head = {HEAD: json.dumps({"measured": measured})}
        pq.write_table(table.replace_schema_metadata(head), METRICS.with_name("images.parquet"), row_group_size=2)
        shown = " ".join(f"{100 * value:.1f}" for value in numbers.values())
        METRICS.with_name("report.html").write_text(f"<html><body>{shown}</body></html>")

    def sweep(self, **changes: str) -> None:
        """A run in another folder, as a sweep makes it: all of it is in DVC's cache, and data/ is what it was."""
        kept = Path("kept")
        shutil.copytree("data", kept)
        lock = Path("dvc.lock").read_bytes()
        self.run(**changes)
        for noun in {path.name for path in kept.iterdir()} - {"ledger"}:
            shutil.rmtree(Path("data") / noun)
            shutil.copytree(kept / noun, Path("data") / noun)
        shutil.rmtree(kept)
        Path("dvc.lock").write_bytes(lock)

    def found(self, text: str) -> dict[int, set[str]]:
        """Number of an evaluation → keys of its figures that stand in a text; a figure of none is an error."""
        known = {value: (n, key) for n, figures in self.figures.items() for key, value in figures.items()}
        found: dict[int, set[str]] = {}
        for word in FIGURE.findall(UUID.sub("", DRAWN.sub("", text))):
            assert int(word) in known, f"{word} is a figure of no evaluation"
            number, key = known[int(word)]
            found.setdefault(number, set()).add(key)
        return found
