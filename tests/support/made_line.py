"""A line that nobody ran: small shards, checkpoints, reports and a dvc.lock as the stages and DVC would have left them."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from labelfactory.dataset.manifest import Entry, Manifest, read_manifest, write_manifest
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset, write_dataset
from labelfactory.digests import digest_bytes, digest_json, digest_rows
from labelfactory.files import write_json
from labelfactory.learning.checkpoints import CHECKPOINT, Passport, save_checkpoint
from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn, TextColumn
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import Classes
from labelfactory.settings.params import read_yaml
from labelfactory.settings.thresholds import Threshold, thresholds_digest, write_thresholds
from labelfactory.settings.wiring import METRICS, read_wiring
from labelfactory.stage.output_state import made_by, passport_of, states
from labelfactory.stage.runner import stage_class
from lineage import record as ledger

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("cat", "dog")
SIZE = (12, 16)
DATA = Path("data")
COLUMNS: dict[str, dict[str, Any]] = {
    "extract_cams": {"cam": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")},
    "label_affinity": {"label": MaskColumn()},
    "random_walk": {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")},
    "refine_crf": {
        "mask": MaskColumn(),
        "confidence": ArrayColumn("uint8"),
        **{name: NumberColumn() for name in ("mean_confidence", "void_share", "agreement")},
        "source": TextColumn(),
    },
}
NOUNS = {"extract_cams": "cams", "label_affinity": "affinity_labels", "random_walk": "walks", "refine_crf": "masks"}

_made: dict[tuple[type, int], dict[Path, bytes]] = {}
"""Class and number of images → the files of a project as it is when it has just been made."""


def _contents(folder: Path) -> dict[Path, bytes]:
    """Files by their path in the folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class MadeLine:
    """The current folder as a project; each method leaves what one stage would."""

    ends_alike = False
    """Whether every segmenter ends with the same weights, whatever it learns from."""
    older = False
    """Whether reports and scores are those of an earlier version: they name no digests and no classes."""
    killed = ""
    """The stage that is killed before it writes its report."""
    names = CLASSES
    """Of the classes, in order."""
    supervision: tuple[str, ...] = ("tags",)
    """Kinds of labels that every network saw."""

    def __init__(self, images: int = 4) -> None:
        """Make the project of that many images. The same one is made once a process, and copied."""
        self.root = Path.cwd()
        wanted = type(self), images
        if wanted not in _made:
            there = _contents(self.root)
            self._make(images)
            _made[wanted] = {path: content for path, content in _contents(self.root).items() if path not in there}
            return
        for path, content in _made[wanted].items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    @classmethod
    def here(cls) -> "MadeLine":
        """The one that is in the current folder already."""
        line = cls.__new__(cls)
        line.root = Path.cwd()
        return line

    def _make(self, images: int) -> None:
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copyfile(ROOT / name, name)
        params = read_yaml(Path("params.yaml"))
        params["refine_crf"]["method"] = {"name": "dense_crf", "gt_prob": 0.7, "crf": {"steps": 1}}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        entries = tuple(self._photograph(f"image-{k}", k) for k in range(images))
        write_manifest(Manifest(Classes(CLASSES), {0: 0, 1: 1, 2: 2}, "import test", entries))
        for noun in ("seed_thresholds", "walk_threshold"):
            (DATA / noun).mkdir(parents=True)
            write_thresholds(DATA / noun, {"background": Threshold(0.5, "auto")})
        self.run()

    @staticmethod
    def _photograph(image_id: str, seed: int) -> Entry:
        path = Path(f"data/raw/{image_id}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        tags = ((), ("cat",), ("dog",), ("cat", "dog"))[seed % 4]
        return Entry(image_id, str(path), digest_bytes(path.read_bytes()), ("train", "val"), tags, position=seed)

    def run(self, *, commit: bool = True, seed: int = 0, **changes: str) -> None:
        """All stages, from what params.yaml says; `changes` are other inputs of a stage's rows, by the stage's name."""
        self.prepare()
        first = self.train("classifier", {}, seed=seed)
        self.rows("extract_cams", {"classifier": first.weights_digest}, changes.get("extract_cams", ""))
        self.report("calibrate_seeds")
        self.rows("label_affinity", {}, changes.get("label_affinity", ""))
        second = self.train("affinity", {"classifier": first}, seed=seed)
        self.rows("random_walk", {"affinity": second.weights_digest}, changes.get("random_walk", ""))
        self.report("calibrate_walks")
        self.rows(
            "refine_crf", {"threshold": thresholds_digest(DATA / "walk_threshold")}, changes.get("refine_crf", "")
        )
        self.train("segmenter", {"classifier": first, "affinity": second}, seed=seed)
        self.evaluate({"miou/val/model": 0.5 + seed / 100, "true_masks": 1})
        if commit:
            self.commit()

    def evaluate(self, figures: Mapping[str, float]) -> None:
        """Metrics and report of what is there."""
        wiring = read_wiring()
        measured = states(wiring["evaluate"].inputs, ("train", "val"))
        if self.older:
            measured = [{k: v for k, v in state.items() if k != "classes"} for state in measured]
        write_json(METRICS, {**figures, "measured": measured})
        self.report("evaluate", segmenter=passport_of("segmenter").weights_digest)

    def prepare(self) -> None:
        """The data set of the manifest."""
        records = tuple(
            ImageRecord(
                **e.__dict__ | {"width": SIZE[1], "height": SIZE[0]},
                split="train" if "train" in e.lists else "score",
                shard=0,
                status="ok",
                reason="",
            )
            for e in read_manifest().entries
        )
        write_dataset(Dataset(Classes(self.names), {0: 0, 1: 1, 2: 2}, "train", "train", 0.1, records))
        self.report("prepare", images=len(records))

    @property
    def dataset(self) -> Dataset:
        return read_dataset()

    def rows(self, stage: str, fixed: Mapping[str, str], change: str) -> None:
        """Rows of a per-image stage: a function of the image, of the row above it, and of the change."""
        noun, columns, section = NOUNS[stage], COLUMNS[stage], read_yaml(Path("params.yaml"))[stage]
        above = {"random_walk": "cams", "label_affinity": "cams", "refine_crf": "walks"}.get(stage)
        upstream = {s.image_id: s.digest for s in ShardFolder(DATA / above).all_states()} if above else {}
        finished, params = [], stage_class(stage).section.model_validate(section).digest()
        dataset = self.dataset
        for record in dataset.training:
            inputs: dict[str, Any] = {
                "stage": stage,
                "format": 1,
                "code": f"code{change}",
                "params": params,
                "classes": list(self.names),
                **fixed,
                "image": record.sha256,
                "tags": list(record.tags),
                **({above: upstream[record.image_id]} if above else {}),
            }
            ids = dataset.classes.ids(record.tags)
            row = self._payload(stage, ids, record, change + upstream.get(record.image_id, ""))
            finished.append(finish(record.image_id, inputs, row, columns))
        schema = shard_schema(stage, columns, self.names)
        (DATA / noun).mkdir(parents=True, exist_ok=True)
        ShardFolder(DATA / noun).write(0, rows_table(finished, schema))
        figures = {"rows_computed": len(finished), "rows_copied": 0, "rows_quarantined": 0}
        self.report(stage, **figures, change=change)

    def _payload(self, stage: str, ids: NDArray[np.uint8], record: ImageRecord, change: str) -> dict[str, Any]:
        seed = int(digest_json([stage, record.image_id, record.sha256, change])[:8], 16)
        random = np.random.default_rng(seed)
        maps = random.random((len(ids), 3, 4)).astype(np.float16)
        if stage in ("extract_cams", "random_walk"):
            return {("cam" if stage == "extract_cams" else "scores"): maps, "class_ids": ids}
        mask = random.integers(0, 3, SIZE, dtype=np.uint8)
        if stage == "label_affinity":
            return {"label": mask}
        quality = dict.fromkeys(("mean_confidence", "void_share", "agreement"), np.float32(random.random()))
        return {"mask": mask, "confidence": np.full((3, 4), 200, np.uint8), **quality, "source": stage}

    def train(self, name: str, parents: Mapping[str, Passport], seed: int) -> Passport:
        """A checkpoint whose weights follow from its rows and seed."""
        noun = {"classifier": None, "affinity": "affinity_labels", "segmenter": "masks"}[name]
        source = {"classifier": "tags", "affinity": "affinity_labels", "segmenter": "refine_crf"}[name]
        if noun:
            rows = {s.image_id: s.digest for s in ShardFolder(DATA / noun).all_states()}
        else:
            rows = {r.image_id: r.digest for r in self.dataset.training}
        digest = digest_rows(rows.items())
        key = digest_json([name, digest, seed, {n: p.weights_digest for n, p in parents.items()}])
        end = digest_json("alike") if name == "segmenter" and self.ends_alike else key
        weights = torch.frombuffer(bytearray.fromhex(end), dtype=torch.float32).clone()
        passport = Passport(
            stage=f"train_{name}",
            key=key,
            architecture={"net": name},
            classes=list(self.names),
            params={"seed": seed},
            params_digest=digest_json(seed),
            code_digest=digest_json("code"),
            git_commit=None,
            git_dirty=None,
            seed=seed,
            device="cpu",
            libraries={"torch": torch.__version__},
            training_rows=len(rows),
            training_rows_digest=digest,
            parents={n: p.weights_digest for n, p in parents.items()},
            supervision=list(self.supervision),
            metrics={"loss": 0.25},
        )
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({"image_id": list(rows), "digest": list(rows.values()), "source": [source] * len(rows)})
        pq.write_table(table, folder / "training_rows.parquet")
        (folder / "curve.csv").write_text("epoch,loss,learning_rate\n1.0,0.5,0.1\n2.0,0.25,0.05\n")
        stamped = save_checkpoint(folder / CHECKPOINT, {"w": torch.nan_to_num(weights)}, passport)
        self.report(f"train_{name}", trained=True, training_rows=len(rows), loss=0.25, key=key)
        return stamped

    def report(self, stage: str, **figures: Any) -> None:
        """A report like that of a stage; figures that identify the work make it the same for the same work."""
        path, wiring = DATA / f"reports/{stage}.json", read_wiring()[stage]
        said = {} if self.older else {"read": states(wiring.inputs), "made": made_by(wiring)}
        if stage != self.killed:
            write_json(path, {"stage": stage, "seconds": 1.5, "peak_memory_mb": 100, **figures, **said})

    def commit(self) -> None:
        """What DVC does after a stage: every output into the cache by its MD5, its name into dvc.lock."""
        wired = read_yaml(Path("dvc.yaml"))["stages"]
        params = read_yaml(Path("params.yaml"))
        lock: dict[str, Any] = {}
        for name, body in wired.items():
            outs = [next(iter(o)) if isinstance(o, dict) else o for o in (*body["outs"], *body["metrics"])]
            there = [out for out in outs if Path(out).exists()]
            if there:
                lock[name] = {
                    "cmd": body["cmd"],
                    "params": {"params.yaml": {section: params[section] for section in body["params"]}},
                    "outs": [{"path": out, "md5": self._cache(Path(out))} for out in there],
                    "deps": [
                        {"path": dep, "md5": self._cache(Path(dep))} for dep in body["deps"] if self._is_made(dep)
                    ],
                }
        Path("dvc.lock").write_text(yaml.dump({"schema": "2.0", "stages": lock}, Dumper=yaml.CSafeDumper))

    @staticmethod
    def _is_made(dep: str) -> bool:
        return dep.startswith("data/") and Path(dep).exists()

    def complete(self) -> None:
        """Also the outputs that nobody looks at, and dvc.lock as DVC 3 writes it: DVC can push and pull them all."""
        for name, stage in read_yaml(Path("dvc.yaml"))["stages"].items():
            for out in (next(iter(o)) if isinstance(o, dict) else o for o in (*stage["outs"], *stage["metrics"])):
                if out == f"data/reports/{name}.json" and not Path(out).exists():
                    self.report(name)
                if not Path(out).exists():
                    place = Path(out) if Path(out).suffix else Path(out, "file")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text("{}")
        self.commit()
        lock = read_yaml(Path("dvc.lock"))
        for stage in lock["stages"].values():
            for each in (*stage["outs"], *stage["deps"]):
                each["hash"] = "md5"
        Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))

    def _cache(self, path: Path) -> str:
        if path.is_file():
            return self._store(path.read_bytes())
        listed = [
            {"md5": self._store(file.read_bytes()), "relpath": file.relative_to(path).as_posix()}
            for file in sorted(path.rglob("*"))
            if file.is_file()
        ]
        return self._store(json.dumps(listed, sort_keys=True).encode(), ".dir")

    @staticmethod
    def _store(data: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
        place = Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return md5


def recorded_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded. The test goes to its folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    ledger.record()
    return made
