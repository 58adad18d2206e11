"""What an output holds, by digest: rows, weights or thresholds; and the lists of images that scores are measured on.

`evaluate` writes these digests beside its scores, the ledger compares them: a score belongs to the digests that it was
measured on, and to nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from labelfactory.dataset.prepared import IMAGES, REMEDY, read_dataset
from labelfactory.dataset.tables import read_columns
from labelfactory.digests import digest_file, digest_json, digest_rows
from labelfactory.errors import UserError
from labelfactory.learning.checkpoints import CHECKPOINT, Passport, read_passport, training_digest
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import THRESHOLDS, thresholds_digest
from labelfactory.settings.wiring import DATA, METRICS, StageWiring, read_wiring

LIST, SETTINGS, SCORES_FILE = "list", "settings", "scores"
"""Kinds of states beside those of outputs: a list of images, settings, and a file of scores."""
SCORED_ON = "scored_on"
"""In the report of a stage that trains a network: each list that the network was scored on, and its digest."""
State = dict[str, Any]
"""`name`, `kind` (rows, model, thresholds, LIST, SETTINGS or SCORES_FILE), `digest`, and `rows`, the number of rows. A list has
`classes` too: the names of class ids 1, 2, … in its true masks."""
SCORES = ("map/", "ap/")
"""How the keys of such scores begin; the list follows."""
Stamp = tuple[tuple[str, int, int], ...]


def output_state(noun: str) -> State | None:
    """What data/<noun> holds; None for an output without a digest, or that is not there."""
    return _state(noun, _stamp(noun))


def list_state(name: str) -> State | None:
    """A list of the data set: its usable photographs with their true masks, if any. None if no image is on it."""
    return _lists(_stamp(IMAGES.parent.name)).get(name)


def with_present_scores(report: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's report without scores of its network that were not measured on the data set as it stands on disk.

    `not_measured` has the lists of these. A report of an earlier version does not say what it measured. `replaced`: another network
    is on disk than the stage left, such as one that was copied there.
    """
    present, scored = _tags(_stamp(IMAGES.parent.name)), {s["list"]: s["digest"] for s in report.get(SCORED_ON, ())}
    lists = [*scored, *(key.split("/")[1] for key in report if key.startswith(SCORES))]
    stale = [name for name in dict.fromkeys(lists) if not scored.get(name) or scored[name] != present(name)]
    kept = {k: v for k, v in report.items() if not (k.startswith(SCORES) and k.split("/")[1] in stale)}
    kept |= {"not_measured": stale} if stale else {}
    return {**kept, "replaced": True} if _is_replaced(report) else kept


def _is_replaced(report: Mapping[str, Any]) -> bool:
    """Whether another network is on disk than a stage left by its report."""
    left = next((state for state in report.get("made", ()) if state["kind"] == "model"), None)
    now = output_state(left["name"]) if left else None
    return left is not None and now is not None and now["digest"] != left["digest"]


def states(nouns: Iterable[str], lists: Iterable[str] = ()) -> list[State]:
    """The states of those outputs and lists that have one."""
    found = [*(output_state(noun) for noun in nouns), *(list_state(name) for name in lists)]
    return [dict(state) for state in found if state is not None]


def made_by(stage: StageWiring) -> list[State]:
    """What a stage left: the state of its output, for its report; and of the scores that it wrote, by the file's digest.

    Of a network also what tells it from others of the same weights: `training_rows`, the digest of its rows, `classes`, and
    `training`, the digest of its whole training.
    """
    made = states([stage.noun])
    passport = passport_of(stage.noun)
    if made and passport is not None:
        made[0] |= {
            "training_rows": passport.training_rows_digest,
            "classes": passport.classes,
            "training": training_digest(passport),
        }
    if METRICS.as_posix() in stage.metrics and METRICS.exists():
        made.append({"name": METRICS.as_posix(), "kind": SCORES_FILE, "digest": digest_file(METRICS), "rows": 0})
    return made


def settings_states(sections: Mapping[str, Section]) -> list[State]:
    """The states of sections of params.yaml; `values` has those that params.yaml leaves to a method's defaults too."""
    return [
        {"name": name, "kind": SETTINGS, "digest": s.digest(), "rows": 0, "values": s.model_dump(mode="json")}
        for name, s in sections.items()
    ]


def passport_of(noun: str) -> Passport | None:
    """The passport of a network on disk; None where there is no readable one."""
    try:
        return read_passport(DATA / noun / CHECKPOINT) if noun in read_wiring().networks else None
    except UserError:
        return None


def _stamp(noun: str) -> Stamp:
    """Names, sizes and times of an output's files."""
    stamp = []
    for file in sorted((DATA / noun).glob("*")):
        try:
            stat = file.stat()
        except FileNotFoundError:  # a stage is replacing its files
            continue
        stamp.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(stamp)


@lru_cache(maxsize=64)
def _state(noun: str, stamp: Stamp) -> State | None:
    folder = DATA / noun
    if any(name.startswith("shard-") for name, _, _ in stamp):
        rows = {s.image_id: s.digest for s in ShardFolder(folder).all_states() if s.status == "ok"}
        return {"name": noun, "kind": "rows", "digest": digest_rows(rows.items()), "rows": len(rows)}
    maker = read_wiring().maker(noun)
    if maker is not None and maker.meta.kind == "prepare":
        if IMAGES.name not in {name for name, _, _ in stamp}:
            return None
        records = read_dataset(folder / IMAGES.name).training
        digest = digest_rows((r.image_id, r.digest) for r in records)
        return {"name": noun, "kind": "rows", "digest": digest, "rows": len(records)}
    passport = passport_of(noun)
    if passport is not None:
        return {"name": noun, "kind": "model", "digest": passport.weights_digest, "rows": passport.training_rows}
    if (folder / THRESHOLDS).exists():
        return {"name": noun, "kind": "thresholds", "digest": thresholds_digest(folder), "rows": 1}
    return None


@lru_cache(maxsize=4)
def _tags(stamp: Stamp) -> Callable[[str], str]:
    """Name of a list → its digest without true masks; empty without a data set that can be read."""
    try:
        return lru_cache(read_dataset().digest_of)
    except UserError:
        return lambda name: ""


@lru_cache(maxsize=4)
def _lists(stamp: Stamp) -> dict[str, State]:
    """Every list by name. Its digest is over photographs, true masks, and the class of each value in a true mask."""
    if not IMAGES.exists():
        return {}
    table, meta = read_columns(IMAGES, ["image_id", "sha256", "mask_sha256", "lists", "status"], remedy=REMEDY)
    members: dict[str, list[tuple[str, str]]] = {}
    for row in table.to_pylist():
        for name in row["lists"] if row["status"] == "ok" else ():
            members.setdefault(name, []).append((row["image_id"], f"{row['sha256']} {row['mask_sha256'] or ''}"))
    classes = [meta["classes"], meta["mask_ids"]]
    digests = {name: digest_json([*classes, digest_rows(rows)]) for name, rows in members.items()}
    return {
        name: {"name": name, "kind": LIST, "digest": digests[name], "rows": len(rows), "classes": meta["classes"]}
        for name, rows in members.items()
    }
