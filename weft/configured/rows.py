"""From Envoy's resources to rows: one function per kind, and what the user's filters leave of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

Plain = dict[str, Any]
MOST_DOMAINS = 3


class Wanted(msgspec.Struct, frozen=True):
    """The filters; "" and 0 ask for nothing. ``fqdn`` and ``name`` hold where the value contains them."""

    fqdn: str = ""
    name: str = ""
    subset: str = ""
    direction: str = ""
    address: str = ""
    cluster: str = ""
    status: str = ""
    type: str = ""
    port: int = 0


class Row(msgspec.Struct, frozen=True):
    """One line's cells, and the resource that ``-o json`` and ``-o yaml`` print."""

    cells: tuple[str, ...]
    resource: Plain


class ClusterName(msgspec.Struct, frozen=True):
    """What a cluster's name says: ``outbound|9080|v1|reviews.shop.svc.cluster.local``, or a name of another kind as ``fqdn``."""

    direction: str
    port: str
    subset: str
    fqdn: str


def parse_cluster(name: str) -> ClusterName:
    """The parts of a cluster's name; "-" where it has none."""
    parts = name.split("|")
    if len(parts) != 4:
        return ClusterName("-", "-", "-", name)
    return ClusterName(parts[0], parts[1] or "-", parts[2] or "-", parts[3] or "-")


CLUSTER_TITLES = ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE")


def clusters(resources: Sequence[Plain], wanted: Wanted) -> Iterator[Row]:
    """Clusters by name."""
    for one in resources:
        name = parse_cluster(one.get("name", ""))
        if (
            wanted.fqdn in name.fqdn
            and wanted.name in one.get("name", "")
            and wanted.subset in ("", name.subset)
            and wanted.direction in ("", name.direction)
            and (not wanted.port or str(wanted.port) == name.port)
        ):
            rule = _source(one, "DestinationRule")
            yield Row((name.fqdn, name.port, name.subset, name.direction, one.get("type", "STATIC"), rule), one)


LISTENER_TITLES = ("ADDRESS", "PORT", "NAME", "MATCH", "DESTINATION")


def listeners(resources: Sequence[Plain], wanted: Wanted) -> Iterator[Row]:
    """A row per filter chain."""
    for one in resources:
        where = one.get("address", {}).get("socket_address", {})
        address, port = where.get("address", "-"), where.get("port_value", 0)
        name = one.get("name", "")
        if (
            wanted.address not in ("", address)
            or (wanted.port and wanted.port != port)
            or wanted.name not in name
            or wanted.direction.upper() not in ("", one.get("traffic_direction", ""))
        ):
            continue
        for chain in one.get("filter_chains", ()):
            if wanted.type.upper() not in ("", _chain_type(chain)):
                continue
            yield Row((address, str(port), name, _chain_match(chain), _chain_goal(chain)), one)


def _chain_match(chain: Plain) -> str:
    match = chain.get("filter_chain_match", {})
    shown = []
    blocks = [f"{one.get('address_prefix')}/{one.get('prefix_len')}" for one in match.get("prefix_ranges", ())]
    if blocks or match.get("destination_port"):
        shown.append(f"Addr: {','.join(blocks) or '*'}:{match.get('destination_port', '*')}")
    if match.get("server_names"):
        shown.append(f"SNI: {','.join(match['server_names'])}")
    if match.get("transport_protocol") == "tls":
        shown.append("TLS")
    if match.get("application_protocols"):
        shown.append(f"ALPN: {','.join(match['application_protocols'])}")
    return "; ".join(shown) or "ALL"


def _chain_type(chain: Plain) -> str:
    """HTTP where the chain's last filter speaks it, else TCP."""
    kinds = (one.get("typed_config", {}).get("@type", "") for one in chain.get("filters", ()))
    return "HTTP" if any(kind.endswith("HttpConnectionManager") for kind in kinds) else "TCP"


def _chain_goal(chain: Plain) -> str:
    for one in chain.get("filters", ()):
        config = one.get("typed_config", {})
        kind = config.get("@type", "")
        if kind.endswith("HttpConnectionManager"):
            inline = config.get("route_config", {}).get("name", "")
            return f"Route: {config.get('rds', {}).get('route_config_name', '') or inline or '-'}"
        if kind.endswith("TcpProxy"):
            return f"Cluster: {', '.join(_goals(config)) or 'closes'}"
    return "-"


ROUTE_TITLES = ("NAME", "VHOST NAME", "DOMAINS", "MATCH", "DESTINATION", "SOURCE")


def routes(resources: Sequence[Plain], wanted: Wanted) -> Iterator[Row]:
    """A row per route."""
    for table in resources:
        if wanted.name and wanted.name != table.get("name", ""):
            continue
        for host in table.get("virtual_hosts", ()):
            domains = host.get("domains", [])
            if wanted.fqdn and not any(wanted.fqdn in domain for domain in domains):
                continue
            more = f" + {len(domains) - MOST_DOMAINS} more" if len(domains) > MOST_DOMAINS else ""
            shown = ", ".join(domains[:MOST_DOMAINS]) + more
            for route in host.get("routes", ()):
                cells = (table.get("name", ""), host.get("name", ""), shown, _route_match(route), _route_goal(route))
                yield Row((*cells, _source(route)), table)


