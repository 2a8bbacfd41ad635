"""The ring of packets: enough for a clip that began some time ago, and never more than its bounds."""

from fractions import Fraction

from anomalyclip.live.cameras.packets import Encoding, PacketRing, Stored

ENCODING = Encoding("h264", 320, 180, Fraction(1, 25))


def packet(number: int, group: int, size: int = 100) -> Stored:
    return Stored(bytes(size), number / 25, number, number, 1, number % group == 0, ENCODING)


def fill(ring: PacketRing, packets: int, group: int, size: int = 100) -> None:
    for number in range(packets):
        ring.add(packet(number, group, size))


def test_it_holds_whole_groups_for_its_seconds() -> None:
    ring = PacketRing(4.0)
    fill(ring, 1000, 50)
    held = ring.since(0)
    assert held[0].key and 4.0 <= held[-1].time - held[0].time < 6.0
    assert ring.size == 100 * len(held)


def test_a_clip_begins_at_the_key_frame_before_or_at_the_first_there_is() -> None:
    ring = PacketRing(100.0)
    fill(ring, 300, 50)
    found = [ring.key_before(time) for time in (5.0, 5.9, -1.0)]
    assert [key and key.pts for key in found] == [100, 100, 0]
    assert [each.pts for each in ring.since(297)] == [297, 298, 299]
    assert ring.since(300) == [] and PacketRing(1.0).key_before(0.0) is None


def test_its_bytes_are_bounded_whatever_the_groups_are() -> None:
    for group in (50, 10_000):  # the second: a single group that never ends
        ring, most = PacketRing(1e9, most_bytes=20_000), 0
        for number in range(3000):
            ring.add(packet(number, group))
            most = max(most, ring.size)
        assert most <= 20_000
        assert all(each.key for each in ring.since(0)[:1])


def test_packets_before_the_first_key_frame_are_left_out() -> None:
    ring = PacketRing(10.0)
    ring.add(packet(1, 2))
    assert ring.since(0) == []
