"""Score every output of the line against the true masks, and write the report.

Reads   data/dataset, every output that dvc.yaml lists as a dep, and the true masks; `meta.scores` says what is scored
Writes  data/evaluation   metrics.json (flat keys, fractions), thresholds.csv, iou.csv, report.html, images.parquet: for each
        scored image its lists, mIoU and pixels by score name, and its true mask as scored, for code that may not open true masks
metrics.json and the header of images.parquet have `measured`: the digests of the outputs and lists that the scores belong to,
and the settings of the line at that time.
Without true masks nothing is scored, and true_masks in metrics.json is 0. All that the import names are scored, or none: the
digests of `measured` are those of all.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from labelfactory.console import first_of, say
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tables import HEAD
from labelfactory.dataset.truth import check_truth, has_truth, true_mask
from labelfactory.devices import Precision, one_thread_each, pick_device
from labelfactory.files import write_csv, write_json, write_whole
from labelfactory.pool.pool import spread
from labelfactory.progress import progress
from labelfactory.rows.columns import MaskColumn
from labelfactory.rows.scored import LISTS, PIXELS_TYPE, SCORED_IMAGES, cells_to_value, pixels_column
from labelfactory.settings.params import Scales, Section
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import stage_wiring
from labelfactory.stage.base import Stage
from labelfactory.stage.output_state import State, settings_states, states
from labelfactory.stage.runner import main, read_sections
from models.segmenters._whole_photograph import Inference
from stages._report import make_report
from stages._scoring import (
    Counts,
    OwnScore,
    Scorer,
    flat_metrics,
    inference_state,
    score_images,
    scored_maps,
    scored_stages,
    start_scorer,
    wired_scores,
)

AFFINITY = ("affinity_background", "affinity_foreground")
"""The thresholds of the affinity labels."""
SHOWN = 5
"""Images that a note names."""
CHUNK = 8
"""Images per task of a process."""
WITHOUT_MASKS = "To score without them, import the photographs again: an import takes the masks that are there."
"""What to do about true masks that are gone for good."""
ROWS = 32
"""Rows in a row group of images.parquet."""


def images_schema() -> pa.Schema:
    """Columns of images.parquet: the image, its lists, its mIoU and its pixels by score name, its true mask."""
    scores = [(name, pa.float32()) for name in wired_scores()]
    pixels = [(pixels_column(name), PIXELS_TYPE) for name in wired_scores()]
    lists = (LISTS, pa.list_(pa.string()))
    return pa.schema([("image_id", pa.string()), lists, *scores, *pixels, ("truth", MaskColumn().arrow_type)])


class EvaluateConfig(Section):
    """Section `evaluate` of params.yaml."""

    lists: tuple[str, ...] = Field(min_length=1, description="lists that are scored; the name is part of each metric's")
    scales: Scales = Field(description="scales of the photograph at a net's input")
    flip: bool = Field(description="run on the mirror image too")
    precision: Precision = Field(description="of the nets")
    gallery: int = Field(ge=0, le=12, description="images in the report for each of best, median and worst")


class WiredInputs:
    """The outputs that dvc.yaml lists as this stage's deps, so that its lines alone add an output to be scored."""

    def __get__(self, stage: object, kind: type) -> tuple[str, ...]:
        """Read dvc.yaml on access, in the project's folder."""
        return stage_wiring("evaluate").inputs


