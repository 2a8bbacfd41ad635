"""MQTT: messages published to a broker, confirmed one by one."""

import hashlib
import importlib.util
import threading
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from anomalyclip.errors import UsageError
from anomalyclip.live.sinks.couriers import UndeliveredError
from anomalyclip.live.sinks.messages import Message
from anomalyclip.live.sinks.receiver_address import receiver_address
from anomalyclip.redaction import without_login

if TYPE_CHECKING:
    from paho.mqtt.client import Client

TOPIC = "anomalyclip"
"""First part of the topics, unless the address has a path."""
PORTS = {"mqtt": 1883, "mqtts": 8883}
CONNECT_SECONDS, CONFIRM_SECONDS, CLOSE_SECONDS = 5.0, 10.0, 1.0
KEEPALIVE = 30
"""Seconds after which a silent connection is checked."""
_SILENT = "no connection"


class Mqtt:
    """A broker. Messages of a camera go to `TOPIC/SOURCE/events`, `TOPIC/available` says `online` or `offline`."""

    def __init__(self, url: str) -> None:
        """Take an address, `mqtt://` or `mqtts://`; raises UsageError for another one, or without paho-mqtt."""
        if importlib.util.find_spec("paho") is None:
            raise UsageError("--mqtt needs paho-mqtt, which is not installed: pip install 'anomalyclip[mqtt]'")
        usage = "--mqtt takes an address such as mqtt://broker, mqtts://broker:8883 or mqtt://broker/TOPIC"
        parts, given_port = receiver_address(url, PORTS, usage)
        if "+" in parts.path or "#" in url or not parts.hostname:
            raise UsageError(usage)
        port = given_port or PORTS[parts.scheme]
        self.name = f"{parts.scheme}://{parts.hostname}:{port}"
        self.key = f"mqtt {hashlib.sha256(without_login(url).encode()).hexdigest()[:16]}"
        self._host, self._port, self._topic = parts.hostname, port, parts.path.strip("/") or TOPIC
        self._login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        self._tls = parts.scheme == "mqtts"
        self._changed = threading.Condition()
        self._online, self._said = False, _SILENT
        self._sent: tuple[str, int] | None = None
        self._confirmed: set[int] = set()
        self._client: Client = self._new_client()

    def open(self) -> None:
        """Connect, and again whenever the connection breaks, in a thread of the client."""
        self._client.connect_async(self._host, self._port, KEEPALIVE)
        self._client.loop_start()

    def send(self, message: Message) -> None:
        """Publish a message with QoS 1, and wait for the broker's confirmation; raises UndeliveredError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._online, CONNECT_SECONDS):
                raise UndeliveredError(self._said)
        # what was published before the connection broke is repeated by the client itself, once there is one again
        if self._sent is None or self._sent[0] != message.message:
            info = self._client.publish(f"{self._topic}/{message.source}/events", message.as_json(), qos=1)
            self._sent = message.message, info.mid
        mid = self._sent[1]
        with self._changed:
            if not self._changed.wait_for(lambda: mid in self._confirmed, CONFIRM_SECONDS):
                raise UndeliveredError("no confirmation")
            self._confirmed.clear()
        self._sent = None

    def close(self) -> None:
        """Say `offline` and disconnect, if there is a connection."""
        if self._online:
            mid = self._client.publish(f"{self._topic}/available", "offline", qos=1, retain=True).mid
            with self._changed:
                self._changed.wait_for(lambda: mid in self._confirmed, CLOSE_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    def _new_client(self) -> "Client":
        from paho.mqtt.client import Client  # here, for it is of an extra
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, f"anomalyclip-{uuid.uuid4().hex[:12]}")
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_publish = self._published
        client.will_set(f"{self._topic}/available", "offline", qos=1, retain=True)
        client.connect_timeout = CONNECT_SECONDS
        client.reconnect_delay_set(1, 30)
        if self._login:
            client.username_pw_set(*self._login)
        if self._tls:
            client.tls_set()
        return client

    def _connected(self, client: "Client", data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            client.publish(f"{self._topic}/available", "online", qos=1, retain=True)
        self._tell(not reason.is_failure, f"the broker answers: {reason}" if reason.is_failure else _SILENT)

    def _disconnected(self, client: "Client", data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._tell(False, self._said)  # why it was refused, if it was

    def _published(self, client: "Client", data: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._confirmed.add(mid)
            self._changed.notify_all()

    def _tell(self, online: bool, said: str) -> None:
        with self._changed:
            self._online, self._said = online, said
            self._changed.notify_all()
