"""From authorization policies to Envoy's RBAC filters: one that denies, then one that allows, as ``policies.authorizing`` asks them.

A new attribute of ``policies.attributes`` gets its line in ``_condition``. Attributes that Envoy has no form for, or whose filter is not
translated, raise TranslationError: a policy is never loosened.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

import msgspec
from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import path_pb2, string_pb2

from policies.attributes import CONNECTION_ATTRIBUTES
from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact, Prefix, Present, Regex, StringMatch, Suffix
from policies.matching import string_test
from policies.source import SourceRef
from runtime.envoy.actions import quoted
from runtime.envoy.failure import TranslationError
from runtime.envoy.messages import Message, header_matcher, regex, string_matcher
from runtime.envoy.tokens import asked_of_token

_PORT = "(:[0-9]+)?"


class Place(msgspec.Struct, frozen=True):
    """Where policies are asked. ``port`` is what ``destination.port`` means there, 0 where the connection itself says it."""

    http: bool
    port: int = 0


def rbac(policies: Sequence[AuthorizationPolicy], action: Action, place: Place) -> Message | None:
    """What one RBAC filter enforces, or None where no policy has this action; raises TranslationError."""
    asked = [policy for policy in policies if policy.action is action]
    if not asked:
        return None
    made = {
        f"ns[{rule.source.namespace}]-policy[{rule.source.name}]-rule[{rule.source.path.rpartition('[')[2].rstrip(']')}]"
        + ("" if number == 0 else f"-{number}"): translated
        for number, (rule, translated) in _numbered(asked, place)
    }
    kind = rbac_pb2.RBAC.DENY if action is Action.DENY else rbac_pb2.RBAC.ALLOW
    return rbac_pb2.RBAC(action=kind, policies=made)


def _numbered(policies: Sequence[AuthorizationPolicy], place: Place) -> Iterator[tuple[int, tuple[Rule, Message]]]:
    """Rules with their translations; equal names (which only hand-made slices have) are told apart by a number."""
    seen: dict[SourceRef, int] = {}
    for policy in policies:
        for rule in policy.rules:
            translated = _rule(rule, policy.action, place)
            if translated is not None:
                number = seen.get(rule.source, 0)
                seen[rule.source] = number + 1
                yield number, (rule, translated)


def _rule(rule: Rule, action: Action, place: Place) -> Message | None:
    """One rule, or None where it can never match (an ALLOW rule that names HTTP on a connection)."""
    groups = (*rule.sources, *rule.operations, rule.when)
    http = any(clause.attribute not in CONNECTION_ATTRIBUTES for group in groups for clause in group)
    if not place.http and http and action is Action.ALLOW:
        return None
    principals = [_any(_who, rule.sources, rule.source, place)] if rule.sources else []
    permissions = [_any(_what, rule.operations, rule.source, place)] if rule.operations else []
    for clause in rule.when:
        if clause.attribute in _PERMISSIONS:
            permissions.append(_clause(_what, clause, rule.source, place))
        else:
            principals.append(_clause(_who, clause, rule.source, place))
    return rbac_pb2.Policy(permissions=[_what.every(permissions)], principals=[_who.every(principals)])


class _Side(msgspec.Struct, frozen=True):
    """Envoy keeps who asks (Principal) and what is asked (Permission) apart, though most conditions fit both; their fields differ in name."""

    kind: type[Message]
    plural: type[Message]
    all_of: str
    any_of: str
    member: str
    negated: str

    def every(self, parts: list[Message]) -> Message:
        """All of the parts; without any, always true."""
        return self._several(self.all_of, parts) if parts else self.kind(any=True)

    def some(self, parts: list[Message]) -> Message:
        """Any of the parts; without any, never true."""
        return self._several(self.any_of, parts) if parts else self.no(self.kind(any=True))

    def no(self, part: Message) -> Message:
        """The contrary."""
        return self.kind(**{self.negated: part})

    def _several(self, field: str, parts: list[Message]) -> Message:
        return parts[0] if len(parts) == 1 else self.kind(**{field: self.plural(**{self.member: parts})})


_who = _Side(rbac_pb2.Principal, rbac_pb2.Principal.Set, "and_ids", "or_ids", "ids", "not_id")
_what = _Side(rbac_pb2.Permission, rbac_pb2.Permission.Set, "and_rules", "or_rules", "rules", "not_rule")

_PERMISSIONS = frozenset({"destination.ip", "destination.port", "connection.sni"})


def _any(side: _Side, groups: Sequence[tuple[Clause, ...]], source: SourceRef, place: Place) -> Message:
    return side.some([side.every([_clause(side, clause, source, place) for clause in group]) for group in groups])


def _clause(side: _Side, clause: Clause, source: SourceRef, place: Place) -> Message:
    """Any of the values and none of the others. On a connection HTTP attributes ask nothing (Istio)."""
    if not place.http and clause.attribute not in CONNECTION_ATTRIBUTES:
        return side.every([])
    conditions = [_condition(side, clause.attribute, value, source, place) for value in clause.values]
    parts = [side.some(conditions)] if conditions else []
    unwanted = [_condition(side, clause.attribute, value, source, place) for value in clause.not_values]
    if unwanted:
        parts.append(side.no(side.some(unwanted)))
    return side.every(parts)


def _condition(side: _Side, attribute: str, match: StringMatch, source: SourceRef, place: Place) -> Message:
    """One attribute against one value."""
    kind = side.kind
    name, bracket, rest = attribute.partition("[")
    if name == "request.headers" and bracket:
        return kind(header=_header(rest[:-1].lower(), match))
    if attribute.startswith("experimental.envoy.filters."):
        return side.some([])
    match attribute:
        case "request.method":
            return kind(header=_header(":method", match))
        case "request.host":
            return kind(header=header_matcher(":authority", string_pb2.StringMatcher(safe_regex=regex(_host(match)))))
        case "request.path":
            return kind(url_path=path_pb2.PathMatcher(path=string_matcher(match)))
        case "destination.port" if place.port:
            return side.every([]) if string_test(match)(str(place.port)) else side.some([])
        case "destination.port" if side is _what and isinstance(match, Exact) and match.value.isdigit():
            return kind(destination_port=int(match.value))
        case "destination.ip" if side is _what:
            return kind(destination_ip=_network(match, source))
        case "connection.sni" if side is _what:
            return kind(requested_server_name=string_matcher(match))
        case "source.ip" if side is _who:
            return kind(direct_remote_ip=_network(match, source))
        case "remote.ip" if side is _who:
            return kind(remote_ip=_network(match, source))
    if side is _who and (pattern := _identity(attribute, match, source)) is not None:
        name_matcher = string_pb2.StringMatcher(safe_regex=regex(pattern))
        return kind(authenticated=rbac_pb2.Principal.Authenticated(principal_name=name_matcher))
    if side is _who and (asked := asked_of_token(attribute, match)) is not None:
        return side.some([side.every([_claimed(one) for one in together]) for together in asked])
    raise TranslationError(f"the condition {attribute!r} ({match}) has no form in Envoy yet", source)


def _claimed(matcher: Message) -> Message:
    return rbac_pb2.Principal(sourced_metadata=rbac_pb2.SourcedMetadata(metadata_matcher=matcher))


def _header(name: str, match: StringMatch) -> Message:
    if isinstance(match, Present):
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return header_matcher(name, string_matcher(match))


def _host(match: StringMatch) -> str:
    """A host without regard to case, with any port or none."""
    match match:
        case Exact(value):
            return f"(?i){quoted(value)}{_PORT}"
        case Prefix(value):
            return f"(?i){quoted(value)}.*"
        case Suffix(value):
            return f"(?i).*{quoted(value)}{_PORT}"
        case Regex(pattern):
            return f"(?i)(?:{pattern}){_PORT}"
        case Present():
            return ".*"


def _network(match: StringMatch, source: SourceRef) -> Message:
    if not isinstance(match, Exact):
        raise TranslationError(f"an address block is expected, not {match}", source)
    network = ipaddress.ip_network(match.value, strict=False)
    return address_pb2.CidrRange(address_prefix=str(network.network_address), prefix_len={"value": network.prefixlen})


def _identity(attribute: str, match: StringMatch, source: SourceRef) -> str | None:
    """A pattern of the SPIFFE ID that stands for a condition on a part of it; None where the attribute is none of these."""
    match attribute:
        case "source.principal":
            return f"spiffe://{_pattern(match, '.')}"
        case "source.trustDomain":
            return f"spiffe://{_pattern(match, '[^/]')}/ns/[^/]+/sa/[^/]+"
        case "source.namespace":
            return f"spiffe://[^/]+/ns/{_pattern(match, '[^/]')}/sa/[^/]+"
        case "source.serviceAccount":
            if isinstance(match, Present):
                return "spiffe://[^/]+/ns/[^/]+/sa/[^/]+"
            if not isinstance(match, Exact | Prefix) or "/" not in match.value:
                raise TranslationError(f"the service account {match} has no form in Envoy", source)
            namespace, _, account = match.value.partition("/")
            rest = "[^/]*" if isinstance(match, Prefix) else ""
            return f"spiffe://[^/]+/ns/{quoted(namespace)}/sa/{quoted(account)}{rest}"
    return None


def _pattern(match: StringMatch, any_one: str) -> str:
    match match:
        case Exact(value, fold):
            return f"(?i:{quoted(value)})" if fold else quoted(value)
        case Prefix(value, fold):
            return f"(?i:{quoted(value)}){any_one}*" if fold else f"{quoted(value)}{any_one}*"
        case Suffix(value, fold):
            return f"{any_one}*(?i:{quoted(value)})" if fold else f"{any_one}*{quoted(value)}"
        case Regex(pattern):
            return f"(?:{pattern})"
        case Present():
            return f"{any_one}+"
