"""The translation: a prepared slice, placed on one machine, to the messages that Envoy runs. Pure, and complete or refused.

    fields.require_known -> listeners -> route configurations -> clusters -> endpoints

One function per section type: ``listeners.listener``, ``routes.route_configuration`` (RouteTable, VirtualHost, RouteBlock), ``clusters.cluster``,
``authorization.rbac`` (PolicySet); the Proxy section's parts are read by ``chains`` and ``logs``. Whoever adds a field to a section
translates it there and names it in ``fields``; until then a slice that uses it is refused here, at file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from policies.source import SourceRef
from runtime.envoy.chains import discovered_filters
from runtime.envoy.clusters import cluster, variants
from runtime.envoy.failure import TranslationError, UntranslatableError
from runtime.envoy.fields import require_known
from runtime.envoy.listeners import fits, listener
from runtime.envoy.messages import Message
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.redirected import leads_to, redirected
from runtime.envoy.routes import Use, route_configuration, use_of
from runtime.envoy.secrets import wanted
from runtime.interception import intercepting
from snapshot.prepared import PreparedSlice
from snapshot.section import Cluster, HttpChain, Listener, RegisteredEndpoints


class Translated(msgspec.Struct, frozen=True):
    """What Envoy runs of a slice. ``filters`` and ``routes`` are empty where they stand inside listeners (static delivery).

    ``secrets`` are the names that transport sockets refer to; their content is live data."""

    listeners: tuple[Message, ...]
    filters: tuple[Message, ...]
    routes: tuple[Message, ...]
    clusters: tuple[Message, ...]
    secrets: frozenset[str]


def translate(prepared: PreparedSlice, place: Placement) -> Translated:
    """Translates a slice; raises UntranslatableError with everything that cannot be."""
    if place.intercepts:
        prepared = intercepting(prepared)
    problems = _Problems(prepared)
    for section in prepared.sections.values():
        problems.collect(partial(require_known, section))
    bound = [one for one in prepared.listeners.values() if place.bootstrap.resolve(one.bind) is not None]
    apart = [one for one in prepared.listeners.values() if leads_to(one, place)]
    listeners = [problems.collect(partial(listener, prepared, one, place)) for one in bound if one not in apart]
    if apart:
        listeners += problems.collect_all(partial(redirected, prepared, place))
    bound += [one for one in apart if one not in bound]
    routes: list[Message | None] = []
    filters: list[Message] = []
    if place.delivery is Delivery.DISCOVERED:
        for use in dict.fromkeys(uses(bound, place)):
            routes.append(
                problems.collect(partial(route_configuration, prepared, use, stamp=place.stamp), table(prepared, use))
            )
        # Their listeners have told already what is wrong with them.
        filters = [] if problems else [one for section in bound for one in _filters(prepared, section, place)]
    clusters = [
        problems.collect(partial(cluster, one, prepared.proxy, place), _source(one))
        for section in prepared.clusters.values()
        for one in variants(section, place)
    ]
    problems.require_none()
    return Translated(
        listeners=tuple(one for one in listeners if one is not None),
        filters=tuple(filters),
        routes=tuple(one for one in routes if one is not None),
        clusters=tuple(one for one in clusters if one is not None),
        secrets=frozenset(wanted(bound, prepared.clusters.values())),
    )


def uses(listeners: list[Listener], place: Placement) -> Iterator[Use]:
    """The route configurations that listeners refer to."""
    for section in listeners:
        for chain, _ in fits(section.chains, section.protocol):
            if isinstance(chain.network, HttpChain):
                yield use_of(chain.network, section.direction, intercepts=place.intercepts)


def _filters(prepared: PreparedSlice, section: Listener, place: Placement) -> Iterator[Message]:
    for chain, _ in fits(section.chains, section.protocol):
        if isinstance(chain.network, HttpChain):
            prepared_chain = prepared.chains[section.name, chain.name]
            yield from discovered_filters(prepared, prepared_chain, chain.network, place)


def discovering(prepared: PreparedSlice) -> list[Cluster]:
    """The clusters whose endpoints change while the slice stays."""
    return [one for one in prepared.clusters.values() if isinstance(one.endpoints, RegisteredEndpoints)]


def table(prepared: PreparedSlice, use: Use) -> SourceRef | None:
    """Where a route configuration comes from."""
    found = prepared.tables.get(use.table)
    return found.section.source if found is not None else None


def _source(section: Cluster) -> SourceRef | None:
    return section.sources[0] if section.sources else None


class _Problems:
    """Collects what cannot be translated, each once, with its place in the repository."""

    def __init__(self, prepared: PreparedSlice) -> None:
        self._prepared = prepared
        self._found: dict[str, SourceRef | None] = {}

    def collect(self, make: Callable[[], Message | None], near: SourceRef | None = None) -> Message | None:
        """What ``make`` returns, or None where it raised TranslationError; ``near`` is its place where the error names none."""
        try:
            return make()
        except TranslationError as error:
            source = error.source or near
            place = self._prepared.position(source) if source is not None else None
            where = place or source
            self._found.setdefault(f"{where}: {error}" if where is not None else str(error), source)
            return None

    def collect_all(self, make: Callable[[], Iterator[Message]]) -> list[Message | None]:
        """The same for several that are made one after the other: what comes before the error counts."""
        found: list[Message | None] = []
        self.collect(lambda: found.extend(make()))
        return found

    def __bool__(self) -> bool:
        return bool(self._found)

    def require_none(self) -> None:
        """Raises UntranslatableError where something was found."""
        if self._found:
            raise UntranslatableError(tuple(self._found), next(iter(self._found.values())))
