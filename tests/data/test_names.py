import pytest

from anomalyclip.data.manifest_checks import id_faults
from anomalyclip.data.names import unique_ids


@pytest.mark.parametrize(
    "sources, ids",
    [
        (["/videos/gate.mp4"], ["gate"]),
        (["/a/1.mp4", "/b/1.mp4", "/b/2.mp4"], ["a_1", "b_1", "2"]),
        (["/x/a/1.mp4", "/y/a/1.mp4"], ["x_a_1", "y_a_1"]),
        (["/a/1.mp4", "/a/1.avi", "/a/2.mp4"], ["1", "1-2", "2"]),  # no folder tells them apart
        (["/a/b/1.mp4", "/a/b/1.avi", "/a/c/1.mp4"], ["b_1", "b_1-2", "c_1"]),
        (["/a/Gate.mp4", "/b/gate.mp4"], ["a_Gate", "b_gate"]),  # one file on some systems
        (["s3://bucket/cam%201/x%3F.mp4"], ["x_"]),
        (
            ["/v/2026-11-22T10:00:00.mkv", "/v/..mp4", "/v/cam.v2 frames"],
            ["2026-11-22T10_00_00", "video", "cam.v2 frames"],
        ),
        (["/v/" + "é" * 300 + ".mp4"], ["é" * 95]),
    ],
)
def test_ids_are_short_unique_and_safe(sources: list[str], ids: list[str]) -> None:
    assert unique_ids(sources) == ids
    assert not [fault for one in ids for fault in id_faults(one)]
    assert len({one.casefold() for one in ids}) == len(ids)
