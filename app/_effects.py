"""What a parameter does to a mask, or to the time a run takes, where more of it is taken; for `labelfactory parameters`.

Kept here and not in the fields, as nothing of it bears on a value. A key is `section.key`, or `family/method.knob` or
`family/*.knob` for a knob of a method.
"""

from collections.abc import Mapping

BACKBONE = {
    "backbone": "a larger one sees more and takes longer; ResNets need weights of your own",
    "output_stride": "more pixels a cell: coarser maps, faster",
}
TRAINING = {
    "freeze_stages": "more: less is learnt from your photographs, less is forgotten of the pretraining",
    "crop": "more: more of the surroundings in a window; time and memory grow with its square",
    "long_side_min": "more: objects are larger and finer, and take more time",
    "long_side_max": "more: objects of more sizes are seen",
    "colour_jitter": "more: less trust in colour; too much hides classes that colour tells apart",
    "epochs": "more: longer; maps become surer, from some point on narrower",
    "least_steps": "more: small sets are learnt longer; too few leave masks empty",
    "batch_size": "more: smoother steps and more memory; fewer steps an epoch",
    "learning_rate": "more: faster, then unstable; too little leaves masks empty",
    "head_factor": "more: new layers move faster than pretrained ones",
    "weight_decay": "more: smaller weights, less fitted to single photographs",
    "warmup_steps": "more: a gentler start, less time at the full rate",
    "clip_norm": "less: large steps are cut, training is calmer and slower",
    "seed": "another one shows how much of a difference is chance",
}
"""Of every stage that trains, unless it says otherwise."""
CRF = {
    "gt_prob": "more: masks stay closer to the walk; less: they follow the edges in the photograph",
    "crf.steps": "more: smoother masks that follow edges further, longer",
    "crf.gaussian_sxy": "more: specks and holes up to this size go, thin parts too",
    "crf.gaussian_compat": "more: smoother borders, fewer specks",
    "crf.bilateral_sxy": "more: pixels of one colour are joined over a longer way",
    "crf.bilateral_srgb": "more: masks flow over weaker edges; less: every shade is an edge",
    "crf.bilateral_compat": "more: borders follow the edges in the photograph more closely",
}
WALK = {"steps": "more: evidence spreads further, over whole objects and then past them"}

