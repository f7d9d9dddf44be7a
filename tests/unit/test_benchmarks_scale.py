"""What the benchmark of scale reads is there."""

from pathlib import Path

from benchmarks import handshake


def test_a_handshake_has_the_whole_certificate_in_it(tmp_path: Path) -> None:
    few, many = handshake.measure(tmp_path, (1, 400), repeat=2, rounds=1)
    assert (few.names, many.names) == (1, 400)
    assert many.certificate - few.certificate > 399 * len(handshake.name(0))
    assert many.sent - few.sent > 399 * len(handshake.name(0))
    assert few.sent < handshake.WINDOW < many.sent
    assert min(few.server, few.client, many.server, many.client) > 0
