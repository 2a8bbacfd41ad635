"""GStreamer's RTSP server; runs with the system's Python, which has its bindings.

Arguments: the port, a video file, what is in it (a key of LAUNCH), and a login `USER PASSWORD`, or nothing. Every
client sees it from its start, at its own pace, as /live.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = {
    "h264": "qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "sdp": "qtdemux ! rtph264pay name=pay0 pt=96",
    "h265": "qtdemux ! h265parse ! rtph265pay name=pay0 pt=96",
    "jpeg": "matroskademux ! rtpjpegpay name=pay0 pt=26",
}


def main() -> None:
    port, video, codec, login = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    media = GstRtspServer.RTSPMediaFactory()
    media.set_launch(f'( filesrc location="{video}" ! {LAUNCH[codec]} )')
    if login:
        demand_login(server, media, *login.split())
    server.get_mount_points().add_factory("/live", media)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


def demand_login(
    server: "GstRtspServer.RTSPServer", media: "GstRtspServer.RTSPMediaFactory", user: str, password: str
) -> None:
    auth, token, permissions = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken(), GstRtspServer.RTSPPermissions()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    media.set_permissions(permissions)


if __name__ == "__main__":
    main()
