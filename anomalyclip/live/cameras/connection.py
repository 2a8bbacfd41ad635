"""Connections to sources: FFmpeg opens the address that was given, and nothing else."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from anomalyclip.data.video import bound_pixels, open_video, prepare_decoder, video_stream
from anomalyclip.live.cameras.packets import Encoding
from anomalyclip.live.cameras.sources import Source

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 10.0
"""Seconds for each of the two steps of connecting, and for each packet."""
ANALYSED = "2000000"
"""Microseconds of a stream that FFmpeg may read to find out what is in it; a dead audio track takes all of it."""
MICROSECONDS = 1_000_000
RATE_FRAMES = "2"
"""Frames from which FFmpeg guesses the rate; its own 20 make connecting 0.8 s longer."""
USUAL_RATE = 25
"""Frames per second of a stream that does not say."""
MOST_HELD = 10
"""Packets without stamps at the start of a stream, until the first one that has them."""
_FORMATS = "mpegts,mpjpeg,mov,matroska,flv"
"""That HTTP may bring: each of them one stream, and no list of other addresses."""
_UNTIMED = ("mpjpeg", "mjpeg")
"""Formats whose stamps are made up by FFmpeg."""
_TO_START_CODES = {"h264": "h264_mp4toannexb,dump_extra", "hevc": "hevc_mp4toannexb,dump_extra", "mpeg4": "dump_extra"}
"""Filters that put the parameter sets into the packets of key frames: all that decoders and containers need."""


class Connection:
    """An open source."""

    def __init__(self, source: Source, container: Any, max_pixels: int) -> None:
        self._container = container
        self._stream = video_stream(container)
        bound_pixels(container, self._stream, max_pixels)
        prepare_decoder(self._stream)
        self.decoder = self._stream.codec_context
        self.codec = str(self.decoder.codec.canonical_name)
        self.timed = container.format.name not in _UNTIMED
        self.recorded = source.kind == "file" or (_scheme(source).startswith("http") and container.duration is not None)
        """Whether it comes as fast as it is read, and has an end; RTSP servers keep the pace of recordings too."""
        rate = self._stream.guessed_rate or USUAL_RATE
        self.frame_ticks = max(1, round(1 / rate / self._stream.time_base))
        """From one frame to the next, in units of the packets' time base."""
        filters = _TO_START_CODES.get(self.codec)
        self._filter = BitStreamFilterContext(filters, in_stream=self._stream) if filters else None

    def packets(self) -> Iterator[Any]:
        """Yield the packets of the video, the empty one at the end included; raises av.error.FFmpegError.

        Of a timed source all have stamps, though the first packets of RTSP have none.
        """
        packets = self._container.demux(self._stream)
        return stamped(packets, self.frame_ticks) if self.timed else iter(packets)

    def filtered(self, packet: Any) -> list[Any]:
        """Return a packet in the form that is kept. It is of no use afterwards."""
        return self._filter.filter(packet) if self._filter else [packet]

    def encoding(self, number: int) -> Encoding:
        """Return what is known of the packets of this connection, now."""
        decoder = self.decoder
        size = decoder.width, decoder.height
        return Encoding(self.codec, *size, self._stream.time_base, decoder.pix_fmt, number)


@contextmanager
def connected(source: Source, max_pixels: int) -> Iterator[Connection]:
    """Open a source; raises av.error.FFmpegError, OSError, DecodeError or ContainerError."""
    with closing(_open(source)) as container:
        yield Connection(source, container, max_pixels)


def _open(source: Source) -> Any:
    if source.kind == "file":
        return open_video(Path(source.address))
    container_format, options = _OPTIONS[_scheme(source)]
    return av.open(
        source.address, format=container_format, container_options=options, metadata_errors="replace",
        timeout=(OPEN_TIMEOUT, READ_TIMEOUT),
    )  # fmt: skip


def stamped(packets: Iterable[Any], frame: int) -> Iterator[Any]:
    """Yield packets of which all have stamps, `frame` ticks apart where they had none."""
    held, last = list[Any](), None
    for packet in packets:
        stamp = packet.dts if packet.dts is not None else packet.pts
        if last is None and stamp is None and packet.size and len(held) < MOST_HELD:
            held.append(packet)
            continue
        last = stamp if stamp is not None else (last or 0) + frame
        held.append(packet)
        for back, unstamped in enumerate(reversed(held)):
            if unstamped.size and unstamped.dts is None and unstamped.pts is None:
                unstamped.pts = unstamped.dts = last - frame * back
        yield from held
        held.clear()


def _scheme(source: Source) -> str:
    return "device" if source.kind == "device" else source.address.split(":")[0].lower()


_RTSP = {
    # over UDP a firewall loses the stream, and one lost packet spoils a group of pictures
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "timeout": str(int(READ_TIMEOUT * MICROSECONDS)),
    "analyzeduration": ANALYSED,
    "fpsprobesize": RATE_FRAMES,
}
_HTTP = {"format_whitelist": _FORMATS, "max_redirects": "0", "analyzeduration": ANALYSED, "fpsprobesize": RATE_FRAMES}
_OPTIONS = {
    "rtsp": ("rtsp", {**_RTSP, "protocol_whitelist": "rtsp,rtp,tcp"}),
    "rtsps": ("rtsp", {**_RTSP, "protocol_whitelist": "rtsps,rtsp,rtp,tls,tcp"}),
    "http": (None, {**_HTTP, "protocol_whitelist": "http,tcp"}),
    "https": (None, {**_HTTP, "protocol_whitelist": "https,http,tls,tcp"}),
    "device": ("v4l2", {"protocol_whitelist": "file"}),
}
