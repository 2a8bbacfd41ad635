"""What a reader of MLflow's pages is told, and what of a user's own text stays."""

from types import SimpleNamespace
from typing import Any

import pytest

from anomalyclip.tracking.pages import DESCRIPTION_LENGTH, run_note, table, version_note, with_section

TRAINING = {
    "dataset": "yard", "training_videos": "120", "test_videos": "50", "classes": "Arson, Fighting, Normal",
    "protocol": "clean", "backbone": "clip-tiny", "imported_features": "none",
}  # fmt: skip
FIGURES = {"auc": 0.9086, "auc_low": 0.8312, "auc_high": 0.953, "m_auc": 0.9297, "video_auc": 0.8}
STANDING = "AUC 0.909: above chance; beats zero-shot CLIP on the same videos."


def run(tags: dict[str, str], metrics: dict[str, float]) -> Any:
    return SimpleNamespace(data=SimpleNamespace(tags=TRAINING | tags, metrics=metrics))


def note(tags: dict[str, str], metrics: dict[str, float], standing: str | None = None) -> str:
    return run_note(run(tags, metrics), "/data/runs/yard", standing).replace("&emsp;", "")


def test_a_training_states_how_good_its_model_is_what_was_trained_on_what_and_where_the_rest_is() -> None:
    beside = {"zero_shot_auc": 0.725, "zero_shot_auc_low": 0.627, "zero_shot_auc_high": 0.805, "linear_m_auc": 0.8}
    expected = [
        "| 50 test videos | AUC | mAUC | video AUC |",
        "| --- | --- | --- | --- |",
        "| this model | 0.909 (0.831 to 0.953) | 0.930 | 0.800 |",
        "| zero-shot CLIP | 0.725 (0.627 to 0.805) | undefined | undefined |",
        "| logistic regression | undefined | 0.800 | undefined |",
        "",
        "Intervals are 95 % ones over videos.",
        "",
        STANDING,
        "",
        "AnomalyCLIP trained on **yard**, 120 videos with video-level labels; 3 classes: Arson, Fighting, Normal; "
        "features: clip-tiny; the epoch was chosen on a part of the training videos (protocol clean).",
        "",
        "Plots and predictions: tab *Artifacts*, folder `evaluation`. All files: `/data/runs/yard`.",
    ]
    assert note({}, FIGURES | beside, STANDING).splitlines() == expected
    version = version_note(run({}, FIGURES | beside), STANDING).replace("&emsp;", "").splitlines()
    assert version == [*expected[8:11], "", *expected[:7]]


def test_a_warning_comes_first_on_both_pages() -> None:
    doubted = run({"warning": "validation is at chance"}, FIGURES)
    for text in (run_note(doubted, "/data", STANDING), version_note(doubted, STANDING)):
        assert text.startswith("**Warning: validation is at chance.**\n\n")


@pytest.mark.parametrize(
    "tags, expected",
    [
        ({"model": "zero-shot"}, "`zero-shot` evaluated on **yard**; "),
        (
            {"source": "last.ckpt", "protocol": "imported"},
            "Model of the checkpoint `last.ckpt`, trained by its authors",
        ),
        ({"imported_features": "i3d"}, "features: i3d (imported)"),
    ],
)
def test_evaluations_imports_and_imported_features_are_named_as_such(tags: dict[str, str], expected: str) -> None:
    assert expected in note(tags, FIGURES)


def test_videos_without_frame_intervals_have_the_figures_of_videos() -> None:
    assert "| this model | 0.800 |" in note({}, {"video_auc": 0.8, "best_loss": 1.0})


def test_a_run_without_test_videos_has_no_table_and_no_plots() -> None:
    text = note({}, {"best_video_auc": 0.5})
    assert "there are no figures" in text
    assert "|" not in text and "Plots" not in text


def test_a_section_replaces_itself_and_nothing_else() -> None:
    text = with_section("Ours.\n\n## Gates\n\nold\n\n## Owner\n\nMe.", "Gates", "new")
    assert text == "Ours.\n\n## Gates\n\nnew\n\n## Owner\n\nMe."
    assert with_section(text, "Gates", "new") == text
    assert with_section("", "Gates", "new") == "## Gates\n\nnew"
    assert len(with_section("x" * 9999, "Gates", "new")) == DESCRIPTION_LENGTH


def test_the_cells_of_a_table_have_space_between_them() -> None:
    assert table([["a", "b"], ["x|y", "two"]]).splitlines()[2] == r"| x\|y&emsp; | two |"


def test_names_of_a_user_are_text_and_neither_tags_nor_links() -> None:
    tags = {
        "dataset": "<script>alert(1)</script>",
        "classes": "<img src=x onerror=alert(1)>, [a](javascript:b), Normal",
    }
    text = note(tags, FIGURES)
    assert "<script" not in text and "<img" not in text and r"\[a](javascript" in text
    assert "``" not in note({"source": "a`<b>`"}, FIGURES)
