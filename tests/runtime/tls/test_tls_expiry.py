"""Who is asked to leave when a client's certificate ends, and who is cut off."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.tls.expiry import NEVER, CertificateEnds


@dataclass(eq=False)
class Open:
    certified_until: float = NEVER


def test_nobody_is_asked_before_the_soonest_end_has_come() -> None:
    ends: CertificateEnds[Open] = CertificateEnds()
    one = Open(100.0)
    ends.expect(100.0)
    assert ends.due([one, Open()], 99.9, 30.0) == ([], [])
    assert ends.soonest == 100.0


def test_each_is_asked_once_and_cut_off_after_the_grace() -> None:
    ends: CertificateEnds[Open] = CertificateEnds()
    one, later, uncertified = Open(100.0), Open(200.0), Open()
    ends.expect(100.0)
    ends.expect(200.0)
    everyone = [one, later, uncertified]
    assert ends.due(everyone, 100.0, 30.0) == ([one], [])
    assert ends.soonest == 200.0
    assert ends.due(everyone, 110.0, 30.0) == ([], [])
    assert ends.due(everyone, 130.0, 30.0) == ([], [one])


def test_who_has_left_is_forgotten() -> None:
    ends: CertificateEnds[Open] = CertificateEnds()
    one = Open(100.0)
    ends.expect(100.0)
    ends.due([one], 100.0, 30.0)
    assert ends.due([], 130.0, 30.0) == ([], [])
    assert (ends.soonest, ends._asked) == (NEVER, {})
