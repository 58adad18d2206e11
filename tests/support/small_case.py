"""A project of six images in which every command that writes has something to do, and all that it holds afterwards.

A case is a folder: `project`, with what the commands read in `given`, and its `bucket`. A copy of it works as well.
"""

import json
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from forked_commands import command, fork, wait
from made_line import MadeLine
from passports import passport
from PIL import Image

from labelfactory.dataset.account import ACCOUNT, read_account
from labelfactory.dataset.corrections import (
    CORRECTIONS,
    TABLE,
    corrected_mask,
    read_corrections,
    store_mask,
    write_corrections,
)
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.left_out import read_left_out
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest, write_manifest
from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.digests import digest_bytes, digest_file
from labelfactory.files import ENDING
from labelfactory.learning.checkpoints import save_checkpoint
from labelfactory.schema import Classes
from lineage.deliver import deliver
from lineage.ledger import Ledger
from lineage.record import record
from lineage.verify_ledger import check_chain
from models.backbones import build_backbone
from models.segmenters import build_segmenter

GIVEN, BUCKET = Path("given"), Path("../bucket")
SIZE = (12, 16)
NET = {
    "backbone": "tiny",
    "output_stride": 16,
    "folded": False,
    "net": "deeplab_v3",
    "width": 16,
    "rates": [1, 2],
    "classes": 3,
}
CONFIG = """[core]
    no_scm = true
    analytics = false
    check_update = false
    remote = store
    checksum_jobs = 1
[remote "store"]
    url = ../../bucket
    jobs = 1
"""
"""One job at a time: the calls of a command have one order."""
WRITERS: dict[str, tuple[str, ...]] = {
    "import folder": ("import", "folder", "given/folders", "--classes", "cat,dog", "--replace"),
    "import one": ("import", "table", "given/one/table.csv", "--append"),
    "import two": ("import", "table", "given/two/table.csv", "--append"),
    "import coco": ("import", "coco", "given/coco.json", "--images", "given/one", "--append", "--list", "train"),
    "add one": ("corrections", "add", "given/drawn-one"),
    "add two": ("corrections", "add", "given/drawn-two"),
    "remove": ("corrections", "remove", "image-3"),
    "withdraw": ("withdraw", "image-0", "--later", "--by", "a", "--reason", "asked"),
    "promote first": ("promote", "segmenter@1"),
    "promote latest": ("promote",),
    "profile": ("profile", "--set", "prepare.max_bad_fraction=0.25"),
    "seed": ("profile", "--seed", "7"),
    "record": ("record",),
    "release": ("quarantine", "release", "image-5"),
    "export": ("export", "coco", "--out", "../out"),
    "push": ("push",),
    "pull": ("pull", "--give-up"),
}
"""Name of what is typed → its words: commands that change what another command reads, and their neighbours."""
MODEL = ("--checkpoint", "given/segmenter.safetensors")
COMMANDS = {
    **WRITERS,
    "add again": ("corrections", "add", "given/drawn-again"),
    "package": ("package", *MODEL, "--check", "given/one/one-0.png", "--out", "../packages/net.onnx"),
    "predict": ("predict", "given/one/one-0.png", *MODEL, "--scales", "1", "--out", "../packages/predicted"),
    "export voc": ("export", "voc", "--out", "../out"),
    "export-lineage": ("export-lineage", "../packages/lineage"),
    "sweep": ("sweep", "refine_crf.method.gt_prob=0.6,0.8"),
}
"""All that write."""
APART = ("import/", "corrections/", "ledger/", "mlflow/", "sweeps/")
"""Folders below data/ that `state` reads, and a database."""


def make_case(folder: Path) -> Path:
    """Make a case. Gives its folder."""
    (folder / "project").mkdir(parents=True)
    steps = (_make, command("push"), command("import", "table", "given/three/table.csv", "--append"), _change)
    for number, run in enumerate(steps):  # forks: they open databases, which no other may share
        code = wait(fork(folder / "project", folder / "made.log", run))
        assert code == 0, f"step {number}:\n{(folder / 'made.log').read_text()}"
    return folder


