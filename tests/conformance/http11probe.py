"""Http11Probe's cases at our codec: a refusal is its 4xx or close, a complete request its 2xx."""

from __future__ import annotations

import base64

from tests.conformance.corpus import Tally, read
from tests.conformance.wire import read_requests


def run() -> Tally:
    """Every scored case; a Must that fails is wrong, a Should or May that fails is left out with its level."""
    tally = Tally()
    for case in read("http1/http11probe_cases.json"):
        name = f"{case['id']} {case['desc']}"
        if not case["scored"] or "verdict" not in case or "payload_b64" not in case:
            tally.leave(name, "not scored by its authors, or judged by more than the answer")
            continue
        reading = read_requests(base64.b64decode(case["payload_b64"]))
        if reading.error:
            status = "400"
        elif reading.requests:
            status = "200"
        else:
            status = "TimedOut"
        answers = {status, "ClosedByServer"} if reading.error else {status}
        verdicts = {case["verdict"].get(answer, "Fail") for answer in answers}
        if "Fail" not in verdicts or (reading.error and "Pass" in verdicts):
            tally.count(name, None)
        elif case["level"] == "Must":
            tally.count(name, f"{status} {reading.error}")
        else:
            tally.leave(name, f"level {case['level']}")
    return tally