EFFECTS: Mapping[str, str] = {
    "prepare.max_bad_fraction": "more: a run goes on with more photographs left out",
    "prepare.shard_size": "more: fewer, larger files",
    "make_priors.method": "nothing by itself: an objective such as eps learns from the maps",
    **{f"{stage}.{key}": text for stage in ("train_classifier", "train_affinity") for key, text in TRAINING.items()},
    **{f"{stage}.{key}": text for stage in ("train_classifier", "train_segmenter") for key, text in BACKBONE.items()},
    "train_classifier.objective": "all but tags spread CAMs over more of the object, and train longer",
    "extract_cams.method": "pcm and own_maps cover more of an object than cam, and more beside it; adv_cam takes minutes",
    "extract_cams.scales": "more of them: smoother CAMs, longer; smaller ones cover whole objects, larger ones find small objects",
    "extract_cams.flip": "true: smoother CAMs in twice the time",
    "extract_cams.batch_size": "nothing; more memory",
    "calibrate_seeds.images": "more: steadier thresholds, longer",
    "calibrate_seeds.scale": "more: finer, slower",
    "calibrate_seeds.background": "more: smaller seeds and smaller, surer masks; less: larger ones that spill over",
    "calibrate_seeds.affinity_foreground": "more: fewer and surer pixels to learn borders from",
    "calibrate_seeds.affinity_background": "less: fewer and surer pixels of the background",
    "calibrate_seeds.foreground_margin": "more: more void, fewer and surer labels",
    "calibrate_seeds.background_margin": "more: more void, fewer and surer labels",
    "calibrate_seeds.background_most": "less: parts of objects with weak evidence are not taught as background",
    "label_affinity.method": "psa leaves void where two CRFs disagree, irn between two thresholds",
    "label_affinity.scale": "more: finer labels; time grows with its square",
    "train_affinity.learn_backbone": "true: better borders with many photographs, longer",
    "train_teacher.enabled": "true: walks start from fuller shapes; one more network to train",
    "train_teacher.epochs": "more: a surer teacher, its mistakes included",
    "random_walk.method": "exact: nothing within the tolerance, slower; the others keep walks to less",
    "random_walk.seeds": "confident: walks keep to their object; cam: they reach further and spill more",
    "random_walk.teacher_scales": "more of them: smoother scores, longer",
    "random_walk.radius": "more: walks jump over thin borders; time and memory grow with its square",
    "random_walk.beta": "more: walks stop at weaker borders, masks are tighter; less: they run over",
    "random_walk.stride": "less: finer walks; four times the memory for half of it",
    "calibrate_walks.background": "more: smaller masks; less: larger ones that spill over",
    "refine_crf.method": "none: masks keep the walk's soft borders",
    "refine_crf.scale": "less: faster, coarser borders",
    "refine_crf.min_confidence": "more: more void at uncertain places, which the segmenter does not learn",
    **{f"train_segmenter.{key}": text for key, text in TRAINING.items()},
    "train_segmenter.epochs": "more: the model fits the masks closer, their mistakes too",
    "train_segmenter.least_steps": "more: small sets are learnt longer",
    "train_segmenter.learning_rate": "more: faster, then unstable",
    "train_segmenter.ema_decay": "more: calmer weights that lag behind; with few steps too far",
    "segment_images.lists": "nothing by itself: more photographs are segmented in advance; longer",
    "train_upper_bound.enabled": "no mask: it says what true masks would give; one more network to train",
    "evaluate.scales": "more of them: better predictions, longer",
    "evaluate.flip": "true: slightly better predictions in twice the time",
    "evaluate.gallery": "more pictures in the report",
    "affinity/psa.radius": "more: borders are learnt between places further apart; memory grows with its square",
    "affinity/psa.width": "more: finer differences between places, slower",
    **{f"affinity_labels/irn.{key}": text for key, text in CRF.items()},
    **{f"affinity_labels/psa.{key}": text for key, text in CRF.items() if key != "gt_prob"},
    "affinity_labels/psa.alpha_low": "less: more is background, fewer pixels are surely of a class",
    "affinity_labels/psa.alpha_high": "more: fewer pixels are surely background",
    "blocks/squeeze_excite.reduction": "more: a smaller block with less effect",
    "cams/adv_cam.iterations": "more: CAMs reach beyond the most telling part; time grows with it and with the tags",
    "cams/adv_cam.step": "more: CAMs reach further in as many iterations, less surely",
    "cams/adv_cam.restraint": "more: the most telling part gains less, other parts more",
    "cams/adv_cam.prominence": "less: more of the CAM is held where it was",
    "cams/lpcam.clusters": "more: finer kinds of places, each with the same weight",
    "cams/lpcam.foreground": "less: prototypes reach beyond the CAM, beside the object too",
    "cams/lpcam.sure": "less: more centres are prototypes, CAMs grow",
    "cams/lpcam.unlikely": "more: fewer contexts are subtracted, CAMs grow",
    "cams/lpcam.rounds": "nothing once the clusters have settled",
    "cams/pcm.rounds": "more: CAMs spread over all that looks alike",
    "cams/pcm.power": "more: only very similar places share evidence, CAMs stay narrower",
    "cams/pcm.most_places": "more: finer spreading; time grows with its square",
    "cams/region_cam.power": "more: only very similar places share evidence, CAMs stay narrower",
    "cams/region_cam.most_places": "more: finer spreading; time grows with its square",
    "cams/soft_proposal.reach": "more: a place must differ from the whole picture, not from what is around it",
    "cams/soft_proposal.most_places": "more: a finer proposal; time grows with its square",
    "mask_objectives/cross_entropy.confidence_weights": "true: uncertain borders of masks count less",
    "objectives/acol.threshold": "less: more of each object is left to the second branch",
    "objectives/adversarial_erasing.threshold": "less: more is erased; CAMs grow, beyond the object too",
    "objectives/amn.foreground": "more: fewer, surer places of objects",
    "objectives/amn.background": "less: fewer, surer places of background",
    "objectives/cutmix.weight": "more: CAMs depend less on what surrounds an object",
    "objectives/drs.share": "less: flatter CAMs over more of the object",
    "objectives/eps.overlap": "more: only maps that the prior marks count as foreground",
    "objectives/eps.weight": "more: CAMs follow the prior's shapes, its mistakes too",
    "objectives/gain.weight": "more: CAMs grow until nothing of the tag is seen beside them",
    "objectives/mixup_cam.concentration_weight": "more: CAMs keep closer together",
    "objectives/oaa.weight": "more: CAMs grow to what was ever lit",
    "objectives/oc_cse.area": "more: smaller CAMs",
    **{
        f"objectives/{name}.scale": "less: stronger pressure to cover whole objects"
        for name in ("pixel_to_prototype", "seam")
    },
    "objectives/puzzle_cam.weight": "more: CAMs cover whole objects, and more beside them",
    "objectives/sc_cam.clusters": "more: finer kinds of each class",
    "objectives/seenet.background_weight": "more: CAMs keep off the background",
    "objectives/sipe.weight": "more: CAMs cover what looks alike in the image",
    "priors/spectral_residual.sigma": "more: softer, larger blobs",
    **{f"propagation/*.{key}": text for key, text in WALK.items()},
    "propagation/*.tolerance": "more: faster, less exact",
    "propagation/class_distribution.power": "more: less passes between places whose classes differ",
    "propagation/optimal_transport.softness": "less: places go to one class each, masks fill the areas of their classes",
    "propagation/optimal_transport.evenness": "more: small classes grow at the cost of large ones and of the background",
    "propagation/optimal_transport.rounds": "more: areas are kept more exactly",
    "propagation/region_gate.regions": "more: smaller regions, of which fewer hold evidence",
    "propagation/region_gate.compactness": "more: rounder regions, borders follow the edges in the photograph less",
    "propagation/region_gate.difference": "more: larger regions, walks cross weaker edges",
    "propagation/region_gate.sure": "more: fewer regions are open, walks keep closer to sure places",
    "propagation/region_gate.share": "more: fewer regions are open, walks keep closer to sure places",
    **{f"refinement/{name}.{key}": text for name in ("dense_crf", "pydensecrf") for key, text in CRF.items()},
    **{
        f"refinement/{name}.gt_prob": "more: confidences closer to 1; no other mask"
        for name in ("grab_cut", "none", "otsu")
    },
    "refinement/grab_cut.iterations": "more: the cut settles; time grows with it",
    "refinement/grab_cut.margin": "more: less of the walk is sure, more is decided by colour",
    **{
        f"refinement/{name}.{key}": text
        for name in ("pamr", "par")
        for key, text in {
            "dilations": "further ones: evidence moves further at once; time and memory grow with their number",
            "iterations": "more: masks follow the edges in the photograph further; time grows with it",
            "contrast": "more: evidence flows over weaker edges",
        }.items()
    },
    "refinement/par.place": "more: smoother masks that care less for edges",
    "refinement/superpixel_vote.regions": "more: smaller regions, masks stay closer to the walk",
    "refinement/superpixel_vote.compactness": "more: rounder regions, borders follow the edges in the photograph less",
    "refinement/superpixel_vote.vote": "majority: scores that are high in a small part of a region count less",
    "segmenters/deeplab_v3.width": "more: a larger head, slower",
    "segmenters/deeplab_v3plus.width": "more: a larger head, slower",
    "segmenters/deeplab_v3plus.skip_width": "more: finer borders, slower",
}


def effect(place: str, key: str) -> str:
    """The effect of a key of a section, or of a knob of a method (`refinement/dense_crf`); empty where none is told."""
    return EFFECTS.get(f"{place}.{key}") or EFFECTS.get(f"{place.partition('/')[0]}/*.{key}", "")
