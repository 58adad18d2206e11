"""A params.yaml of before methods had knobs of their own means what it meant."""

from pathlib import Path

import pytest
import yaml

from labelfactory.errors import ParamsError
from labelfactory.settings.params import check_sections, read_yaml
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class

ROOT = Path(__file__).resolve().parents[3]
CRF = "{steps: 10, gaussian_sxy: 3, gaussian_compat: 3, bilateral_sxy: 50, bilateral_srgb: 5, bilateral_compat: 10}"
OLDER = f"""
label_affinity: {{method: irn, scale: 0.5, gt_prob: 0.7, alpha_low: 4, alpha_high: 32, crf: {CRF}}}
train_affinity: {{radius: 5, depths: [32, 64, 128], width: 128}}
random_walk: {{method: chebyshev, steps: 256, tolerance: 0.0001}}
refine_crf: {{method: dense_crf, unary: labels, scale: 1.0, gt_prob: 0.7, min_confidence: 0, crf: {CRF}}}
train_segmenter: {{net: deeplab_v3plus, width: 128, rates: [3, 6, 9], confidence_weights: false}}
"""
NEWER = f"""
label_affinity: {{method: {{name: irn, gt_prob: 0.7, crf: {CRF}}}, scale: 0.5}}
train_affinity: {{method: {{name: psa, radius: 5, depths: [32, 64, 128], width: 128}}}}
random_walk: {{method: {{name: chebyshev, steps: 256, tolerance: 0.0001}}}}
refine_crf: {{method: {{name: dense_crf, unary: labels, gt_prob: 0.7, crf: {CRF}}}, scale: 1.0, min_confidence: 0}}
train_segmenter: {{net: {{name: deeplab_v3plus, width: 128, rates: [3, 6, 9]}}, objective: cross_entropy}}
"""
NEW_KEYS = ("objective", "block", "block_taps", "method", "net")


def older() -> dict:
    """The file of this project with these sections as they were, and without the keys that came later."""
    values = read_yaml(ROOT / "params.yaml")
    for name, section in yaml.safe_load(OLDER).items():
        values[name] = {key: value for key, value in values[name].items() if key not in NEW_KEYS} | section
    values["train_classifier"] = {k: v for k, v in values["train_classifier"].items() if k not in NEW_KEYS}
    return values


def newer() -> dict:
    """The same settings as they are written now; a profile may lie over the file."""
    values = read_yaml(ROOT / "params.yaml")
    for name, section in yaml.safe_load(NEWER).items():
        values[name] |= section
    return values


def checked(values: dict) -> dict:
    return check_sections(values, {name: stage_class(name).section for name in read_wiring()}, "params.yaml")


def test_an_older_file_has_the_digests_of_the_newer_one():
    """Section by section: so it makes no row and no network again."""
    old, new = checked(older()), checked(newer())
    assert {name: section.digest() for name, section in old.items()} == {n: s.digest() for n, s in new.items()}


def test_a_section_that_is_newer_than_the_file_is_named_with_what_to_write():
    """DVC wants it in the file."""
    values = older()
    del values["make_priors"]
    with pytest.raises(ParamsError, match=r"make_priors: section is missing; write `make_priors: \{method: none\}`"):
        checked(values)


def test_an_older_value_reaches_the_method_that_owns_it():
    """Of the chosen method alone."""
    values = older()
    values["random_walk"]["steps"] = 12
    values["label_affinity"] |= {"method": "psa", "alpha_low": 3}
    sections = checked(values)
    assert sections["random_walk"].method.steps == 12
    assert sections["label_affinity"].method.alpha_low == 3
    assert sections["label_affinity"].method.crf.bilateral_sxy == 50


def test_an_older_value_out_of_range_names_its_new_place():
    """What to mend."""
    values = older()
    values["random_walk"]["steps"] = 0
    with pytest.raises(ParamsError, match=r"random_walk\.method\.steps: 0 is below the minimum 1"):
        checked(values)
