"""The demo data set: drawn animals with true masks, each a small distinctive head on a large plain body.

A classifier uses the head alone, so its CAM covers only that; the affinity walk and the CRF have to spread it over the
body. Image i depends on (seed, i) alone: a larger count adds images and changes none.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from labelfactory.dataset.images import Photograph, encode_mask
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.dataset.withdrawn import Withdrawn, say_refused, withdrawn
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.files import make_folder, remove_leftovers, write_whole
from labelfactory.schema import Classes, Mask
from sources._batch import Batch, Candidate
from sources._demo_animals import HEADS
from sources._demo_scene import draw_scene

CLASSES = Classes(tuple(HEADS))
TRAIN, VAL = "train", "val"


def list_of(index: int) -> str:
    """The list of image `index`, whatever the count: every fourth is for validation."""
    return VAL if index % 4 == 3 else TRAIN


def render_image(index: int, seed: int) -> tuple[Photograph, Mask]:
    """Draw image `index`.

    Returns:
        The photograph, [H, W, 3] uint8 RGB, and its true mask, [H, W] uint8; both sides within 160..224.
    """
    rng = np.random.default_rng([seed, index])
    if index % 33 == 17:  # about 3 % show no animal: legal negatives
        names = []
    else:  # the first animal cycles through the classes
        more = int(rng.choice(3, p=[0.45, 0.35, 0.20]))
        names = [
            CLASSES.names[index % len(CLASSES)],
            *(CLASSES.names[k] for k in rng.integers(len(CLASSES), size=more)),
        ]
    return draw_scene(rng, names, {name: k for k, name in enumerate(CLASSES.with_background)})


def render_demo(folder: Path, *, count: int, seed: int, start: int = 0) -> Manifest:
    """Render images `start` to `count - 1` and their true masks, but no withdrawn one; unchanged files are not written again.

    Args:
        folder: gets images/<image_id>.jpg and masks/<image_id>.png.
        count: number of images of the whole data set, those before `start` included.
        seed: another seed gives other images under other names.
        start: first image to render.

    Returns:
        A manifest of the images rendered, without positions; paths are `folder` and what follows.

    Raises:
        DataError: nothing to render, or a negative number.
    """
    if min(seed, start) < 0 or count <= start:
        raise DataError(
            f"--count {count} --seed {seed}: nothing to render" + (f", {start} images exist already" if start else ""),
            f"Give a --count of at least {max(start, 0) + 1} and a --seed of at least 0.",
        )
    for name in ("images", "masks"):
        make_folder(folder / name)
        remove_leftovers(folder / name)
    gone = withdrawn()
    with ThreadPoolExecutor() as pool:
        drawn = tuple(pool.map(lambda index: _render_entry(folder, index, seed, gone), range(start, count)))
    entries = gone.kept(drawn)
    say_refused([(e.image_id, e.sha256) for e in drawn if gone.refuses(e.image_id, e.sha256)])
    mask_ids = {k: k for k in range(len(CLASSES) + 1)}
    return Manifest(CLASSES, mask_ids, f"import demo --count {count} --seed {seed}", entries)


def find_demo(folder: Path, *, count: int, seed: int) -> Batch:
    """The demo as a batch, for other classes, names or lists; renders into `folder` first.

    Raises:
        DataError: as `render_demo`.
    """
    drawn = render_demo(folder, count=count, seed=seed)
    return Batch(
        root=folder,
        command=drawn.source,
        names=CLASSES.names,
        candidates=tuple(
            Candidate(e.image_id, Path(e.path), e.tags, e.lists, mask=Path(e.mask_path) if e.mask_path else None)
            for e in drawn.entries
        ),
        mask_values=dict(enumerate(CLASSES.names, 1)),
    )


def _render_entry(folder: Path, index: int, seed: int, gone: Withdrawn) -> Entry:
    """The entry of one image; its files are written unless it was withdrawn."""
    image_id = f"demo-{seed}-{index:05d}"
    photograph, mask = render_image(index, seed)
    stream = io.BytesIO()
    Image.fromarray(photograph).save(stream, format="JPEG", quality=93, subsampling=0)
    image_path, mask_path = folder / "images" / f"{image_id}.jpg", folder / "masks" / f"{image_id}.png"
    image_bytes, mask_bytes = stream.getvalue(), encode_mask(mask)
    sha256 = digest_bytes(image_bytes)
    if not gone.refuses(image_id, sha256):
        _write_if_new(image_path, image_bytes)
        _write_if_new(mask_path, mask_bytes)
    present = np.unique(mask)
    return Entry(
        image_id=image_id,
        path=image_path.as_posix(),
        sha256=sha256,
        lists=(list_of(index),),
        tags=tuple(sorted(CLASSES.names[int(k) - 1] for k in present if k)),
        mask_path=mask_path.as_posix(),
        mask_sha256=digest_bytes(mask_bytes),
        width=mask.shape[1],
        height=mask.shape[0],
    )


def _write_if_new(path: Path, data: bytes) -> None:
    """An unchanged file keeps its modification time, so that DVC does not hash it again."""
    if path.exists() and path.read_bytes() == data:
        return
    with write_whole(path) as temporary:
        temporary.write_bytes(data)
