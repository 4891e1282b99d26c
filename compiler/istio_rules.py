"""What Istio asks of one of its resources across its fields, where its own namespace, or the meaning of host names, decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId
from compiler.formats import is_address, is_host, is_wildcard_host
from compiler.hosts import covers
from compiler.mistakes import Path, where
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find

# What an AUTO_PASSTHROUGH gateway routes by: the name of a cluster, as sidecars put it into SNI.
_CLUSTER_NAME = re.compile(r"outbound_\.[0-9]+_\..*\..+")
_HTTP_OR_TLS = re.compile(r"(?i)^(HTTP|HTTPS|HTTP2|GRPC|GRPC-WEB|TLS|HTTP_PROXY)$")


def check_istio(document: Document) -> Iterator[Diagnostic]:
    """The mistakes of a resource that its schema accepts; its kind is one of ISTIO_RULES."""
    for check in ISTIO_RULES[document.kind]:
        yield from check(document)


def _exported_to(document: Document) -> Iterator[Diagnostic]:
    """``exportTo`` names each namespace once, its own by ``.`` or by name; ``*`` and ``~`` stand alone, and ``~`` is for ServiceEntries."""
    path: Path = ("spec", "exportTo")
    given = _texts(find(document.root, path))
    own = document.namespace
    seen: dict[str, int] = {}
    for index, name in enumerate(given):
        key = own if name == "." else name
        if key in seen:
            yield _wrong(document, f"`{name}` is named a second time", (*path, index), (*path, seen[key]))
        seen.setdefault(key, index)
        if name in ("*", "~") and len(given) > 1:
            yield _wrong(document, f"`{name}` stands alone: with it other namespaces have no meaning", (*path, index))
        if name == "~" and document.kind != "ServiceEntry":
            yield _wrong(
                document, f"`~` (nobody) is for ServiceEntries; a {document.kind} would have no effect", (*path, index)
            )
        if name not in ("", "*", "~", ".") and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            yield _wrong(document, f"`{name}` is no namespace, and not `.`, `*` or `~`", (*path, index))
    if (
        document.kind == "DestinationRule"
        and given
        and seen.keys() != {own}
        and find(document.root, ("spec", "workloadSelector"))
    ):
        yield _wrong(document, "a rule with `workloadSelector` is for its own namespace; export it to `.` alone", path)


def _hosts_of_routes(document: Document) -> Iterator[Diagnostic]:
    """Each host of a VirtualService is a name or an address, and none is another's, or covered by one before it."""
    path: Path = ("spec", "hosts")
    hosts = _texts(find(document.root, path))
    at_gateway = _at_gateways_only(document)
    by_sni = at_gateway and bool(_texts_within(document, "spec", "tls", None, "match", None, "sniHosts"))
    right = True
    for index, host in enumerate(hosts):
        message = ""
        if not host:
            continue
        if not (is_wildcard_host(host) or is_address(host) or (by_sni and _CLUSTER_NAME.fullmatch(host))):
            message = f"`{host}` is not a host name, in which `*` stands only at the start of the first label"
        elif host == "*" and not at_gateway:
            message = (
                "`*` cannot be the host of rules for sidecars (`mesh`); name the hosts, or bind the rules to a gateway"
            )
        if message:
            right = False
            yield _wrong(document, message, (*path, index))
    for index, host in enumerate(hosts if right and all(hosts) else ()):
        first = next(
            (place for place, other in enumerate(hosts[:index]) if covers(other, host) or covers(host, other)), None
        )
        if first is not None:
            message = f"`{host}` overlaps with `{hosts[first]}` of the same VirtualService"
            yield _wrong(document, message, (*path, index), (*path, first))


def _at_gateways_only(document: Document) -> bool:
    gateways = _texts(find(document.root, ("spec", "gateways")))
    return bool(gateways) and "mesh" not in gateways


def _names_for_tls(document: Document) -> Iterator[Diagnostic]:
    """Each ``sniHosts`` is a name, and one of the VirtualService's hosts or covered by one."""
    hosts = _texts(find(document.root, ("spec", "hosts")))
    at_gateway = _at_gateways_only(document)
    for path, name in _texts_within(document, "spec", "tls", None, "match", None, "sniHosts"):
        if not name or is_address(name):
            continue
        if not (is_wildcard_host(name) or (at_gateway and _CLUSTER_NAME.fullmatch(name))):
            yield _wrong(
                document, f"`{name}` is not a host name, in which `*` stands only at the start of the first label", path
            )
        elif not any(covers(host, name) for host in hosts):
            yield _wrong(
                document,
                f"`{name}` is none of the VirtualService's hosts, so no connection gets here",
                path,
                ("spec", "hosts"),
            )


