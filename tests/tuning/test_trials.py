"""A study's trials: named by what decides their result, each with a folder and a plan of its own."""

from dataclasses import replace

import polars as pl
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from anomalyclip.training.adaptation import Length, adapt
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.tuning.ablation_tables import SEED, labels
from anomalyclip.tuning.scoring import score_validation
from anomalyclip.tuning.space import with_point
from anomalyclip.tuning.trials import Study

RATE = "training.learning_rate"


@pytest.fixture
def study(storage: Storage) -> Study:
    rows = [(f"v{n}", f"v{n}.mp4", "train", ["Fire"] if n % 2 else [], [], 9) for n in range(40)]
    manifest = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    base = FitPlan(RunConfig(), storage.root, "searches/s", ["Fire", "Normal"], (), (), "backbone", "features", {})
    return Study(base, manifest, {"manifest": "m"}, "trials", score_validation)


def test_a_trial_is_named_by_settings_and_data_alone(study: Study) -> None:
    trial = study.trial({RATE: 1e-3})
    assert study.trial({RATE: 1e-3}).folder.key == trial.folder.key == trial.plan.key
    assert trial.folder.key.startswith("trials/trial-")
    other_data, other_rate = replace(study, content={"manifest": "n"}), {RATE: 2e-3}
    keys = {trial.folder.key, study.trial(other_rate).folder.key, other_data.trial({RATE: 1e-3}).folder.key}
    assert len(keys) == 3
    assert trial.plan.config.training.learning_rate == 1e-3


def test_trials_of_one_seed_share_their_validation_part_and_other_seeds_have_another(study: Study) -> None:
    same, rate, seed = (study.trial(point).plan for point in ({}, {RATE: 1e-3}, {SEED: 7}))
    assert same.validation == rate.validation
    assert {bag.video_id for bag in seed.validation} != {bag.video_id for bag in same.validation}
    assert {bag.video_id for bag in [*seed.train, *seed.validation]} == set(study.manifest["video_id"])


def test_labels_name_a_trial_and_its_folder(study: Study) -> None:
    trial = replace(study, labels=labels).trial({"model.temporal": "mlp", SEED: 7})
    assert trial.name == "mlp-7"
    assert trial.tags == {"row": "mlp", "seed": "7"}
    assert trial.folder.name.startswith("mlp-7-")


def test_many_values_make_no_name(study: Study) -> None:
    values = {"model.k": 1, "model.depth": 1, "loss.smooth": 0.1, "loss.sparse": 0.1, RATE: 0.1}
    trial = study.trial(values)
    assert trial.name == trial.folder.name
    assert study.trial({"model.k": 1, "model.depth": 2}).name == "k=1 depth=2"


def test_the_last_fit_is_the_final_one_if_there_is_one(study: Study) -> None:
    trial = study.trial({})
    assert trial.last_fit(3) is trial.plan
    final = study.trial({"training.final_fit": True}).last_fit(3)
    assert (final.stop_after, len(final.train), final.key.endswith("/final")) == (4, 40, True)


def test_a_trial_has_the_settings_that_its_winner_trains_with(study: Study) -> None:
    point = {"loss.bottom_k_abnormal": 5.0, "training.warmup_epochs": 4, "model.frames_per_segment": 8}
    preset_like = build_config(
        RunConfig(), None, ["data.trimmed=auto", "model.fit_grid=true", "training.epochs=null", "training.batch_size=8"]
    )
    bags = [Bag("a", 0), Bag("n", NORMAL_LABEL)]
    adapted, _ = adapt(preset_like, bags, [Length(stored=80, seconds=2.0)] * 2)
    trial = replace(study, base=replace(study.base, config=adapted)).trial(point).plan.config
    assert adapt(with_point(adapted, point), bags, [Length(stored=80, seconds=2.0)] * 2)[0] == trial
    assert (trial.loss.bottom_k_abnormal, trial.training.warmup_epochs, trial.model.frames_per_segment) == (0.0, 4, 8)
