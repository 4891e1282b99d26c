"""Outlier detection: which endpoints of a cluster are left out for a while, because of what their last requests came to.

The model is Envoy's. Each endpoint has three counts of failures in a row (5xx, gateway errors, failures of our own side); one that reaches
its threshold is ejected at once, if the share that is out allows. It comes back at the first interval after its time, which grows with each
ejection and shrinks with each interval that goes well.

Pure: ``now`` is an argument (seconds, monotonic), and whoever owns an Outliers asks ``sweep`` every interval while ``watching``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from policies.balancing import OutlierDetection

Address = tuple[str, int]

MAX_EJECTION_S = 300.0
"""The longest ejection, unless the base time itself is longer (Envoy)."""
_SERVER_ERROR = 500
_GATEWAY = (502, 503, 504)
_UNAVAILABLE, _TIMED_OUT = 503, 504


class Cause(Enum):
    """What an endpoint was ejected for. The value is Envoy's part of the counter's name."""

    SERVER_ERRORS = "consecutive_5xx"
    GATEWAY = "consecutive_gateway_failure"
    LOCAL = "consecutive_local_origin_failure"


class _Host:
    """What is known of one endpoint. Owned by Outliers."""

    __slots__ = ("ejected_at", "gateway", "local", "out", "server_errors", "times")

    def __init__(self) -> None:
        self.server_errors = 0
        self.gateway = 0
        self.local = 0
        self.times = 0
        self.out = False
        self.ejected_at = 0.0


class Outliers:
    """The endpoints of one cluster. Owns their counts; ``ejected`` are those that are out now, ``enforced`` and ``overflowed`` count for metrics."""

    __slots__ = ("_hosts", "_settings", "ejected", "enforced", "overflowed")

    def __init__(self, settings: OutlierDetection) -> None:
        self._settings = settings
        self._hosts: dict[Address, _Host] = {}
        self.ejected: frozenset[Address] = frozenset()
        self.enforced = dict.fromkeys(Cause, 0)
        self.overflowed = 0

    @property
    def watching(self) -> bool:
        """Whether ``sweep`` has anything to do: an endpoint is out, or was and may be forgiven."""
        return any(host.out or host.times for host in self._hosts.values())

    def keep(self, addresses: Iterable[Address]) -> None:
        """The cluster's endpoints are now these. What is known of those that stay stays."""
        self._hosts = {address: self._hosts.get(address) or _Host() for address in addresses}
        self.ejected = frozenset(address for address, host in self._hosts.items() if host.out)

    # --- what requests came to; each says whether ``ejected`` changed ----------------------------------------------------------

    def on_response(self, address: Address, status: int, now: float) -> bool:
        """A response came; the status of a gRPC response is that of its grpc-status where its head has one."""
        host = self._hosts.get(address)
        if host is None:
            return False
        settings = self._settings
        host.local = 0
        if settings.statuses:
            # Without 5xx of their own, the listed statuses are plain failures (Envoy's error matcher).
            status = _SERVER_ERROR if status in settings.statuses else 200
        return self._count(address, host, status, now)

    def on_failure(self, address: Address, now: float, *, timed_out: bool = False, connected: bool = False) -> bool:
        """No response came: the connection failed, was reset, or time ran out. ``connected`` says that there had been a connection."""
        host = self._hosts.get(address)
        if host is None:
            return False
        if not self._settings.split:
            return self._count(address, host, _TIMED_OUT if timed_out else _UNAVAILABLE, now)
        host.local = 1 if connected else host.local + 1
        if host.local == self._settings.consecutive_local:
            host.local = 0
            return self._eject(address, host, Cause.LOCAL, now)
        return False

    def on_connected(self, address: Address) -> None:
        """A connection that carries bytes as they come was made: the whole of what can be judged of it."""
        host = self._hosts.get(address)
        if host is not None:
            host.local = host.server_errors = host.gateway = 0

    def _count(self, address: Address, host: _Host, status: int, now: float) -> bool:
        if status < _SERVER_ERROR:
            host.server_errors = host.gateway = 0
            return False
        settings = self._settings
        changed = False
        host.gateway = host.gateway + 1 if status in _GATEWAY else 0
        if host.gateway and host.gateway == settings.consecutive_gateway:
            host.gateway = 0
            changed = self._eject(address, host, Cause.GATEWAY, now)
        host.server_errors += 1
        if host.server_errors == settings.consecutive_5xx:
            host.server_errors = 0
            changed = self._eject(address, host, Cause.SERVER_ERRORS, now) or changed
        return changed

    def _eject(self, address: Address, host: _Host, cause: Cause, now: float) -> bool:
        if host.out:
            return False
        if 100 * (len(self.ejected) + 1) > self._settings.max_ejection_percent * len(self._hosts):
            self.overflowed += 1
            return False
        host.out = True
        host.ejected_at = now
        base_s = self._settings.base_ejection_ms / 1000
        if host.times * base_s < max(MAX_EJECTION_S, base_s) + base_s:
            host.times += 1
        self.enforced[cause] += 1
        self.ejected |= {address}
        return True

    def sweep(self, now: float) -> bool:
        """An interval is over: lets in whose time is up and forgives the others an ejection each. Says whether ``ejected`` changed."""
        base_s = self._settings.base_ejection_ms / 1000
        longest_s = max(MAX_EJECTION_S, base_s)
        back = set()
        for address, host in self._hosts.items():
            if not host.out:
                host.times = max(host.times - 1, 0)
            elif now - host.ejected_at >= min(base_s * host.times, longest_s):
                host.out = False
                host.server_errors = host.gateway = host.local = 0
                back.add(address)
        self.ejected -= back
        return bool(back)