def make_clone(case: Path, folder: Path) -> Path:
    """A case whose project is a clone that has pulled nothing yet."""
    shutil.copytree(case / "bucket", folder / "bucket")
    for name in ("dvc.yaml", "params.yaml", ".dvc/config"):
        (folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(case / "project" / name, folder / "project" / name)
    return folder


def copy_case(case: Path, folder: Path) -> Path:
    """A copy of a case, in which nothing else works."""
    return Path(shutil.copytree(case, folder, symlinks=True))


def _make() -> None:
    made = MadeLine(6)
    manifest = read_manifest()
    *others, last = (replace(entry, lists=("train",)) for entry in manifest.entries)
    write_manifest(replace(manifest, entries=(*others, replace(last, lists=("val",)))))
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["prepare"]["max_bad_fraction"] = 0.5
    Path("params.yaml").write_text(yaml.safe_dump(params))
    made.run(seed=1, commit=False)
    Path(".dvc").mkdir(exist_ok=True)
    Path(".dvc/config").write_text(CONFIG)
    BUCKET.mkdir()
    for number, name in enumerate(("one", "two", "three")):
        _photographs(GIVEN / name, name, seed=number)
    for number, name in enumerate(("one", "two", "again")):
        (GIVEN / f"drawn-{name}").mkdir()
        for k in (number, number + 1):
            mask = np.random.default_rng([2, number, k]).integers(0, 3, SIZE, dtype=np.uint8)
            (GIVEN / f"drawn-{name}/image-{k}.png").write_bytes(encode_mask(mask))
    for label in ("cat", "dog"):
        _photographs(GIVEN / "folders" / label, label, seed=len(label) + ord(label[0]))
    _coco()
    records = {record.image_id: record for record in read_dataset().records}
    kept = store_mask("image-3", records["image-3"].sha256, np.ones(SIZE, np.uint8), Classes(("cat", "dog")))
    write_corrections([kept])
    _segmenter(GIVEN / "segmenter.safetensors")
    made.complete()
    record()
    assert not deliver().waiting


def _photographs(folder: Path, name: str, seed: int) -> None:
    folder.mkdir(parents=True)
    rows = ["id,path,tags,list"]
    for k, tag in enumerate(("cat", "dog")):
        pixels = np.random.default_rng([1, seed, k]).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}-{k}.png")
        rows.append(f"{name}-{k},{name}-{k}.png,{tag},train")
    (folder / "table.csv").write_text("\n".join([*rows, f"{name}-2,missing.png,cat,train", ""]))  # which is left out


