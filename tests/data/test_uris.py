"""URIs of a manifest reach the stores that the operator means, and no others."""

from pathlib import Path

import pytest

from anomalyclip.data.manifest import load_manifest
from anomalyclip.data.uris import check_uri
from anomalyclip.errors import UsageError


@pytest.mark.parametrize("uri", [
    "s3://bucket/a.mp4", "s3://bucket/set%20%23/a.mp4?region=eu-west-1", "gs://bucket/a.mp4?anonymous=true",
    "abfs://box@account.dfs.core.windows.net/a.mp4", "hdfs://user@host:8020/a.mp4", "s3://bucket/a..b/c.mp4",
])  # fmt: skip
def test_uris_of_known_stores_are_accepted(uri: str) -> None:
    check_uri(uri)


@pytest.mark.parametrize(("uri", "fault"), [
    ("http://host/a.mp4", "scheme http"), ("concat://a|b", "scheme concat"), ("FILE:///etc/passwd", "scheme file"),
    ("mock:///a.mp4", "scheme mock"), ("ftp://host/a.mp4", "scheme ftp"),
    ("s3://bucket/a.mp4?endpoint_override=evil.example", "endpoint_override"),
    ("s3://bucket/a.mp4?region=x.evil.example/", "region"), ("s3://bucket/a.mp4?anonymous=true&scheme=http", "scheme"),
    ("s3://key:secret@bucket/a.mp4", "password"), ("s3:///a.mp4", "no bucket"), ("s3://[/a.mp4", "no URI"),
    ("s3://bucket/%2e%2e/a.mp4", "'..'"), ("s3://bucket/a#b.mp4", "%23"), ("s3://bucket/a%00.mp4", "NUL"),
])  # fmt: skip
def test_other_uris_are_refused(uri: str, fault: str) -> None:
    with pytest.raises(ValueError, match="path") as raised:
        check_uri(uri)
    assert fault in str(raised.value) and "secret" not in str(raised.value)


def test_a_manifest_names_the_rows_of_uris_that_are_refused(tmp_path: Path) -> None:
    (path := tmp_path / "manifest.csv").write_text(
        "video_id,path,split,labels,anomalies,num_frames\n"
        "a,s3://mine/a.mp4,train,,,\nb,s3://theirs/b.mp4,train,,,\nc,http://host/c.mp4,train,,,\n"
    )
    with pytest.raises(UsageError, match=r"row 3 .*scheme http") as raised:
        load_manifest(path)
    assert "row 2" not in str(raised.value)
    with pytest.raises(UsageError, match=r"row 2 .*'theirs', which data.buckets does not allow"):
        load_manifest(path, buckets=("mine",))