def _claims_at_gateways(document: Document) -> Iterator[Diagnostic]:
    """Matches of JWT claims are for gateways, where a token is read before routing."""
    if _at_gateways_only(document):
        return
    for field in ("headers", "withoutHeaders"):
        for path, headers in _within(document.root, ("spec", "http", None, "match", None, field)):
            for name in headers.entries if isinstance(headers, Mapping) else ():
                if name.startswith("@request.auth.claims"):
                    message = f"`{name}`: routing by claims is for gateways, and these rules are for sidecars"
                    yield _wrong(document, message, (*path, name))


def _one_authority(document: Document) -> Iterator[Diagnostic]:
    """A rule sets the authority once: by ``rewrite``, or by one of the request headers ``:authority`` and ``host``."""
    for path, rule in _within(document.root, ("spec", "http", None)):
        places: list[Path] = [(*path, "rewrite", "authority")] if _text(find(rule, ("rewrite", "authority"))) else []
        for operation in ("set", "add"):
            where_set = ("headers", "request", operation)
            headers = find(rule, where_set)
            for name in headers.entries if isinstance(headers, Mapping) else ():
                if name.lower() in ("host", ":authority"):
                    places.append((*path, *where_set, name))
        if len(places) > 1:
            message = "the authority is set more than once: keep one of `rewrite.authority`, `:authority` and `host`"
            yield _wrong(document, message, places[1], places[0])


def _resolved_hosts(document: Document) -> Iterator[Diagnostic]:
    """What is resolved by name has names: hosts or endpoints of a ServiceEntry with resolution DNS."""
    resolution = _text(find(document.root, ("spec", "resolution"))) or "NONE"
    endpoints = find(document.root, ("spec", "endpoints"))
    count = len(endpoints) if isinstance(endpoints, Sequence) else 0
    if resolution in ("DNS", "DNS_ROUND_ROBIN"):
        for index, host in enumerate(_texts(find(document.root, ("spec", "hosts"))) if not count else ()):
            if not is_host(host):
                message = (
                    f"`{host}` cannot be resolved: resolution {resolution} needs `endpoints`, or hosts without wildcard"
                )
                yield _wrong(document, message, ("spec", "hosts", index))
    ports = {_text(port) for _, port in _within(document.root, ("spec", "ports", None, "name"))}
    for index in range(count):
        path: Path = ("spec", "endpoints", index)
        address = _text(find(document.root, (*path, "address"))) or ""
        if resolution == "STATIC" and address and not (address.startswith("unix://") or is_address(address)):
            yield _wrong(
                document, f"`{address}` is no IP address; resolution STATIC resolves nothing", (*path, "address")
            )
        named = find(document.root, (*path, "ports"))
        for name in named.entries if isinstance(named, Mapping) else ():
            if name not in ports:
                yield _wrong(
                    document, f"`{name}` is no port of the ServiceEntry", (*path, "ports", name), ("spec", "ports")
                )


def _told_apart(document: Document) -> Iterator[Diagnostic]:
    """Several hosts share a port only where the protocol says which one is meant."""
    hosts = _texts(find(document.root, ("spec", "hosts")))
    if len(hosts) <= 1 or (_text(find(document.root, ("spec", "resolution"))) or "NONE") == "NONE":
        return
    ports = find(document.root, ("spec", "ports"))
    for index, port in enumerate(ports if isinstance(ports, Sequence) else ()):
        if not _HTTP_OR_TLS.match(_text(find(port, ("protocol",))) or ""):
            message = (
                "connections of this protocol do not say which of the hosts they are for; use HTTP, TLS or one host"
            )
            yield _wrong(document, message, ("spec", "ports", index))
            return


def _texts(node: Node | None) -> list[str]:
    """The texts of a list; "" for what is none, which is the shape's mistake."""
    return [_text(item) or "" for item in node] if isinstance(node, Sequence) else []


def _text(node: Node | None) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def _within(node: Node | None, steps: tuple[str | None, ...], path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """What is at a path in which None stands for every item of a list."""
    if node is None:
        return
    if not steps:
        yield path, node
    elif steps[0] is None:
        for index, item in enumerate(node if isinstance(node, Sequence) else ()):
            yield from _within(item, steps[1:], (*path, index))
    else:
        yield from _within(find(node, (steps[0],)), steps[1:], (*path, steps[0]))


def _texts_within(document: Document, *steps: str | None) -> list[tuple[Path, str]]:
    """The texts of all lists at a path."""
    return [(path, _text(node) or "") for path, node in _within(document.root, (*steps, None))]


def _wrong(document: Document, message: str, path: Path, other: Path | None = None) -> Diagnostic:
    related = () if other is None else (Related(span=where(document, other), message="the other one"),)
    about = ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)
    return diagnostic("IST0106", message, where(document, path), resource=about, related=related)


ISTIO_RULES: dict[str, tuple[Callable[[Document], Iterator[Diagnostic]], ...]] = {
    "VirtualService": (_exported_to, _hosts_of_routes, _names_for_tls, _claims_at_gateways, _one_authority),
    "DestinationRule": (_exported_to,),
    "ServiceEntry": (_exported_to, _resolved_hosts, _told_apart),
}
"""The checks of each kind."""