def _route_match(route: Plain) -> str:
    match = route.get("match", {})
    for field, form in (("path", "{}"), ("prefix", "{}*"), ("path_separated_prefix", "{}/*")):
        if field in match:
            path = form.format(match[field].rstrip("/") if field == "path_separated_prefix" else match[field])
            break
    else:
        path = f"regex {match.get('safe_regex', {}).get('regex', '?')}"
    more = len(match.get("headers", ())) + len(match.get("query_parameters", ()))
    return f"{path} + {more} conditions" if more else path


def _route_goal(route: Plain) -> str:
    if "route" in route:
        return ", ".join(_goals(route["route"])) or "-"
    if "direct_response" in route:
        return f"status {route['direct_response'].get('status')}"
    return "redirect" if "redirect" in route else "-"


def _goals(config: Plain) -> list[str]:
    if config.get("cluster"):
        return [config["cluster"]]
    return [
        f"{one.get('name')} ({one.get('weight', 0)})" for one in config.get("weighted_clusters", {}).get("clusters", ())
    ]


ENDPOINT_TITLES = ("ENDPOINT", "STATUS", "OUTLIER CHECK", "ACTIVE", "CLUSTER")


def endpoints(statuses: Sequence[Plain], wanted: Wanted) -> Iterator[Row]:
    """A row per endpoint of ``/clusters``."""
    for one in statuses:
        cluster = one.get("name", "")
        if wanted.cluster not in ("", cluster) or wanted.fqdn not in parse_cluster(cluster).fqdn:
            continue
        for host in one.get("host_statuses", ()):
            at = host.get("address", {})
            where = at.get("socket_address") or {"address": at.get("pipe", {}).get("path", "-")}
            address, port = where["address"], where.get("port_value", 0)
            health = host.get("health_status", {})
            status = health.get("eds_health_status", "HEALTHY")
            if (
                wanted.address not in ("", address)
                or (wanted.port and wanted.port != port)
                or wanted.status.upper() not in ("", status)
            ):
                continue
            outlier = "FAILED" if health.get("failed_outlier_check") else "OK"
            active = next(
                (stat.get("value", "0") for stat in host.get("stats", ()) if stat["name"] == "rq_active"), "0"
            )
            yield Row(
                (f"{address}:{port}" if port else address, status, outlier, str(active), cluster),
                {"cluster": cluster, **host},
            )


SECRET_TITLES = ("RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE")


def secrets(resources: Sequence[Plain], wanted: Wanted, now: float) -> Iterator[Row]:
    """A row per certificate chain or trust bundle; the first certificate of each is shown."""
    for one in resources:
        name = one.get("name", "")
        if wanted.name not in name:
            continue
        is_chain = "tls_certificate" in one
        part = one.get("tls_certificate", {}).get("certificate_chain") if is_chain else None
        part = part or one.get("validation_context", {}).get("trusted_ca", {})
        pem = base64.b64decode(part.get("inline_bytes", "")) if part else b""
        yield Row((name, "Cert Chain" if is_chain else "CA", *_certificate(pem, now)), one)


def _certificate(pem: bytes, now: float) -> tuple[str, str, str, str, str]:
    from runtime.identity.certificate import read_certificates

    if not pem:
        return "WARMING", "false", "-", "-", "-"
    first = read_certificates(pem)[0]
    valid = first.not_valid_before_utc.timestamp() <= now < first.not_valid_after_utc.timestamp()
    form = "%Y-%m-%dT%H:%M:%SZ"
    after, before = first.not_valid_after_utc.strftime(form), first.not_valid_before_utc.strftime(form)
    return "ACTIVE", str(valid).lower(), f"{first.serial_number:x}", after, before


def _source(resource: Plain, kind: str = "") -> str:
    """The resource in Git that made this, where the proxy says it."""
    told = resource.get("metadata", {}).get("filter_metadata", {}).get("weft", {}).get("sources", ())
    return next((source for source in told if source.startswith(kind)), "-")


NAME_TITLES = ("NAME", "ADDRESSES", "ALSO CALLED", "SOURCE")


def names(entries: Sequence[Plain], wanted: Wanted) -> Iterator[Row]:
    """What the DNS server knows, by host."""
    for one in entries:
        host, *others = one["names"]
        found = one["addresses"] or ([one["alias"]] if one["alias"] else [])
        named = wanted.fqdn in host and any(wanted.name in name for name in one["names"])
        if named and wanted.address in ("", *found):
            yield Row((host, ", ".join(found) or "-", ", ".join(others) or "-", one["source"]), one)


ANSWER_TITLES = ("NAME", "ANSWER")


def answer(page: Plain) -> Iterator[Row]:
    """What one name is answered: aliases one after the other, then addresses, or who else is asked."""
    name = page["name"]
    for alias in page["aliases"]:
        yield Row((name, f"CNAME {alias}"), page)
        name = alias
    for address in page["addresses"]:
        yield Row((name, f"{'AAAA' if ':' in address else 'A'} {address}"), page)
    if page["asked_on"]:
        yield Row((name, "asks the machine's resolvers"), page)
    elif not page["addresses"]:
        yield Row((name, "fails: aliases that lead nowhere" if page["fails"] else f"no {page['type']}"), page)
