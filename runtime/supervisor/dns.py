"""The DNS server's part in a deployment: what can fail before the workers swap, the new names right after it.

Once it serves it goes on to the proxy's end. Under a slice that does not ask for it any more it knows no name and asks on for all of them: as
long as queries are redirected to it, an application without an answer would be worse off than before.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from runtime.bootstrap import Bootstrap
from runtime.dns.answering import NameIndex
from runtime.dns.ports import bind, has_ipv6, release
from runtime.dns.server import DnsProxy
from runtime.supervisor.facts import SliceFacts
from runtime.supervisor.tasks import Task
from runtime.telemetry import Instruments


class DnsPart:
    """Owns the server. ``held`` are the proxy's own sockets by name, and ``start`` runs a task for as long as the proxy lives."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        instruments: Instruments,
        held: dict[str, socket.socket],
        start: Callable[[str, Task], None],
    ) -> None:
        self.server = DnsProxy(bootstrap, instruments, has_ipv6=has_ipv6())
        self._bootstrap = bootstrap
        self._held = held
        self._start = start
        self._serving = False

    @property
    def serving(self) -> bool:
        """Whether queries are answered."""
        return self._serving

    def prepare(self, facts: SliceFacts) -> NameIndex:
        """The index of a slice's names, with sockets for it; raises BindError."""
        if facts.proxy.serves_dns:
            bind(self._bootstrap, self._held)
        return self.server.prepare(facts.tables)

    def abandon(self) -> None:
        """Lets go of sockets that nobody answers on."""
        if not self._serving:
            release(self._held)

    def use(self, index: NameIndex, facts: SliceFacts) -> None:
        """Answers from what was prepared."""
        self.server.use(index, facts.headless)
        if not facts.proxy.serves_dns:
            self.abandon()
        elif not self._serving:
            sockets = bind(self._bootstrap, self._held)
            self._serving = bool(sockets)
            if sockets:
                self._start("answering DNS", partial(self.server.serve, sockets))
