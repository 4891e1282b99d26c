"""What a case of Gateway API's suites expects of an answer: ``judged(case, reply)`` says what is wrong, or None."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tests.conformance.traffic_calls import Reply


def judged(case: dict[str, Any], reply: Reply) -> str | None:
    """One answer to an HTTP case."""
    expect = case["expect"]
    if expect["failure"]:
        return f"answered {reply.status}" if not reply.error and reply.status < 400 else None
    if reply.error:
        return reply.error
    if reply.status not in expect["status_codes"]:
        return f"status {reply.status}, wanted {expect['status_codes']}: {reply.text[:80]}"
    if expect["redirect"] and (problem := _redirected(expect["redirect"], reply)):
        return problem
    if problem := _headers(expect, reply):
        return problem
    # The proxy itself answers a preflight, with nothing in it.
    if reply.status != 200 or (not reply.seen and not expect["backend"]):
        return None
    where = (reply.seen.get("service"), reply.seen.get("namespace"))
    wanted = expect["backend_namespace"] or where[1]
    if expect["backend"] and where != (expect["backend"], wanted):
        return f"went to {where}, wanted {expect['backend']}"
    return saw(expect["backend_sees"], reply.seen)


def _headers(expect: dict[str, Any], reply: Reply) -> str | None:
    for name, value in (expect["response_headers"] or {}).items():
        if reply.headers.get(name.lower()) != value:
            return f"response header {name} is {reply.headers.get(name.lower())!r}"
    for name, values in (expect["response_valid_header_values"] or {}).items():
        got = reply.headers.get(name.lower(), "")
        if _squeezed(got) not in {_squeezed(value) for value in values}:
            return f"response header {name} is {got!r}, wanted one of {values}"
    for name in expect["response_absent_headers"] or ():
        if name.lower() in reply.headers:
            return f"response header {name} is there"
    return None


def _squeezed(value: str) -> str:
    return value.replace(" ", "").lower()


def saw(wanted: dict[str, Any], seen: dict[str, Any]) -> str | None:
    """What the back end saw otherwise."""
    if wanted["path"] and seen["path"] != wanted["path"]:
        return f"the back end saw path {seen['path']}"
    if wanted["host"] and seen["host"] != wanted["host"]:
        return f"the back end saw host {seen['host']}"
    for name, value in (wanted["headers"] or {}).items():
        got = ",".join(seen["headers"].get(name.lower(), []))
        if got != (",".join(value) if isinstance(value, list) else value):
            return f"the back end saw {name}: {got!r}, wanted {value!r}"
    for name in wanted["absent_headers"] or ():
        if name.lower() in seen["headers"]:
            return f"the back end saw {name}"
    return None


def _redirected(wanted: dict[str, Any], reply: Reply) -> str | None:
    parts = urlsplit(reply.headers.get("location", ""))
    got = {"Scheme": parts.scheme, "Host": parts.hostname, "Port": str(parts.port or ""), "Path": parts.path}
    for name, value in wanted.items():
        if got.get(name) != value:
            return f"location {reply.headers.get('location')!r}: {name} is not {value!r}"
    return None


def judged_grpc(expected: dict[str, Any], reply: Reply) -> str | None:
    """One answer to a gRPC case."""
    code = (expected.get("Response") or {}).get("Code", 0)
    if reply.grpc_status != code:
        return f"gRPC status {reply.grpc_status}, wanted {code}: {reply.error}"
    if not reply.seen:
        return None
    if expected.get("Backend") not in (None, reply.seen["service"]):
        return f"went to {reply.seen['service']}, wanted {expected['Backend']}"
    wanted = (expected.get("Response") or {}).get("Headers") or {}
    absent = (expected.get("Response") or {}).get("AbsentHeaders") or ()
    return saw({"path": "", "host": "", "headers": wanted, "absent_headers": absent}, reply.seen)


def judged_bytes(expected: dict[str, Any], reply: Reply) -> str | None:
    """One answer to a TCP or UDP case."""
    if reply.error or reply.status != 200:
        return reply.error or f"answered {reply.text[:80]!r}"
    wanted = expected.get("Backend") or expected.get("Service")
    return None if wanted in (None, reply.seen["service"]) else f"went to {reply.seen['service']}, wanted {wanted}"