def _coco() -> None:
    """Photographs whose true masks the import draws."""
    height, width = SIZE
    images = [{"id": k, "file_name": f"one-{k}.png", "height": height, "width": width} for k in range(2)]
    box = {"segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]], "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}
    annotations = [{"id": k + 1, "image_id": k, "category_id": k + 1, **box} for k in range(2)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (GIVEN / "coco.json").write_text(json.dumps(coco))


def _segmenter(path: Path) -> None:
    """A real segmenter, for `package`."""
    torch.manual_seed(0)
    net = build_segmenter(build_backbone("tiny", output_stride=16, state=None, pretrained=False), NET)
    save_checkpoint(path, net.state_dict(), passport(architecture=NET, classes=["cat", "dog"], stage="train_segmenter"))


def _change() -> None:
    """After the last record and push: other masks, and one image in quarantine."""
    made = MadeLine.__new__(MadeLine)
    made.rows("refine_crf", {"threshold": "another"}, "another")
    dataset = read_dataset()
    aside = [
        replace(r, status="quarantined", reason="damaged") if r.image_id == "image-5" else r for r in dataset.records
    ]
    write_dataset(replace(dataset, records=tuple(aside)))
    made.complete()


# --- what it holds ----------------------------------------------------------------------------------------------------


def state(case: Path) -> dict[str, Any]:
    """What a case holds, without times. Raises where something is damaged or doubled."""
    project = case / "project"
    corrections = read_corrections(project / CORRECTIONS)
    for correction in corrections.values():
        corrected_mask(correction, Classes(("cat", "dog")), project / CORRECTIONS)
    dataset = project / "data/dataset/images.parquet"
    records = read_dataset(dataset).records if dataset.exists() else ()
    return {
        "import": _import(project),
        "account": read_account(project / ACCOUNT),  # of that import
        "left out": [asdict(item) for item in read_left_out(project / "data/import/left_out.json")],
        "corrections": {name: asdict(correction) for name, correction in corrections.items()},
        "params": (project / "params.yaml").read_text(),
        "samples": [(r.image_id, r.status) for r in records],
        **_ledger(Ledger(project / "data/ledger")),
        "export": _files(case / "out"),
        **_files(case / "packages"),  # one by one: these files do not depend on each other
        **_files(project / "data/sweeps"),
        "bucket": _bucket(case / "bucket/labelfactory"),
    }


def held(case: Path) -> dict[str, Any]:
    """The same, and one by one the files that a command adds or deletes, each whole: photographs, outputs, DVC's objects."""
    project = case / "project"
    return {
        **state(case),
        "reports": [_lasting(report) for report in _reports(project)],
        **{f"data/{path}": digest for path, digest in _files(project / "data").items() if not path.startswith(APART)},
        **{f"cache/{path}": digest for path, digest in _files(project / ".dvc/cache").items()},
        **{f"bucket/{path}": digest for path, digest in _files(case / "bucket").items()},
    }


def _reports(project: Path) -> list[dict[str, Any]]:
    """Signed reports of withdrawals."""
    folder = project / "data/ledger/withdrawals"
    return [json.loads((folder / name).read_text()) for name in _signed(project)]


def _lasting(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its id and time, and without transfers that may be under way: one that was killed a moment ago may."""
    kept = {k: v for k, v in report.items() if k not in ("id", "time")}
    return kept | {
        "not_ours": [line for line in report.get("not_ours", ()) if "temporary files of transfers" not in line]
    }


def _signed(project: Path) -> list[str]:
    return [event["detail"]["report"] for event in Ledger(project / "data/ledger").events("signed off")]


def _import(project: Path) -> list[Any]:
    if not (project / MANIFEST).exists():
        return []
    manifest = read_manifest(project / MANIFEST)
    ids = [entry.image_id for entry in manifest.entries]
    assert len(ids) == len(set(ids)) == len({entry.position for entry in manifest.entries}), "doubled entries"
    return [manifest.source, manifest.mask_ids, *(_named(project, entry) for entry in manifest.entries)]


def _named(project: Path, entry: Entry) -> dict[str, Any]:
    """An entry; what it names must be there as it says."""
    for path, digest in ((entry.path, entry.sha256), (entry.mask_path, entry.mask_sha256)):
        assert path is None or digest_file(project / path) == digest, f"{path}: not as the import says"
    return asdict(entry)


def _ledger(ledger: Ledger) -> dict[str, Any]:
    assert list(check_chain(ledger)) == []
    masks = [tuple(row.values()) for row in ledger.read("masks", ["image_id", "digest", "key"]).to_pylist()]
    assert len(masks) == len(set(masks)), "doubled masks"
    kinds = ("execution", "line", "model", "promoted", "withdrawn", "signed off")
    events = ledger.events(*kinds)
    made = [(e["event"], e["subject"]) for e in events if e["event"] in kinds[:3]]
    assert len(made) == len(set(made)), "doubled events"
    people = [(e["event"], _timeless(e["detail"])) for e in events if e["event"] in kinds[3:]]
    return {
        "masks": set(masks),
        "made": set(made),
        "promotions": [detail for event, detail in people if event == "promoted"],
        "withdrawals": Counter(f"{event} {detail}" for event, detail in people if event != "promoted"),
    }


def _timeless(detail: dict[str, Any]) -> str:
    return json.dumps(
        {name: value for name, value in detail.items() if name not in ("report", "left", "withdrawal")}, sort_keys=True
    )


def _files(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"]
    return {str(path.relative_to(folder)): digest_file(path) for path in files}


def _bucket(folder: Path) -> list[str]:
    """Images of the import that was pushed; all that it names must be in the bucket."""
    manifest = read_manifest(folder / "manifest.parquet")
    for entry in manifest.entries:
        for digest in filter(None, (entry.sha256, entry.mask_sha256)):
            data = (folder / "pictures" / digest[:2] / digest).read_bytes()
            assert digest_bytes(data) == digest, "a damaged picture in the bucket"
    return [entry.image_id for entry in manifest.entries]


def leftovers(case: Path) -> list[str]:
    """Temporary files, files of corrections that no row names, and reports that nobody signed."""
    others = {".dvc", "bucket"}  # where DVC has temporary files of its own
    inside = [p for p in case.rglob(".*.tmp") if p.name.endswith(ENDING) or not others & set(p.relative_to(case).parts)]
    folder = case / "project" / CORRECTIONS
    named = {c.path(folder) for c in read_corrections(folder).values()} | {folder / TABLE}
    inside += [p for p in folder.glob("*") if p not in named]
    inside += [
        p for p in (case / "project/data/ledger/withdrawals").glob("*") if p.name not in _signed(case / "project")
    ]
    return sorted({str(p.relative_to(case)) for p in inside})
