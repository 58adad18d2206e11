"""The level of masks and model from audited images, in the ledger: each estimate belongs to the digests that it was measured on."""

from datetime import UTC, datetime
from typing import Any

from labelfactory.dataset.level_record import LevelOf, LevelRecord, figures_of
from labelfactory.digests import digest_json
from labelfactory.learning.checkpoints import Passport
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.level_now import told
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup, Model
from lineage.outbox import Outbox

EVENT = "level"
AFTER = "after"
"""Names the estimate before it, so that an estimate that comes again is an event of its own."""


def record_level(record: LevelRecord, ledger: Ledger) -> None:
    """Write an estimate into the ledger, and a letter with its figures for the model's run, unless its last one is the same."""
    model = _model_of(record, Lookup(ledger))
    detail = {"record": record.model_dump(mode="json"), "model": model.digest if model else ""}
    detail["figures"] = dict(figures_of(record, belonging(record, model.passport))) if model else {}
    with ledger.locked():
        last = next((e for e in reversed(ledger.events(EVENT)) if e["detail"]["model"] == detail["model"]), None)
        if last is not None:
            if {**last["detail"], AFTER: ""} == {**detail, AFTER: ""}:
                return
            detail[AFTER] = last["subject"]
        identity = digest_json(detail)
        now = datetime.now(UTC).replace(microsecond=0)
        ledger.append("events", events_table([(EVENT, identity, detail, now)]))
        if model is not None:
            Outbox(ledger.folder / "outbox").put(EVENT, identity, detail)


def _model_of(record: LevelRecord, lookup: Lookup) -> Model | None:
    """The model whose weights were estimated; where none were, the last that learnt from the masks."""
    noun = read_wiring().model.noun
    models = [model for model in lookup.models.values() if model.name == noun]
    weights = record.digest_of(noun)
    own = [model for model in models if weights and model.passport.weights_digest == weights]
    known = own or [model for model in models if belonging(record, model.passport)]
    return known[-1] if known else None


def belonging(record: LevelRecord, passport: Passport) -> dict[str, LevelOf]:
    """The estimates of a model's own weights, and of the masks that it learnt from."""
    digests = {
        read_wiring().model.noun: passport.weights_digest,
        read_wiring().masks.noun: passport.training_rows_digest,
    }
    return {
        what: level
        for what, level in record.estimates.items()
        if record.digest_of(level.output) and record.digest_of(level.output) == digests.get(level.output)
    }


def level_of(lookup: Lookup, model: Model) -> dict[str, Any] | None:
    """The last estimate of a model and its masks; None where there is none."""
    for event in reversed(lookup.events):
        if event["event"] == EVENT and event["detail"]["model"] == model.digest:
            record = LevelRecord.model_validate(event["detail"]["record"])
            return told(record, belonging(record, model.passport))
    return None
