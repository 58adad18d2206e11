"""How well the quality of masks ranks them, and figures that were taken for it before: true masks only score it.

    python -m benchmarks.quality [PROJECT] [--list train]

PROJECT is finished and its images have true masks: its data/evaluation holds the mIoU of each. Drawn and untagged masks are left
out. Of the worst tenth by mIoU, `found` are among the tenth that a figure names. `lost` is the greatest loss, in points, of the
mean mIoU of the best x % by a figure against the best x % by mIoU, for x from 10 to 100. `level` is the mean of the figure.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import spearmanr

from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.prepared import read_dataset
from labelfactory.rows.rated import RatedRows
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import DATA, read_wiring

Figures = Mapping[str, NDArray[np.float64]]


def found_of_worst(figure: NDArray[np.float64], miou: NDArray[np.float64], part: float = 0.1) -> float:
    """Of the worst part by mIoU, the share that is in the worst part by a figure."""
    count = max(1, round(len(miou) * part))
    named, true = (set(np.argsort(values, kind="stable")[:count]) for values in (figure, miou))
    return len(named & true) / count


def greatest_loss(figure: NDArray[np.float64], miou: NDArray[np.float64]) -> float:
    """By how much the mean mIoU of the best x % by a figure is below that of the best x % by mIoU, at most."""
    counts = np.arange(1, len(miou) + 1)
    by_figure = np.cumsum(miou[np.argsort(-figure, kind="stable")]) / counts
    by_truth = np.cumsum(np.sort(miou)[::-1]) / counts
    return float((by_truth - by_figure)[len(miou) // 10 :].max())


def line_of(name: str, figure: NDArray[np.float64], miou: NDArray[np.float64]) -> str:
    """One line of the table."""
    correlation = spearmanr(figure, miou).statistic if np.ptp(figure) > 0 else float("nan")
    found, lost = found_of_worst(figure, miou), 100 * greatest_loss(figure, miou)
    return f"{name:24} {correlation:8.3f} {100 * found:8.0f} % {lost:8.1f} {figure.mean():8.3f}"


def read(name: str) -> tuple[NDArray[np.float64], Figures]:
    """mIoU of the masks of a list, and figures on them; in the project's folder."""
    dataset, masks = read_dataset(), read_wiring().masks
    rows, rated = RowReader(DATA / masks.noun, dataset), RatedRows(masks.noun, dataset)
    scores = pq.read_table(DATA / "evaluation/images.parquet", columns=["image_id", masks.meta.scores.name]).to_pylist()
    miou = {row["image_id"]: row[masks.meta.scores.name] for row in scores}
    columns = {column: rows.values(column) for column in ("agreement", "mean_confidence", "source")}
    chosen = [
        record
        for record in dataset.on_list(name)
        if record.tags
        and miou.get(record.image_id) is not None
        and columns["source"].get(record.image_id) not in (HUMAN, None)
    ]
    quality = {r.image_id: rated.quality(r.image_id, rows.states[r.image_id].digest) for r in chosen}
    chosen = [record for record in chosen if quality[record.image_id] is not None]
    figures = {
        "quality": np.array([quality[record.image_id] for record in chosen], dtype=np.float64),
        **{c: np.array([columns[c][r.image_id] for r in chosen], np.float64) for c in ("agreement", "mean_confidence")},
        "minus number of tags": np.array([-len(record.tags) for record in chosen], dtype=np.float64),
    }
    return np.array([miou[record.image_id] for record in chosen], dtype=np.float64), figures


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path, nargs="?", default=Path())
    parser.add_argument("--list", default="train")
    args = parser.parse_args()
    os.chdir(args.project)
    miou, figures = read(args.list)
    print(f"{len(miou)} masks of the list {args.list!r}, mean mIoU {miou.mean():.3f}, by figure:")
    print(f"{'':24} {'Spearman':>8} {'found':>10} {'lost':>8} {'level':>8}")
    for name, figure in figures.items():
        print(line_of(name, figure, miou))


if __name__ == "__main__":
    main()
