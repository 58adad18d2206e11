"""Look-ups in a ledger of a million masks and fifty models, and the size of its rows on disk.

    python -m benchmarks.ledger [--images 20000] [--models 50] [--folder FOLDER]

Each model has its own mask of each image, as if every mask changed before each training: images × models masks, and as
many training rows. Digests are random bytes, which do not compress. Each look-up runs for five images or models after one
that is not counted; the slowest of the five is shown. Start-up makes the index and opens it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelfactory.digests import digest_bytes
from labelfactory.learning.checkpoints import Passport
from lineage.ledger import SCHEMAS, Ledger, events_table
from lineage.lookup import Lookup

LIMIT_MS = 100
LIMIT_BYTES = 200
RANDOM = np.random.default_rng(0)
START = datetime(2026, 1, 1, tzinfo=UTC)


def digests(count: int) -> pa.Array:
    """Random digests of 32 bytes."""
    return pa.Array.from_buffers(pa.binary(32), count, [None, pa.py_buffer(RANDOM.bytes(32 * count))])


def constant(value: object, count: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, type=kind), count)


def passport(model: int, rows: int) -> Passport:
    return Passport(
        stage="train_segmenter",
        key=digest_bytes(b"key %d" % model),
        weights_digest=weights(model),
        architecture={"net": "deeplab_v3plus"},
        classes=["cat", "dog"],
        params={"epochs": 6},
        params_digest="",
        code_digest="",
        git_commit=None,
        git_dirty=None,
        seed=0,
        device="cpu",
        libraries={},
        training_rows=rows,
        training_rows_digest="",
        parents={},
        supervision=["tags"],
        metrics={"loss": 0.1},
    )


def weights(model: int) -> str:
    return digest_bytes(b"model %d" % model)


def make(ledger: Ledger, images: int, models: int) -> dict[str, float]:
    """Fill a ledger as `models` runs of the line would. Returns bytes per row by kind."""
    names = pa.array([f"{2007 + i % 6}_{i:06d}" for i in range(images)])
    photographs, tags = digests(images), pa.array([("cat|dog", "cat", "person", "")[i % 4] for i in range(images)])
    size = dict.fromkeys(("masks", "training"), 0)
    for model in range(models):
        moment, run = START + timedelta(hours=model), digest_bytes(b"run %d" % model)
        recipe = json.dumps({noun: {"code": run, "params": run} for noun in ("cams", "walks", "masks")})
        masks = {
            "image_id": names,
            "image": photographs,
            "tags": tags,
            "source": constant("refine_crf", images, pa.string()),
            "recipe": constant(recipe, images, pa.string()),
            "run": constant(run, images, pa.string()),
            "time": constant(moment, images, SCHEMAS["masks"].field("time").type),
            **{name: digests(images) for name in ("digest", "key", "walk", "cam")},
            **{
                name: pa.array(RANDOM.random(images, np.float32))
                for name in ("mean_confidence", "void_share", "agreement")
            },
        }
        masks["model"] = constant(bytes.fromhex(weights(model)), images, pa.binary(32))
        detail = {
            "name": "segmenter",
            "version": model + 1,
            "run": run,
            "passport": passport(model, images).model_dump(),
        }
        with ledger.locked():
            for kind in ("masks", "training"):
                schema = SCHEMAS[kind]  # type: ignore[index]
                table = pa.table({name: masks[name] for name in schema.names}, schema=schema)
                path = ledger.append(kind, table)  # type: ignore[arg-type]
                size[kind] += path.stat().st_size if path else 0
            ledger.append("events", events_table([("model", weights(model), detail, moment)]))
    return {kind: total / (images * models) for kind, total in size.items()}


def slowest(question: Callable[[int], object]) -> float:
    """Milliseconds of the slowest of five answers, after one that is not counted."""
    question(5)
    times = []
    for number in range(5):
        start = time.perf_counter()
        assert question(number)
        times.append(time.perf_counter() - start)
    return 1000 * max(times)


def main() -> None:
    """Make a ledger, time its look-ups, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="keep the ledger in this folder, or use the one in it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        ledger = Ledger(args.folder or Path(temporary) / "ledger")
        if not ledger.files():
            for kind, count in make(ledger, args.images, args.models).items():
                print(
                    f"{kind:<28}{count:>8.1f} bytes a row, {'under' if count <= LIMIT_BYTES else 'OVER'} {LIMIT_BYTES}"
                )
        ask(ledger, args.images, args.models)


def ask(ledger: Ledger, images: int, models: int) -> None:
    """Time each look-up."""
    start = time.perf_counter()
    lookup = Lookup(ledger)
    known = list(lookup.models.values())
    lookup.rows("SELECT 1")
    print(f"{'start-up':<28}{1000 * (time.perf_counter() - start):>8.0f} ms")

    def name(number: int) -> str:
        index = number * (images // 7)
        return f"{2007 + index % 6}_{index:06d}"

    questions: dict[str, Callable[[int], object]] = {
        "a model's masks, by source": lambda n: lookup.training_summary(known[n * models // 7].digest),
        "a model's masks, each": lambda n: lookup.training(known[n * models // 7].digest),
        "an image's masks": lambda n: lookup.masks(name(n)),
        "models that saw an image": lambda n: lookup.users([name(n)]),
    }
    print(f"{images * models:,} masks, {models} models")
    for title, question in questions.items():
        took = slowest(question)
        print(f"{title:<28}{took:>8.1f} ms, {'under' if took <= LIMIT_MS else 'OVER'} {LIMIT_MS}")


if __name__ == "__main__":
    main()
