"""Gathers what the report shows: the line's table, figures, curves, a gallery and where all of it came from."""

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
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import read_wiring
from labelfactory.versions import git_state
from models.seeds import scores_at_size
from reporting.content import Curve, GalleryItem, Report, StageLine, Tile
from reporting.phrases import what_it_made
from stages._scoring import DATA, SCORED_MAPS, Counts, Scorer

TRAINED = ("classifier", "affinity", "teacher", "segmenter", "upper_bound")


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
        scorer: opens all that was made.
        metrics: flat metrics of `evaluate`.
        per_list: counts of each scored list.
        each: each image's own mIoU by what was made, where it has a true mask.
        gallery: images for each of best, median and worst.
    """
    tagged = _tagged(scorer, dataset)
    return Report(
        title="Report of the line",
        subtitle=f"{len(dataset.training)} photographs of the list {dataset.train_list!r}, "
        f"{len(dataset.classes)} classes: {', '.join(dataset.classes.names)}",
        classes=list(dataset.classes.with_background),
        stages=_stage_lines(),
        metrics={key: float(value) for key, value in metrics.items()},
        thresholds=_thresholds(metrics, per_list),
        curves=[*_threshold_curves(metrics, per_list), *_loss_curves()],
        gallery=[_item(scorer, dataset, record, why, each) for record, why in _choose(tagged, each, gallery)],
        provenance=_provenance(dataset),
        notes=_notes(dataset, metrics, scorer, tagged),
    )


def _stage_lines() -> list[StageLine]:
    """One line for each stage that has run; the seconds are those of its last run."""
    lines = []
    for name in read_wiring():
        path = DATA / "reports" / f"{name}.json"
        if name != "evaluate" and path.exists():
            report = json.loads(path.read_text(encoding="utf-8"))
            lines.append(StageLine(name, what_it_made(report), report["seconds"], report["peak_memory_mb"]))
    return lines


def _thresholds(
    metrics: Mapping[str, Any], per_list: Mapping[str, Counts]
) -> list[tuple[str, float, str, float | None]]:
    lines: list[tuple[str, float, str, float | None]] = []
    first = next(iter(per_list))
    for made, (_, _, noun) in SCORED_MAPS.items():
        for name, threshold in read_thresholds(DATA / noun).items():
            best = metrics.get(f"threshold/{first}/{made if name == 'background' else name}_best")
            lines.append((f"{made}: {name.replace('_', ' ')}", threshold.value, threshold.source, best))
    return lines


def _threshold_curves(metrics: Mapping[str, Any], per_list: Mapping[str, Counts]) -> list[Curve]:
    curves = []
    for made, (_, _, noun) in SCORED_MAPS.items():
        x: list[float] = [k / 100 for k in range(1, 100)]
        series: dict[str, list[float]] = {}
        y_label = "mIoU"
        marks = {"chosen": read_thresholds(DATA / noun)["background"].value}
        for split, counts in per_list.items():
            if made in counts.curves:
                series[f"mIoU on {split}"] = counts.curves[made].curve()[1]
                marks[f"best on {split}"] = metrics[f"threshold/{split}/{made}_best"]
        for path, column in ((DATA / noun / "j.csv", "J"), (DATA / noun / "agreement.csv", "agreement")):
            if path.exists():
                points = _read_csv(path)
                values = np.interp(x, points["threshold"], points[column], left=np.nan, right=np.nan)
                series[f"{column}, without true masks"] = list(values)
                y_label = f"mIoU or {column}" if len(series) > 1 else column
        if series:
            curves.append(Curve(f"Background threshold of the {made}", "threshold", y_label, x, series, marks))
    return curves


def _loss_curves() -> list[Curve]:
    curves = []
    for noun in TRAINED:
        path = DATA / noun / CURVE
        points = _read_csv(path) if path.exists() else {}
        if points:
            curves.append(
                Curve(
                    f"Loss of the {noun.replace('_', ' ')}",
                    "epoch",
                    "loss",
                    points["epoch"],
                    {"loss": points["loss"]},
                    {},
                )
            )
    return curves


def _read_csv(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}


class _Tagged(NamedTuple):
    """A tagged photograph whose mask the line has made."""

    record: ImageRecord
    agreement: float  # of walk and CRF
    empty: bool  # background and void alone


def _tagged(scorer: Scorer, dataset: Dataset) -> dict[str, _Tagged]:
    """All of them by id; what a person drew is not among them."""
    ours = {image_id for image_id, source in scorer.rows["masks"].values("source").items() if source != HUMAN}
    found = {}
    for record in dataset.training:
        if record.image_id in ours and record.tags:
            row = scorer.rows["masks"][record.image_id]
            found[record.image_id] = _Tagged(record, float(row["agreement"]), not np.any(row["area"][1:]))
    return found


def _choose(
    tagged: Mapping[str, _Tagged], each: Mapping[str, Mapping[str, float]], count: int
) -> list[tuple[ImageRecord, str]]:
    """The empty masks, the best, median and worst by agreement of walk and CRF, and by mIoU where there is a true mask.

    On an empty mask walk and CRF agree perfectly: it has no part in that order.
    """
    empty = [image_id for image_id, made in tagged.items() if made.empty]
    agreement = {image_id: made.agreement for image_id, made in tagged.items() if not made.empty}
    miou = {image_id: each[image_id]["masks"] for image_id in tagged if "masks" in each.get(image_id, {})}
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
    cams = scorer.rows["cams"][record.image_id]
    maps = scores_at_size(cams["cam"], photograph.shape[:2])
    names = dataset.classes.with_background
    tiles = [Tile("photograph", "photograph", photograph)]
    tiles += [Tile(f"CAM {names[k]}", "heat", np.clip(m, 0, 1)) for k, m in zip(cams["class_ids"], maps, strict=True)]
    masks = scorer.masks_of(record, photograph)
    words = {"seeds": "seed", "walks": "walk", "masks": "mask"}
    tiles += [Tile(word, "mask", masks[made]) for made, word in words.items() if made in masks]
    if has_truth(record):
        tiles.append(Tile("truth", "mask", true_mask(record, dataset)))
    if "model" in masks:
        tiles.append(Tile("prediction", "mask", masks["model"]))
    row = scorer.rows["masks"][record.image_id]
    figures = {"agreement": float(row["agreement"]), "mean confidence": float(row["mean_confidence"])}
    figures |= {f"mIoU {made}": value for made, value in each.get(record.image_id, {}).items() if made != "upper_bound"}
    return GalleryItem(record.image_id, why, photograph, tiles, figures)


def _provenance(dataset: Dataset) -> dict[str, str]:
    commit, dirty = git_state()
    found = {
        "commit": f"{commit or 'not a git repository'}{' (with changes)' if dirty else ''}",
        "params.yaml, SHA-256": digest_file(Path(PARAMS_FILE)),
        "data set, SHA-256": digest_file(DATA / "dataset" / "images.parquet"),
    }
    for noun in TRAINED:
        path = DATA / noun / CHECKPOINT
        if path.exists():
            passport = read_passport(path)
            found[f"{noun}: weights"] = passport.weights_digest
            found[f"{noun}: made by"] = f"seed {passport.seed}, commit {passport.git_commit}, {passport.device}"
            found[f"{noun}: labels seen"] = ", ".join(passport.supervision)
    return found


def _notes(dataset: Dataset, metrics: Mapping[str, Any], scorer: Scorer, tagged: Mapping[str, _Tagged]) -> list[str]:
    notes = []
    if not metrics["true_masks"]:
        notes.append("There are no true masks, so nothing was scored.")
    drawn = [i for i, source in scorer.rows["masks"].values("source").items() if source == HUMAN]
    if drawn:
        more = f" and {len(drawn) - 20} more" if len(drawn) > 20 else ""
        notes.append(
            f"{len(drawn)} masks were corrected by a person and count in every score of masks: {', '.join(drawn[:20])}{more}"
        )
    empty = [image_id for image_id, made in tagged.items() if made.empty]
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
    for noun in TRAINED:
        path = DATA / noun / CHECKPOINT
        if path.exists() and read_passport(path).allowed_supervision:
            notes.append(f"{noun}: stronger labels were allowed: {', '.join(read_passport(path).allowed_supervision)}")
    return notes