class Evaluate(Stage[EvaluateConfig]):
    """Writes metrics and report."""

    reads = WiredInputs()  # type: ignore[assignment]
    writes = "evaluation"
    spreads = True

    def run(self) -> dict[str, Any]:
        """Score each list, write metrics, tables and the report.

        Raises:
            DataError: a true mask that the import names cannot be read, or a network was trained for other classes.
        """
        self.check_networks()
        from reporting.page import write_report  # loads matplotlib; every stage imports this file to check its section

        inference = Inference(self.cfg.scales, self.cfg.flip, self.cfg.precision)
        # in a list, which DVC does not take for metrics
        measured = [*states(self.reads, self.cfg.lists), inference_state(inference), *settings_states(read_sections())]
        members = {name: self.dataset.on_list(name) for name in self.cfg.lists}
        records = {r.image_id: r for listed in members.values() for r in listed if has_truth(r)}
        check_truth(records.values(), WITHOUT_MASKS)
        per_list = {name: Counts(len(self.dataset.classes) + 1) for name in members}
        if not records:
            say("evaluate: there are no true masks, so there is nothing to score")
        scorer = Scorer(inference)
        self._say_what_was_learnt(scorer, list(records.values()))
        each = self._score(inference, members, list(records.values()), per_list)
        metrics: dict[str, Any] = {"true_masks": len(records)}
        for name, counts in per_list.items():
            metrics |= flat_metrics(counts, name, self.dataset.classes.with_background)
        metrics |= self._comparisons(metrics) | self._affinity_thresholds(per_list)
        write_json(self.output / "metrics.json", {**metrics, "measured": measured})
        self._write_curves(per_list)
        self._write_iou(metrics)
        self._write_images(list(records.values()), each, measured)
        if pick_device().type == "cpu":
            one_thread_each()  # as in the processes of the scores: the gallery shows what was scored
        mious = {image_id: {name: score.miou for name, score in own.items()} for image_id, own in each.items()}
        report = make_report(self.dataset, scorer, metrics, per_list, mious, measured, gallery=self.cfg.gallery)
        write_report(self.output / "report.html", report)
        return {"true_masks": len(records)}

    def _say_what_was_learnt(self, scorer: Scorer, records: Sequence[ImageRecord]) -> None:
        """Say which photographs do not count for a network; lists may have changed since its training."""
        for stage in scorer.networks:
            name = stage.meta.scores.name
            learnt = [record.image_id for record in records if record.image_id in scorer.not_new[name]]
            if learnt:
                say(
                    f"evaluate: {len(learnt)} photographs that are not on the training list are left out of the score of {name}, "
                    f"which learnt from them: {first_of(learnt, SHOWN)}; `labelfactory run` trains it anew"
                )

    def _score(
        self,
        inference: Inference,
        members: dict[str, tuple[ImageRecord, ...]],
        records: Sequence[ImageRecord],
        per_list: dict[str, Counts],
    ) -> dict[str, dict[str, OwnScore]]:
        """Score each image once and count it for each of its lists. Returns each image's own scores."""
        on_lists = {r.image_id: frozenset(n for n in members if n in r.lists) for r in records}
        tasks = []
        for group in sorted(set(on_lists.values()), key=sorted):
            same = [r for r in records if on_lists[r.image_id] == group]
            tasks += [same[i : i + CHUNK] for i in range(0, len(same), CHUNK)]
        each: dict[str, dict[str, OwnScore]] = {}
        if not tasks:
            return each
        with progress("evaluate", len(records)) as tick, spread(len(tasks), start_scorer, (inference,)) as submit:
            for counts, own in submit(score_images, [(task,) for task in tasks]):
                for name in on_lists[next(iter(own))]:
                    per_list[name].add(counts)
                each.update(own)
                tick(len(own))
        return each

    def _comparisons(self, metrics: dict[str, Any]) -> dict[str, float]:
        """Chosen thresholds against the best ones, and the model's mIoU as a fraction of full supervision."""
        comparisons: dict[str, float] = {}
        for scores in [stage.meta.scores for stage in scored_maps()]:
            comparisons[f"threshold/{scores.name}"] = read_thresholds(self.folder(scores.thresholds))[
                "background"
            ].value
            for split in self.cfg.lists:
                best = metrics.get(f"miou/{split}/{scores.name}_at_best_threshold")
                if best is not None:
                    comparisons[f"threshold_cost/{split}/{scores.name}"] = best - metrics[f"miou/{split}/{scores.name}"]
        networks = [stage.meta for stage in scored_stages() if stage.meta.kind == "network"]
        ours = next((meta.scores.name for meta in networks if meta.result), "")
        bound = next((meta.scores.name for meta in networks if meta.scores.reference), "")
        split = self.dataset.val_list
        alike = metrics.get(f"images/{split}/{ours}") == metrics.get(f"images/{split}/{bound}")
        if alike and f"miou/{split}/{ours}" in metrics and metrics.get(f"miou/{split}/{bound}"):
            comparisons["fraction_of_supervised"] = metrics[f"miou/{split}/{ours}"] / metrics[f"miou/{split}/{bound}"]
        return comparisons

    def _affinity_thresholds(self, per_list: dict[str, Counts]) -> dict[str, float]:
        """The thresholds of the affinity labels against the best pair that labels as many pixels, before any CRF."""
        best_pairs: dict[str, float] = {}
        for scores in [stage.meta.scores for stage in scored_maps()]:
            thresholds = read_thresholds(self.folder(scores.thresholds))
            if not set(AFFINITY) <= set(thresholds):
                continue
            low, high = (thresholds[name].value for name in AFFINITY)
            for split, counts in per_list.items():
                if f"threshold/{split}/{AFFINITY[0]}_best" not in best_pairs and counts.has_curve(scores.name):
                    best, cost = counts.curves[scores.name].best_pair(low, high)
                    best_pairs |= {f"threshold/{split}/{name}_best": b for name, b in zip(AFFINITY, best, strict=True)}
                    best_pairs[f"threshold_cost/{split}/affinity"] = cost
        return best_pairs

    def _write_curves(self, per_list: dict[str, Counts]) -> None:
        """thresholds.csv: mIoU at every background threshold."""
        rows = [
            (threshold, round(miou, 6), name, split)
            for split, counts in per_list.items()
            for name, curve in counts.curves.items()
            for threshold, miou in zip(*curve.curve(), strict=True)
        ]
        write_csv(self.output / "thresholds.csv", ("threshold", "miou", "what", "split"), rows)

    def _write_iou(self, metrics: dict[str, Any]) -> None:
        """iou.csv: one row per split, score name and class."""
        keys = [(key.split("/", 3), value) for key, value in metrics.items() if key.startswith("iou/")]
        rows = [(split, what, name, round(value, 6)) for (_, split, what, name), value in keys]
        write_csv(self.output / "iou.csv", ("split", "what", "class", "iou"), rows)

    def _write_images(
        self, records: Sequence[ImageRecord], each: dict[str, dict[str, OwnScore]], measured: list[State]
    ) -> None:
        """images.parquet, in the order of ids; an mIoU is null where there is no mask or no class, pixels where no mask."""
        ordered = sorted(records, key=lambda record: record.image_id)
        schema = images_schema().with_metadata({HEAD: json.dumps({"measured": measured})})
        with (
            write_whole(self.output / SCORED_IMAGES.name) as path,
            pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for start in range(0, len(ordered), ROWS):
                rows = []
                for record in ordered[start : start + ROWS]:
                    own = each[record.image_id]
                    scores = {k: score.miou if np.isfinite(score.miou) else None for k, score in own.items()}
                    pixels = {pixels_column(name): cells_to_value(score.cells) for name, score in own.items()}
                    truth = MaskColumn().encode(true_mask(record, self.dataset), record.image_id)
                    lists = [name for name in self.cfg.lists if name in record.lists]
                    rows.append({"image_id": record.image_id, LISTS: lists, **scores, **pixels, "truth": truth})
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))


if __name__ == "__main__":
    main(Evaluate)
