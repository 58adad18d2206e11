"""What a person needs to audit a sample: the photographs alone, a legend of the classes, and points to answer.

images.csv             image_id and file of each photograph, in the order in which to audit them
photographs/           of these images, upright
classes.txt, labelmap.txt, legend.png   the classes, their numbers and colours in masks
points.csv, points/    each point with an empty answer; the photographs with their numbered points. Only of samples with points

No mask of ours is among them: a person who starts from one agrees with it too often.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from exports._selection import Item
from exports.voc import label_map
from labelfactory.dataset.audits import Sample
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.destinations import PNG_TEXT, blank_seal, refuse_own, seal
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.files import (
    disk_errors,
    filled_folder,
    make_folder,
    remove_leftover_folders,
    remove_made,
    temporary_path,
)
from labelfactory.progress import progress
from labelfactory.review.points import drawn_points
from labelfactory.schema import palette

COMMAND = "labelfactory review sample"
PHOTOGRAPHS, POINTS = "photographs", "points"
ROW, PATCH = 28, 44
"""Pixels of a line of the legend, and of the patch of colour before a name."""
QUICK = 1
"""Compression of PNGs that a person looks at once: a quarter of the usual time, for files that are a tenth larger."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
WIDTH = 1400
"""Pixels to which a small photograph is enlarged, so that numbers do not cover its points."""


def write_audit_folder(out: Path, sample: Sample, dataset: Dataset, image_ids: Sequence[str]) -> None:
    """Write the folder.

    Args:
        out: a folder that does not exist, or is empty.
        sample: with its seed and number of points.
        dataset: of the photographs.
        image_ids: of the images, in order.

    Raises:
        DataError: `out` belongs to the project or contains something; a photograph cannot be read.
        DiskError: nothing can be written there.
    """
    refuse_own(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists and is not an empty folder", "Name a folder that does not exist.")
    make_folder(out.parent)
    remove_leftover_folders(out.parent, [out.name])
    temporary = temporary_path(out)
    made = None
    with disk_errors(out):
        try:
            with filled_folder(temporary) as folder:
                made = folder.stat()
                _fill(folder, sample, dataset, image_ids)
            temporary.replace(out)  # of an empty folder; one that somebody has filled meanwhile stays
        finally:
            remove_made(temporary, made)


def _fill(folder: Path, sample: Sample, dataset: Dataset, image_ids: Sequence[str]) -> None:
    records = {record.image_id: record for record in dataset.usable}
    names = dataset.classes.with_background
    (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    if not any(":" in name for name in names):
        (folder / "labelmap.txt").write_text(label_map(names), encoding="utf-8")
    cv2.imwrite(str(folder / "legend.png"), _legend(names))
    rows, points = [], []
    with progress("audit", len(image_ids)) as tick:
        for image_id in image_ids:
            record = records[image_id]
            item = Item(record, np.zeros((0, 0), dtype=np.uint8), "", 0.0, "")
            rows.append((image_id, _write_photograph(folder / PHOTOGRAPHS, item)))
            if sample.points:
                points += _write_points(folder / POINTS / f"{item.name}.png", record, sample)
            tick()
    _write_csv(folder / "images.csv", ("image_id", "file"), rows)
    if points:
        _write_csv(folder / "points.csv", ("image_id", "number", "x", "y", "answer"), points)


def _write_photograph(folder: Path, item: Item) -> str:
    """Write a photograph; gives the file's name. One that was encoded anew bears a seal, as its bytes tell nobody whose it is."""
    path = item.write_photograph(folder)
    if digest_file(path) != item.record.sha256:
        _save_sealed(path, np.asarray(Image.open(path)))
    return path.name


def _save_sealed(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG by whose mark `withdraw` knows what it is, wherever it lies."""
    mark = PngInfo()
    mark.add_text(PNG_TEXT, blank_seal(COMMAND))
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=mark, compress_level=QUICK)
    seal(path, COMMAND)


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def _legend(names: Sequence[str]) -> np.ndarray:
    """The colour of each class id and its name; void last."""
    colours = palette()
    rows = [*enumerate(names), (255, "void: cannot be said, such as an edge; not scored")]
    picture = np.full((ROW * len(rows) + 12, 640, 3), 255, dtype=np.uint8)
    for k, (class_id, name) in enumerate(rows):
        top = 6 + k * ROW
        picture[top + 4 : top + ROW - 4, 8 : 8 + PATCH] = colours[class_id][::-1]
        shown = name.encode("ascii", "replace").decode()  # the font has no others; classes.txt has the names
        cv2.putText(picture, f"{class_id:3d}  {shown}", (62, top + 20), FONT, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def _write_points(path: Path, record: ImageRecord, sample: Sample) -> list[tuple[object, ...]]:
    """Write the photograph with its numbered points; gives the rows of points.csv."""
    x, y = drawn_points(sample.seed, record.sha256, sample.points, (record.height, record.width))
    photograph = record.photograph()
    scale = max(1.0, WIDTH / photograph.shape[1])
    picture = cv2.resize(photograph[:, :, ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    for number, (a, b) in enumerate(zip(x, y, strict=True), 1):
        at = (round((a + 0.5) * scale), round((b + 0.5) * scale))
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.circle(picture, at, 7, colour, width, cv2.LINE_AA)
            cv2.putText(picture, str(number), (at[0] + 10, at[1] + 5), FONT, 0.55, colour, width, cv2.LINE_AA)
    path.parent.mkdir(exist_ok=True)
    _save_sealed(path, np.ascontiguousarray(picture[:, :, ::-1]))
    return [
        (record.image_id, number, a, b, "") for number, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True), 1)
    ]
