"""What counts as a video below a folder, and under which name."""

import os
from pathlib import Path

import pytest

from anomalyclip.data.datasets.media import Kind, find_media, manifest_path
from anomalyclip.errors import UsageError


def put(root: Path, *places: str) -> Path:
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    return root


def found(root: Path) -> list[tuple[str, str, Kind]]:
    return [(one.name, one.path.relative_to(root).as_posix(), one.kind) for one in find_media(root)]


def test_videos_folders_of_frames_and_features_are_found_however_deep(tmp_path: Path) -> None:
    put(tmp_path, "b é #1.MP4", "deep/er/v.2001__#00-01_label_A.avi", "frames/01_001/1.JPG", "frames/01_001/2.png",
        "A.Film.2001/000.tif", "notes.txt", "features/x.npy")  # fmt: skip
    assert found(tmp_path) == [
        ("A.Film.2001", "A.Film.2001", Kind.FRAMES),
        ("b é #1", "b é #1.MP4", Kind.VIDEO),
        ("v.2001__#00-01_label_A", "deep/er/v.2001__#00-01_label_A.avi", Kind.VIDEO),
        ("x", "features/x.npy", Kind.FEATURES),
        ("01_001", "frames/01_001", Kind.FRAMES),
    ]


def test_crops_of_a_video_are_one_feature_file_by_its_name(tmp_path: Path) -> None:
    put(tmp_path, *(f"i3d/v__#1_label_B1-0-0__{crop}.npy" for crop in range(10)), "i3d/w__2.npy", "i3d/w__7.npy")
    assert found(tmp_path) == [
        ("v__#1_label_B1-0-0", "i3d/v__#1_label_B1-0-0__0.npy", Kind.FEATURES),
        ("w", "i3d/w__2.npy", Kind.FEATURES),
    ]


def test_hidden_files_and_previews_beside_videos_are_none(tmp_path: Path) -> None:
    put(tmp_path, "._a.mp4", ".thumbnails/b/1.png", "preview.png", "Abuse/a.mp4", "Abuse/cover.jpg", "only/._1.jpg")
    assert found(tmp_path) == [("a", "Abuse/a.mp4", Kind.VIDEO)]


def test_links_are_followed_once_and_lead_to_absolute_paths(tmp_path: Path) -> None:
    root = put(tmp_path / "root", "a.mp4")
    put(tmp_path / "far", "b.mp4")
    (root / "linked").symlink_to(tmp_path / "far")
    for loop in ("loop", "another"):  # two would be walked in 2^40 ways
        (root / loop).symlink_to(root)
    media = {one.name: manifest_path(one.path, root) for one in find_media(root)}
    assert media == {"a": "a.mp4", "b": str(root / "linked" / "b.mp4")}


def test_only_places_behind_a_link_are_asked_for_their_real_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put(tmp_path / "root", "Abuse/camera/a.mp4")
    (root / "Abuse" / "linked.mp4").symlink_to(root / "Abuse" / "camera" / "a.mp4")
    asked: list[str] = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: asked.append(Path(path).name) or real(path))
    assert manifest_path(root / "Abuse" / "camera" / "a.mp4", root) == "Abuse/camera/a.mp4"
    assert manifest_path(root, root) == "." and asked == []
    assert manifest_path(root / "Abuse" / "linked.mp4", root) == "Abuse/linked.mp4"
    assert asked == ["linked.mp4", "root"]


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing"):
        find_media(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="not a folder"):
        find_media(put(tmp_path, "a.mp4") / "a.mp4")


def test_names_that_cannot_be_written_down_are_all_named(tmp_path: Path) -> None:
    for name in (b"\xff.mp4", b"\xfe.avi"):
        Path(str(tmp_path / name.decode(errors="surrogateescape"))).touch()
    with pytest.raises(UsageError, match=r"udcfe\.avi.+udcff\.mp4"):
        find_media(tmp_path)
