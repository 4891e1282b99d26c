"""AuthorizationPolicy as data, with Istio's meaning: DENY before ALLOW, and no ALLOW policy allows.

Invalid is a value: a policy that could not be linked has ``action`` DENY and one rule that matches everything.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from policies.match import StringMatch
from policies.source import SourceRef


class Action(Enum):
    """What a matching policy does, in the order in which policies are asked."""

    DENY = "DENY"
    ALLOW = "ALLOW"


class Clause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attribute's condition: any of ``values`` matches and none of ``not_values`` does.

    ``attribute`` is a key of Istio's condition table (``source.principal``, ``source.namespace``, ``source.serviceAccount``, ``source.ip``,
    ``remote.ip``, ``request.headers[x]``, ``request.host``, ``request.method``, ``request.path``, ``request.auth.principal``,
    ``destination.port``, ``connection.sni`` ...). IP attributes hold CIDR text as Exact. An empty ``values`` asks nothing positive.
    """

    attribute: str
    values: tuple[StringMatch, ...] = ()
    not_values: tuple[StringMatch, ...] = ()


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule: any of ``sources`` and any of ``operations`` and all of ``when``. Each entry of the first two is a conjunction of clauses.

    An empty ``sources`` or ``operations`` asks nothing.
    """

    source: SourceRef
    sources: tuple[tuple[Clause, ...], ...] = ()
    operations: tuple[tuple[Clause, ...], ...] = ()
    when: tuple[Clause, ...] = ()


class AuthorizationPolicy(msgspec.Struct, frozen=True):
    """One policy; no rules never matches (an ALLOW without rules therefore denies all)."""

    source: SourceRef
    action: Action
    rules: tuple[Rule, ...] = ()


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The answer of a policy set. ``source`` is the rule that decided, or the ALLOW policy that nothing matched, or None where no policy applies."""

    allowed: bool
    source: SourceRef | None = None
