"""Letters to MLflow made again from the ledger: for a store that has lost everything, or for letters that are damaged.

MLflow finds the run of a letter by its id, so a letter that it has already is not taken twice.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from labelfactory.digests import digest_json
from labelfactory.learning.checkpoints import Passport, training_digest
from lineage.artifacts import cached_artifacts, live_artifacts
from lineage.ledger import Ledger
from lineage.ledger_rows import trained_models
from lineage.makers import maker_of
from lineage.outbox import Letter, Outbox

KINDS = ("line", "execution", "model", "level", "promoted", "withdrawn", "tournament")


class Draft(NamedTuple):
    """What a letter says, before it has a number."""

    kind: str
    id: str
    detail: dict[str, Any]


def resend(ledger: Ledger, outbox: Outbox, kinds: Iterable[str] = KINDS) -> int:
    """Put a letter for each event of these kinds that has none, before those that wait. Returns how many.

    Raises:
        DataError: the ledger is damaged.
    """
    with ledger.locked():
        waiting = outbox.letters()
        known = {(letter.kind, letter.id) for letter in waiting}
        events = ledger.events(*KINDS)
        drafts = [d for d in _drafts(events) if d.kind in set(kinds) and (d.kind, d.id) not in known]
        if not drafts:
            return 0
        # the checkpoint of a model that learnt from withdrawn images is not copied anywhere again
        gone = {model for e in events if e["event"] == "withdrawn" for model in e["detail"]["models"]}
        files = _files_of_models()
        for draft in drafts:
            copied = draft.kind == "model" and draft.id not in gone
            training = training_digest(Passport.model_validate(draft.detail["passport"])) if copied else ""
            outbox.put(*draft, files.get(training))
        for letter in waiting:  # behind the older ones; a kill here leaves a letter twice, of which one is taken
            _put_behind(letter, outbox)
    return len(drafts)


def _drafts(events: list[dict[str, Any]]) -> Iterator[Draft]:
    """Events in the order of their letters: a line before its executions; of promotions only the last of each alias.

    A model is under the execution that made it, whatever its event names.
    """
    executions = [(e["subject"], e["detail"]) for e in events if e["event"] == "execution"]
    lines = {e["subject"]: e["detail"] for e in events if e["event"] == "line"}
    last = {e["detail"]["alias"]: number for number, e in enumerate(events) if e["event"] == "promoted"}
    for number, event in enumerate(events):
        kind, subject, detail = event["event"], event["subject"], event["detail"]
        if kind == "execution" and detail["line"] in lines:
            yield Draft("line", detail["line"], lines.pop(detail["line"]))
        if kind == "model":
            passport = Passport.model_validate(detail["passport"])
            yield Draft(kind, subject, {**detail, "run": maker_of(executions, subject, passport, detail["run"])})
        elif kind == "promoted":
            if last[detail["alias"]] == number:
                yield Draft(kind, digest_json([detail, event["time"].isoformat()]), detail)
        elif kind == "level":
            if detail["model"]:
                yield Draft(kind, subject, detail)
        elif kind != "line":
            yield Draft(kind, subject, detail)
        elif subject in lines:
            yield Draft(kind, subject, lines.pop(subject))


def _files_of_models() -> dict[str, dict[str, Path]]:
    """Training → its checkpoint and its list of rows, of those that are still under data/ or in DVC's cache."""
    models = trained_models([*live_artifacts(), *cached_artifacts()])
    return {training_digest(model.passport): dict(model.files) for model in models}


def _put_behind(letter: Letter, outbox: Outbox) -> None:
    files = {path.name: path for path in letter.files.iterdir()} if letter.files else {}
    outbox.put(letter.kind, letter.id, letter.detail, files)
    letter.done()
