"""An export names the networks on disk, and says of each whether it made these masks."""

import pytest
from made_line import MadeLine

from exports._networks import checkpoints
from exports._networks import params_digests as params_digests_of
from exports._origin import origin_of
from labelfactory.learning.checkpoints import Passport
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.wiring import DATA
from labelfactory.stage.output_state import passport_of

IDS = [f"image-{k}" for k in range(4)]


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    return MadeLine()


def masks() -> dict[str, str]:
    """Image id → digest of its mask now."""
    return {image_id: state.digest for image_id, state in RowReader(DATA / "masks").states.items()}


def made_them(what: str = "masks") -> dict[str, bool | None]:
    model = passport_of("segmenter") if what == "predictions" else None
    found = checkpoints(what, origin_of(what, model).passports, masks())
    return {noun: entry["made_them"] for noun, entry in found.items()}


def params_digests(what: str) -> dict[str, list[str] | None]:
    return params_digests_of(what, masks())


def classifier() -> Passport:
    passport = passport_of("classifier")
    assert passport is not None
    return passport


def test_networks_that_the_masks_name_made_them(line):
    """Through walks and CAMs, to the classifier."""
    assert made_them() == {"classifier": True, "affinity": True}
    assert {s.image_id for s in ShardFolder(DATA / "masks").all_states()} == set(IDS)


def test_a_network_that_was_trained_again_did_not_make_the_masks_of_before(line):
    """Its weights are others than those that the walks name."""
    line.train("affinity", {"classifier": classifier()}, seed=5)
    assert made_them() == {"classifier": True, "affinity": False}


def test_behind_rows_that_were_made_again_nothing_is_known(line):
    """The CAMs on disk are not those that the walks were made from."""
    line.rows("extract_cams", {"classifier": classifier().weights_digest}, "other")
    assert made_them() == {"classifier": None, "affinity": True}


def test_a_prediction_is_of_the_model_on_disk_and_of_the_networks_that_its_passport_names(line):
    """A classifier that was trained again is not behind the segmenter of before."""
    assert made_them("predictions") == {"classifier": True, "affinity": True, "segmenter": True}
    line.train("classifier", {}, seed=5)
    assert made_them("predictions") == {"classifier": False, "affinity": True, "segmenter": True}


def test_params_are_those_that_the_rows_name(line):
    """Not those of params.yaml now; of what lies behind rows that were made again, nothing is known."""
    before = params_digests("masks")
    assert set(before) == {"extract_cams", "random_walk", "refine_crf"}
    assert all(digests and len(digests) == 1 for digests in before.values())
    line.rows("extract_cams", {"classifier": classifier().weights_digest}, "other")
    assert params_digests("masks") == before | {"extract_cams": None}
    assert params_digests("predictions") == {}


def test_masks_that_a_run_has_replaced_since_name_nothing(line):
    """Rather than what made the masks that are on disk now."""
    exported, passports = masks(), origin_of("masks", None).passports
    line.rows("refine_crf", {"threshold": "other"}, "other")
    assert {entry["made_them"] for entry in checkpoints("masks", passports, exported).values()} == {None}
    assert set(params_digests_of("masks", exported).values()) == {None}
    ShardFolder(DATA / "masks").path(0).unlink()
    assert {entry["made_them"] for entry in checkpoints("masks", passports, exported).values()} == {None}
