"""Gathers the content of the report: the line's table, figures, curves, a gallery and provenance."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.left_out import LEFT_OUT, read_left_out
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.truth import has_truth, true_mask
from labelfactory.digests import digest_file
from labelfactory.learning.checkpoints import CHECKPOINT, CURVE, read_passport
from labelfactory.rows.reader import RowReader
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import read_wiring
from labelfactory.versions import git_state
from models.seeds import scores_at_size
from reporting.content import Curve, GalleryItem, Report, StageLine, Step, Tile
from reporting.phrases import what_it_made
from stages._scoring import DATA, Counts, Scorer, scored_maps, scored_stages

MASKS = ("agreement", "area", "source")
"""Columns of the masks by which the gallery is chosen."""


def make_report(
    dataset: Dataset,
    scorer: Scorer,
    metrics: Mapping[str, Any],
    per_list: Mapping[str, Counts],
    each: Mapping[str, Mapping[str, float]],
    *,
    gallery: int,
) -> Report:
    """Gather the report of a finished line.

    Args:
        dataset: the data set.
        scorer: opens every scored output.
        metrics: flat metrics of `evaluate`.
        per_list: counts of each scored list.
        each: mIoU of each image with a true mask, by score name.
        gallery: images for each of best, median and worst.
    """
    masks = _MaskColumns(scorer.rows[read_wiring().masks.noun])
    tagged = _tagged(masks, dataset)
    return Report(
        title="Report of the line",
        subtitle=f"{len(dataset.training)} photographs of the list {dataset.train_list!r}, "
        f"{len(dataset.classes)} classes: {', '.join(dataset.classes.names)}",
        classes=list(dataset.classes.with_background),
        steps=[Step(s.name, s.gloss, s.reference) for s in (stage.meta.scores for stage in scored_stages())],
        stages=_stage_lines(),
        metrics={key: float(value) for key, value in metrics.items()},
        thresholds=_thresholds(metrics, per_list),
        curves=[*_threshold_curves(metrics, per_list), *_loss_curves()],
        gallery=[_item(scorer, dataset, record, why, each) for record, why in _choose(tagged, each, gallery)],
        provenance=_provenance(dataset),
        notes=_notes(dataset, metrics, masks, tagged),
    )


def _stage_lines() -> list[StageLine]:
    """One line for each stage that has run; the seconds are those of its last run."""
    lines = []
    for name, stage in read_wiring().items():
        path = DATA / "reports" / f"{name}.json"
        if stage.meta.kind != "report" and path.exists():
            report, scores = json.loads(path.read_text(encoding="utf-8")), stage.meta.scores
            figures = (report["seconds"], report["peak_memory_mb"])
            lines.append(StageLine(name, what_it_made(report), *figures, scores.name, scores.measure))
    return lines


def _thresholds(
    metrics: Mapping[str, Any], per_list: Mapping[str, Counts]
) -> list[tuple[str, float, str, float | None]]:
    lines: list[tuple[str, float, str, float | None]] = []
    first = next(iter(per_list))
    for scores in [stage.meta.scores for stage in scored_maps()]:
        for name, threshold in read_thresholds(DATA / scores.thresholds).items():
            best = metrics.get(f"threshold/{first}/{scores.name if name == 'background' else name}_best")
            lines.append((f"{scores.name}: {name.replace('_', ' ')}", threshold.value, threshold.source, best))
    return lines


def _threshold_curves(metrics: Mapping[str, Any], per_list: Mapping[str, Counts]) -> list[Curve]:
    curves = []
    for scores in [stage.meta.scores for stage in scored_maps()]:
        folder = DATA / scores.thresholds
        x: list[float] = [k / 100 for k in range(1, 100)]
        series: dict[str, list[float]] = {}
        y_label = "mIoU"
        marks = {"chosen": read_thresholds(folder)["background"].value}
        for split, counts in per_list.items():
            if scores.name in counts.curves:
                series[f"mIoU on {split}"] = counts.curves[scores.name].curve()[1]
                marks[f"best on {split}"] = metrics[f"threshold/{split}/{scores.name}_best"]
        for path in sorted(folder.glob("*.csv")):  # the curve of the calibrating stage
            points = _read_csv(path)
            for column in [name for name in points if name != "threshold"]:
                values = np.interp(x, points["threshold"], points[column], left=np.nan, right=np.nan)
                series[f"{column}, without true masks"] = list(values)
                y_label = f"mIoU or {column}" if len(series) > 1 else column
        if series:
            curves.append(Curve(f"Background threshold of the {scores.name}", "threshold", y_label, x, series, marks))
    return curves


def _loss_curves() -> list[Curve]:
    """The loss of each network by epoch, and its terms where it has several."""
    curves = []
    for noun in read_wiring().networks:
        path = DATA / noun / CURVE
        points = _read_csv(path) if path.exists() else {}
        if points:
            lines = {name: values for name, values in points.items() if name not in ("epoch", "learning_rate")}
            curves.append(Curve(f"Loss of the {noun.replace('_', ' ')}", "epoch", "loss", points["epoch"], lines, {}))
    return curves


def _read_csv(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}


class _MaskColumns:
    """The columns of the masks by which the gallery is chosen, without pixels: image_id → value."""

    def __init__(self, rows: RowReader) -> None:
        self.agreement, self.area, self.source = (rows.values(name) for name in MASKS)

    @property
    def drawn(self) -> list[str]:
        """Images whose mask a person drew."""
        return [image_id for image_id, source in self.source.items() if source == HUMAN]


class _Tagged(NamedTuple):
    """A tagged photograph with a mask of the line."""

    record: ImageRecord
    agreement: float  # of walk and CRF
    empty: bool  # background and void alone


def _tagged(masks: _MaskColumns, dataset: Dataset) -> dict[str, _Tagged]:
    """Tagged photographs by id, without those whose mask a person drew."""
    tagged = {}
    for record in dataset.training:
        image_id = record.image_id
        if record.tags and masks.source.get(image_id, HUMAN) != HUMAN:
            empty = not np.any(masks.area[image_id][1:])
            tagged[image_id] = _Tagged(record, float(masks.agreement[image_id]), empty)
    return tagged


def _choose(
    tagged: Mapping[str, _Tagged], each: Mapping[str, Mapping[str, float]], count: int
) -> list[tuple[ImageRecord, str]]:
    """The empty masks, the best, median and worst by agreement of walk and CRF, and by mIoU where there is a true mask.

    Walk and CRF agree perfectly on an empty mask, so that order leaves empty masks out.
    """
    empty = [image_id for image_id, item in tagged.items() if item.empty]
    agreement = {image_id: item.agreement for image_id, item in tagged.items() if not item.empty}
    masks = read_wiring().masks.meta.scores.name
    miou = {image_id: each[image_id][masks] for image_id in tagged if masks in each.get(image_id, {})}
    chosen = [(tagged[image_id].record, "shows none of its tags") for image_id in empty[:count]]
    for name, values in (("agreement", agreement), ("mIoU", {k: v for k, v in miou.items() if np.isfinite(v)})):
        order = sorted(values, key=lambda image_id: (-values[image_id], image_id))
        middle = max(0, (len(order) - count) // 2)
        for word, ids in (
            ("best", order[:count]),
            ("median", order[middle : middle + count]),
            ("worst", order[-count:]),
        ):
            chosen += [(tagged[image_id].record, f"{word} by {name}") for image_id in (ids if count else [])]
    return chosen


def _item(
    scorer: Scorer, dataset: Dataset, record: ImageRecord, why: str, each: Mapping[str, Mapping[str, float]]
) -> GalleryItem:
    photograph = record.photograph()
    names = dataset.classes.with_background
    tiles = [Tile("photograph", "photograph", photograph)]
    for stage, row in scorer.rows_of(scorer.maps, record):
        if stage.meta.scores.cut:
            maps = scores_at_size(row[stage.meta.scores.column], photograph.shape[:2])
            heats = zip(row["class_ids"], maps, strict=True)
            tiles += [Tile(f"{stage.word} {names[k]}", "heat", np.clip(m, 0, 1)) for k, m in heats]
    masks = scorer.masks_of(record, photograph)
    own = [stage for stage in (*scorer.maps, *scorer.masks) if stage.meta.scores.name in masks]
    tiles += [Tile(s.meta.scores.cut or s.word, "mask", masks[s.meta.scores.name]) for s in own]
    if has_truth(record):
        tiles.append(Tile("truth", "mask", true_mask(record, dataset)))
    wiring = read_wiring()
    if wiring.model.meta.scores.name in masks:
        tiles.append(Tile("prediction", "mask", masks[wiring.model.meta.scores.name]))
    row = scorer.rows[wiring.masks.noun][record.image_id]
    figures = {"agreement": float(row["agreement"]), "mean confidence": float(row["mean_confidence"])}
    references = {stage.meta.scores.name for stage in scored_stages() if stage.meta.scores.reference}
    figures |= {f"mIoU {k}": value for k, value in each.get(record.image_id, {}).items() if k not in references}
    return GalleryItem(record.image_id, why, photograph, tiles, figures)


def _provenance(dataset: Dataset) -> dict[str, str]:
    commit, dirty = git_state()
    provenance = {
        "commit": f"{commit or 'not a git repository'}{' (with changes)' if dirty else ''}",
        "params.yaml, SHA-256": digest_file(Path(PARAMS_FILE)),
        "data set, SHA-256": digest_file(DATA / "dataset" / "images.parquet"),
    }
    for noun in read_wiring().networks:
        path = DATA / noun / CHECKPOINT
        if path.exists():
            passport = read_passport(path)
            provenance[f"{noun}: weights"] = passport.weights_digest
            provenance[f"{noun}: made by"] = f"seed {passport.seed}, commit {passport.git_commit}, {passport.device}"
            provenance[f"{noun}: labels seen"] = ", ".join(passport.supervision)
    return provenance


def _notes(
    dataset: Dataset, metrics: Mapping[str, Any], masks: _MaskColumns, tagged: Mapping[str, _Tagged]
) -> list[str]:
    notes = []
    if not metrics["true_masks"]:
        notes.append("There are no true masks, so nothing was scored.")
    drawn = masks.drawn
    if drawn:
        more = f" and {len(drawn) - 20} more" if len(drawn) > 20 else ""
        notes.append(
            f"{len(drawn)} masks were corrected by a person and count in every score of masks: {', '.join(drawn[:20])}{more}"
        )
    empty = [image_id for image_id, item in tagged.items() if item.empty]
    if empty:
        more = f" and {len(empty) - 20} more" if len(empty) > 20 else ""
        notes.append(f"Empty although tagged: {len(empty)} of {len(tagged)} masks ({', '.join(empty[:20])}{more})")
    bad: Sequence[ImageRecord] = [r for r in dataset.records if r.status != "ok"]
    if bad:
        notes.append(
            f"{len(bad)} photographs are quarantined: " + ", ".join(f"{r.image_id} ({r.reason})" for r in bad[:20])
        )
    left_out = read_left_out(DATA / "import" / LEFT_OUT.name)
    if left_out:
        notes.append(f"{len(left_out)} left out by the import: " + "; ".join(item.line for item in left_out[:20]))
    for noun in read_wiring().networks:
        path = DATA / noun / CHECKPOINT
        if path.exists() and read_passport(path).allowed_supervision:
            notes.append(f"{noun}: stronger labels were allowed: {', '.join(read_passport(path).allowed_supervision)}")
    return notes
