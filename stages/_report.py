"""Gathers the content of the report: the line's table, figures, curves, the gallery and provenance."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelfactory.dataset.account import ACCOUNT, read_account
from labelfactory.dataset.left_out import LEFT_OUT, read_left_out
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.digests import digest_file
from labelfactory.learning.checkpoints import CHECKPOINT, CURVE, read_passport
from labelfactory.rows.quality_summary import summary_of
from labelfactory.rows.rated import RatedRows
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.reports import read_report
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.stage.level_now import present_classes
from labelfactory.stage.output_state import LIST, State, with_present_scores
from labelfactory.versions import git_state
from reporting.content import ClassBar, Curve, QualityExample, QualityView, Report, StageLine, Step
from reporting.phrases import what_it_made
from stages._gallery import MaskColumns, Tagged, choose, gallery_item, tagged_masks
from stages._scoring import Counts, Scorer, scored_maps, scored_stages


def make_report(
    dataset: Dataset,
    scorer: Scorer,
    metrics: Mapping[str, Any],
    per_list: Mapping[str, Counts],
    each: Mapping[str, Mapping[str, float]],
    measured: Sequence[State],
    *,
    gallery: int,
) -> Report:
    """Gather the report of a finished line.

    Args:
        dataset: the data set.
        scorer: opens every scored output.
        metrics: flat metrics of `evaluate`.
        per_list: counts of each scored list.
        each: each image's own mIoU by score name, where it has a true mask.
        measured: the states of what was scored.
        gallery: images for each of best, median and worst.
    """
    noun = read_wiring().masks.noun
    masks = MaskColumns(scorer.rows[noun], RatedRows(noun))
    tagged = tagged_masks(masks, dataset)
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
        gallery=[
            gallery_item(scorer, dataset, record, why, each, quality=tagged[record.image_id].quality)
            for record, why in choose(tagged, each, gallery)
        ],
        provenance=_provenance(measured),
        notes=_notes(dataset, metrics, masks, tagged),
        quality=_quality(dataset, scorer),
        imported=read_account(DATA / "import" / ACCOUNT.name),
    )


PLACES = (
    (0.0, "the worst"),
    (0.1, "a tenth is worse"),
    (0.25, "a quarter is worse"),
    (0.5, "half are worse"),
    (0.75, "three quarters are worse"),
    (1.0, "the best"),
)
"""Where in the order by quality a picture stands."""


def _quality(dataset: Dataset, scorer: Scorer) -> QualityView | None:
    """How good the masks probably are; None where none is rated."""
    found = summary_of(dataset, worst=0)
    if not found.masks:
        return None
    records = {record.image_id: record for record in dataset.training}
    rows = scorer.rows[read_wiring().masks.noun]
    tagged = [mask for mask in found.masks if records[mask.image_id].tags]
    captions = {round(share * (len(tagged) - 1)): caption for share, caption in PLACES[::-1]} if tagged else {}
    examples = []
    for place, caption in sorted(captions.items()):
        mask = tagged[place]
        picture, pixels = records[mask.image_id].photograph(), rows[mask.image_id]["mask"]
        examples.append(QualityExample(caption, mask.image_id, mask.quality, picture, pixels))
    bars = [ClassBar(k, c.name, c.images, c.iou) for k, c in enumerate(found.classes) if c.images]
    return QualityView(
        [mask.quality for mask in found.masks],
        bars,
        examples,
        found.sentences(present_classes(read_wiring().masks.noun)),
    )


def _stage_lines() -> list[StageLine]:
    """One line for each stage that has run; the seconds are those of its last run."""
    lines = []
    for name, stage in read_wiring().items():
        path = DATA / "reports" / f"{name}.json"
        if stage.meta.kind != "report" and path.exists():
            report, scores = read_report(name), stage.meta.scores
            figures = (report["seconds"], report["peak_memory_mb"])
            lines.append(
                StageLine(name, what_it_made(with_present_scores(report)), *figures, scores.name, scores.measure)
            )
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
        for path in sorted(folder.glob("*.csv")):  # the curve by which the calibrating stage chose
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


def _provenance(measured: Sequence[State]) -> dict[str, str]:
    commit, dirty = git_state()
    provenance = {
        "commit": f"{commit or 'not a git repository'}{' (with changes)' if dirty else ''}",
        "params.yaml, SHA-256": digest_file(Path(PARAMS_FILE)),
        "data set, SHA-256": digest_file(DATA / "dataset" / "images.parquet"),
    }
    words = {"rows": "digest of all rows", "thresholds": "digest", LIST: "list, digest of photographs and true masks"}
    provenance |= {f"{s['name']}: {words[s['kind']]}": s["digest"] for s in measured if s["kind"] in words}
    for noun in read_wiring().networks:
        path = DATA / noun / CHECKPOINT
        if path.exists():
            passport = read_passport(path)
            provenance[f"{noun}: weights"] = passport.weights_digest
            provenance[f"{noun}: made by"] = f"seed {passport.seed}, commit {passport.git_commit}, {passport.device}"
            provenance[f"{noun}: labels seen"] = ", ".join(passport.supervision)
    return provenance


def _notes(dataset: Dataset, metrics: Mapping[str, Any], masks: MaskColumns, tagged: Mapping[str, Tagged]) -> list[str]:
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
