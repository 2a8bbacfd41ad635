"""Sources: names that are safe everywhere, and one clear line for what is no source; a login is never shown."""

import os
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyclip.errors import UsageError
from anomalyclip.live.cameras.sources import Source, parse_sources
from tests.streams import draw

ROUTE = "rtsp://admin:pa%2Fss@10.0.0.5:554/Streaming/Channels/101?transportmode=unicast"


def names(*texts: str) -> list[str]:
    return [source.name for source in parse_sources(texts)]


def test_names_are_given_or_made_of_host_and_path() -> None:
    assert names("gate=rtsp://h/a") == ["gate"]
    assert names(ROUTE) == ["10.0.0.5-Streaming-Channels-101"]
    assert names("http://[::1]:80/") == ["1"]
    assert names("rtsp://h/a?user=x=y", "rtsp://h/a", "h-a-2=rtsp://h/b") == ["h-a", "h-a-3", "h-a-2"]
    assert len(names("rtsp://h/" + "x" * 300)[0]) <= 64


def test_a_file_is_a_source_even_with_an_odd_name(tmp_path: Path) -> None:
    path = draw(tmp_path / "night: 1.mp4", 3)
    assert parse_sources([str(path)]) == (Source("night-1", str(path), "file"),)


def test_a_login_is_not_shown() -> None:
    (source,) = parse_sources([ROUTE])
    assert source.kind == "stream" and "pa%2Fss" in source.address
    assert "pa%2F" not in f"{source} {source!r} {source.name}"


def test_an_address_may_stand_in_the_environment_where_others_do_not_see_its_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATE", ROUTE)
    assert parse_sources(["gate=env:GATE"]) == (Source("gate", ROUTE, "stream"),)
    assert names("env:GATE") == ["10.0.0.5-Streaming-Channels-101"]
    monkeypatch.setenv("GATE", "ftp://u:secret@h")
    with pytest.raises(UsageError, match="ftp: is not read") as error:
        parse_sources(["env:GATE"])
    assert "secret" not in str(error.value)
    with pytest.raises(UsageError, match="no variable 'ATTIC'"):
        parse_sources(["env:ATTIC"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://u:secret@h/a", "ftp: is not read; use rtsp://"),
        ("concat:a.mp4|b.mp4", "concat: is not read"),
        ("missing.mp4", "No such file or directory"),
        ("rtsp:///a", "write rtsp://HOST/PATH"),
        ("rtsp:h/a", "write rtsp://HOST/PATH"),
        ("rtsp://u:secret@h:x/a", "Port could not be cast"),
        ("http://u:secret@h/list.m3u8", "playlists are not read"),
        ("http://u:secret@h/a\r\nb", "control characters"),
        ("rtsp://u:1/secret@h/a", "as %2F"),
        ("/dev/null", "not a camera"),
        ("my cam=rtsp://u:secret@h/a", "the name 'my cam' must be"),
        ("=rtsp://h/a", "the name '' must be"),
        ("a=", "no address"),
    ],
)
def test_what_is_no_source_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_sources([text])
    assert said in str(error.value) and "secret" not in str(error.value) and "\n" not in str(error.value)


def test_files_that_name_other_files_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\nfile:///etc/passwd\n")
    os.mkfifo(tmp_path / "pipe")
    for path in (playlist, tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match=r"not a (video|regular file)"):
            parse_sources([str(path)])


def test_no_source_and_a_name_given_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="name at least one camera"):
        parse_sources([])
    with pytest.raises(UsageError, match="two sources are named 'a'"):
        parse_sources(["a=rtsp://h/1", "a=rtsp://h/2"])


SCHEMES = ["rtsp://", "http://", "file:", "env:"]
PIECES = ["u:pass@", "host", ":554", "/a", "=", "cam", "[::1]", "?b=c", "é", "\x00", "\n", " "]


@given(st.lists(st.sampled_from(SCHEMES + PIECES) | st.sampled_from(string.printable), max_size=8).map("".join))
def test_any_text_is_a_source_with_a_safe_name_or_one_clear_line(text: str) -> None:
    try:
        (source,) = parse_sources([text])
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) > 20
    else:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", source.name)
        assert source.kind == "stream" or Path(source.address).exists()
