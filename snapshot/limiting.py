"""Rate limits made ready to ask: which of them count a request, and under which key."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from policies.attributes import Asked, remote_ip
from policies.head import Peer, Principal, RequestHead
from policies.limits import LimitKey, RateLimit
from policies.match import PathExact, PathMatch, PathPrefix, PathRegex, PathSegments
from policies.matching import compile_pattern, header_test, string_test

Test = Callable[[RequestHead, Peer], bool]
Reader = Callable[[RequestHead, Peer, bool], str]
Key = tuple[str, ...]

_NOBODY = Principal()


class PreparedLimit(msgspec.Struct, frozen=True, gc=False):
    """One limit with its matchers compiled."""

    limit: RateLimit
    tests: tuple[Test, ...]
    readers: tuple[Reader, ...]

    def key(self, head: RequestHead, peer: Peer, *, edge: bool) -> Key | None:
        """Whose bucket the request takes from, () where all share one; None where it is not counted."""
        for test in self.tests:
            if not test(head, peer):
                return None
        key = tuple(read(head, peer, edge) for read in self.readers)
        return None if "" in key else key


def prepare_limits(limits: tuple[RateLimit, ...]) -> tuple[PreparedLimit, ...]:
    """Compiles limits, in the order in which they are asked; raises PatternError."""
    return tuple(_prepare(limit) for limit in sorted(limits, key=lambda limit: limit.order))


def _prepare(limit: RateLimit) -> PreparedLimit:
    tests: list[Test] = []
    match = limit.match
    if match.path is not None:
        on_path = path_test(match.path)
        tests.append(lambda head, _peer: on_path(head.path))
    if match.method is not None:
        on_method = string_test(match.method)
        tests.append(lambda head, _peer: on_method(head.method))
    for header in match.headers:
        on_header = header_test(header)
        tests.append(lambda head, _peer, test=on_header: test(head.headers))  # type: ignore[misc]
    if limit.identity is not None:
        on_identity = string_test(limit.identity)
        tests.append(lambda _head, peer: on_identity(peer.identity))
    return PreparedLimit(limit, tuple(tests), tuple(_reader(key) for key in limit.by))


def path_test(match: PathMatch) -> Callable[[str], bool]:
    """One path match as a test; raises PatternError."""
    match match:
        case PathExact(value, ignore_case):
            wanted = value.lower() if ignore_case else value
            return lambda path: (path.lower() if ignore_case else path) == wanted
        case PathPrefix(value, ignore_case):
            start = value.lower() if ignore_case else value
            return lambda path: (path.lower() if ignore_case else path).startswith(start)
        case PathSegments(value):
            bare = value.rstrip("/")
            return lambda path: path == bare or path.startswith(f"{bare}/")
        case PathRegex(pattern):
            compiled = compile_pattern(pattern)
            return lambda path: compiled.fullmatch(path) is not None


def _reader(key: LimitKey) -> Reader:
    match key.on:
        case "identity":
            return lambda _head, peer, _edge: peer.identity
        case "source":
            return lambda head, peer, edge: remote_ip(Asked(head, peer, _NOBODY, edge))
        case "method":
            return lambda head, _peer, _edge: head.method
        case "path":
            return lambda head, _peer, _edge: head.path
        case _:
            name = key.name.encode()
            return lambda head, _peer, _edge: next(
                (value.decode("utf-8", "replace") for header, value in head.headers if header == name), ""
            )
