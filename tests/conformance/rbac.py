"""Envoy's RBAC filter, evaluated on one request: the judge of our AuthorizationPolicy. Written from the filter's documentation."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from policies.attributes import Asked, remote_ip


def allowed(filters: list[dict[str, Any]], asked: Asked) -> bool:
    """Whether every filter lets the request pass."""
    return all(_passes(filter_["typedConfig"].get("rules"), asked) for filter_ in filters)


def _passes(rules: dict[str, Any] | None, asked: Asked) -> bool:
    if rules is None:
        return True
    matched = any(
        any(permission(item, asked) for item in policy["permissions"])
        and any(principal(item, asked) for item in policy["principals"])
        for policy in (rules.get("policies") or {}).values()
    )
    return not matched if rules.get("action") == "DENY" else matched


def permission(node: dict[str, Any], asked: Asked) -> bool:
    """One Permission of the filter."""
    head, peer = asked.head, asked.peer
    ((kind, value),) = node.items()
    match kind:
        case "any":
            return True
        case "andRules":
            return all(permission(item, asked) for item in value["rules"])
        case "orRules":
            return any(permission(item, asked) for item in value["rules"])
        case "notRule":
            return not permission(value, asked)
        case "header":
            return header(value, asked)
        case "urlPath":
            return head is not None and text(value["path"], head.path)
        case "uriTemplate":
            return head is not None and template(value["typedConfig"]["pathTemplate"], head.path)
        case "destinationPort":
            return bool(peer.destination_port == value)
        case "destinationIp":
            return network(value, peer.destination_ip)
        case "requestedServerName":
            return text(value, peer.server_name)
        case _:
            raise NotImplementedError(kind)


def principal(node: dict[str, Any], asked: Asked) -> bool:
    """One Principal of the filter."""
    ((kind, value),) = node.items()
    match kind:
        case "any":
            return True
        case "andIds":
            return all(principal(item, asked) for item in value["ids"])
        case "orIds":
            return any(principal(item, asked) for item in value["ids"])
        case "notId":
            return not principal(value, asked)
        case "authenticated":
            return bool(asked.peer.identity) and text(value["principalName"], asked.peer.identity)
        case "filterState":
            return bool(asked.peer.identity) and text(value["stringMatch"], asked.peer.identity)
        case "directRemoteIp":
            return network(value, asked.peer.source_ip)
        case "remoteIp":
            return network(value, remote_ip(asked))
        case "header":
            return header(value, asked)
        case "metadata":
            return metadata(value, asked)
        case "sourcedMetadata":
            return metadata(value["metadataMatcher"], asked)
        case _:
            raise NotImplementedError(kind)


def header(value: dict[str, Any], asked: Asked) -> bool:
    """A header matcher; repeated values are joined by commas."""
    if asked.head is None:
        return False
    name = value["name"].lower()
    pseudo = {":authority": asked.head.authority, ":method": asked.head.method, ":path": asked.head.path}
    values = [pseudo[name]] if name in pseudo else [item.decode() for item in asked.head.values(name.encode())]
    if "presentMatch" in value:
        return bool(values)
    return bool(values) and text(
        value.get("stringMatch") or {"safeRegex": value.get("safeRegexMatch")}, ",".join(values)
    )


def metadata(value: dict[str, Any], asked: Asked) -> bool:
    """Dynamic metadata of the JWT filter: the claims, by path; other filters' metadata is never there."""
    if "jwt" not in value["filter"] and value["filter"] != "istio_authn":
        return False
    token = asked.principal.token
    found: Any = {"payload": token.claims} if token else None
    for step in value["path"]:
        found = found.get(step["key"]) if isinstance(found, dict) else None
    return _value(value["value"], found)


def _value(matcher: dict[str, Any], found: Any) -> bool:
    if "orMatch" in matcher:
        return any(_value(item, found) for item in matcher["orMatch"]["valueMatchers"])
    if "listMatch" in matcher:
        return isinstance(found, list) and any(_value(matcher["listMatch"]["oneOf"], item) for item in found)
    return isinstance(found, str) and text(matcher["stringMatch"], found)


def text(matcher: dict[str, Any], value: str) -> bool:
    """A string matcher."""
    fold = bool(matcher.get("ignoreCase"))
    value = value.lower() if fold else value
    for kind, wanted in matcher.items():
        wanted = wanted.lower() if fold and isinstance(wanted, str) else wanted
        match kind:
            case "exact":
                return bool(value == wanted)
            case "prefix":
                return value.startswith(wanted)
            case "suffix":
                return value.endswith(wanted)
            case "contains":
                return wanted in value
            case "safeRegex":
                return re.fullmatch(wanted["regex"], value) is not None
    raise NotImplementedError(str(matcher))


def template(pattern: str, path: str) -> bool:
    """A URI template: ``*`` is one segment, ``**`` any number of characters."""
    expression = "".join(
        ".*" if part == "**" else "[^/]+" if part == "*" else re.escape(part)
        for part in re.split(r"(\*\*|\*)", pattern)
        if part
    )
    return re.fullmatch(expression, path) is not None


def network(value: dict[str, Any], address: str) -> bool:
    """A CIDR range."""
    if not address:
        return False
    block = ipaddress.ip_network(f"{value['addressPrefix']}/{value.get('prefixLen', 0)}", strict=False)
    return ipaddress.ip_address(address) in block
