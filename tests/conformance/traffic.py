"""Istio's own traffic cases, for real: each case's documents compiled, a data plane per sidecar and gateway, calls by real clients.

A case that holds several calls is right where all are. What the data lack of a case, because it is code there, is in ``traffic_lost``.
"""

from __future__ import annotations

import re
import ssl
from typing import Any

import trio

from tests.conformance import traffic_dns, traffic_redirected, traffic_sni, traffic_xff
from tests.conformance.corpus import Tally, read
from tests.conformance.go_template import evaluate
from tests.conformance.traffic_calls import Call, send
from tests.conformance.traffic_checks import check
from tests.conformance.traffic_lost import FQDN, LOST, SHOULD_SUCCEED, Lost, gateway, headless_hosts, shares, whichever
from tests.conformance.traffic_mesh import BY_NAME, EXTERNAL, NAMESPACE, Town, World
from tests.conformance.traffic_tokens import CASES as TOKEN_CASES

LEFT_OUT = {
    "envoyFilterCases": "EnvoyFilter cannot be carried by an engine that is not Envoy: this one brings programs in Lua; the compiler says what "
    "to use instead",
}
"""Groups of which no case can run, and why."""
SKIPPED_LINES: dict[int, str] = {}
_EXPRESSION = re.compile(r"\$\{([^}]*)\}")
_OK = {"$check": "OK"}


def run() -> Tally:
    """Every case."""
    tally = Tally()
    trio.run(_run, tally)
    return tally


async def _run(tally: Tally) -> None:
    town = Town()
    cases = read("routing/traffic_cases.json")["cases"]
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.load_verify_locations(cadata=town.authority.bundle.decode())
    async with town.open():
        with traffic_dns.namespaces() as pods, traffic_redirected.pods() as redirected:
            await _each(tally, cases, town, trusted, pods, redirected)


async def _each(
    tally: Tally,
    cases: list[dict[str, Any]],
    town: Town,
    trusted: ssl.SSLContext,
    pods: traffic_dns.Pods,
    redirected: traffic_redirected.Pods,
) -> None:
    turns: dict[int, int] = {}
    for case in cases:
        turn = turns[case["line"]] = turns.get(case["line"], -1) + 1
        label = f"{case['group']} {case['line']}/{turn} {case['name'] if isinstance(case.get('name'), str) else ''}"
        why = LEFT_OUT.get(case["group"]) or SKIPPED_LINES.get(case["line"])
        apart = {**dict.fromkeys(traffic_dns.GROUPS, pods), **dict.fromkeys(traffic_redirected.GROUPS, redirected)}
        if case["group"] in apart:
            why = apart[case["group"]].missing
        if why:
            tally.leave(label, why)
        elif case["group"] in apart:
            tally.count(label, await trio.to_thread.run_sync(apart[case["group"]].judge, case))
        elif case["group"] in traffic_sni.GROUPS:
            tally.count(label, await traffic_sni.judge(case, config_of(case, Lost(), cases), town))
        else:
            tally.count(label, await _case(case, turn, town, trusted, cases))


async def _case(
    case: dict[str, Any], turn: int, town: Town, trusted: ssl.SSLContext, cases: list[dict[str, Any]]
) -> str | None:
    for child in case.get("children") or [case]:
        name = child["name"] if child is not case else ""
        lost = lost_of(case, name)
        try:
            snapshot = town.compile(config_of(case, lost, cases))
        except ValueError as error:
            return f"{name}: does not compile: {error}"
        async with town.world(snapshot) as world:
            for host in _hosts(case, turn, lost):
                call = _call(case, child, lost, host, world)
                if isinstance(call, str):
                    return f"{name}: {call}"
                replies = await send(call, trusted)
                asked = child["opts"].get("Check") or (case.get("check") or {}).get("$check") or _OK
                asked = _resolved(asked, call)
                if "TCP" in child["opts"]:
                    asked = {"$check": "Each"}
                problem = check(asked, replies, lost.closure)
                if problem:
                    return f"{name} {call.host}: {problem}"
    return None


def lost_of(case: dict[str, Any], name: str) -> Lost:
    """What the data lack of a case, or of its child of this name."""
    line = case["line"]
    if line in TOKEN_CASES:
        return TOKEN_CASES[line]
    if line == traffic_xff.LINE:
        return traffic_xff.XFF
    found = LOST.get((line, name)) or LOST.get((line, "")) or Lost()
    if line == 2291:
        port = case["name"]
        number = next(number for known, number in BY_NAME.items() if f"'Name': '{known}'" in port)
        return Lost(values=gateway("HTTP", number))
    if line == 2348:
        return Lost(values=gateway(case["name"], 80))
    if line == 2366:
        return Lost(values=gateway("HTTPS", 80, MatchScheme="https"))
    if line == 1040:
        first = int(case["name"].rpartition("-")[2])
        split = [first, 100 - first]
        return Lost(values={"split": split, "dstSvcs": ["b", "c"]}, closure=shares(b=split[0], c=split[1]))
    if case.get("name") in SHOULD_SUCCEED:
        return Lost(closure=whichever)
    return found


def config_of(case: dict[str, Any], lost: Lost, cases: list[dict[str, Any]]) -> str:
    """A case's own documents, with what was lost filled in."""
    config = lost.config or case.get("config") or ""
    if isinstance(config, dict):
        # Istio joins its two templates and a Secret; another case has the two as text.
        config = next(one for one in cases if one["line"] == 3007)["config"].partition("---")[2]
    values = {"dstSvc": "b", "dst": [{"Config": {"Service": "b"}}], "SystemNamespace": "istio-system", **lost.values}
    text = evaluate(config, values) + lost.more
    names = {
        "t.Apps.Namespace.Name()": NAMESPACE,
        "t.Apps.EchoNamespace.Namespace.Name()": NAMESPACE,
        "to.Config().Service": "c",
    }
    return _EXPRESSION.sub(lambda found: names[found[1]], text)


def _hosts(case: dict[str, Any], turn: int, lost: Lost) -> list[str]:
    if case["group"] == "hostCases":
        # Which name a case tries is lost, so the cases share all names.
        return headless_hosts(case["line"])[turn::11]
    return [lost.host]


def _call(case: dict[str, Any], child: dict[str, Any], lost: Lost, host: str, world: World) -> Call | str:
    options = child["opts"]
    http = options.get("HTTP") or {}
    asked = options.get("Port") or {}
    more = dict(lost.calls)
    scheme = options.get("Scheme") or {"TCP": "tcp", "HTTPS": "https", "GRPC": "grpc"}.get(
        asked.get("Protocol"), "http"
    )
    target = more.pop("target", None) or _target(options, case, child)
    if more.pop("http", False):
        asked, scheme = {"ServicePort": 80}, "http"
    number = asked.get("ServicePort") or BY_NAME.get(asked.get("Name") or "http", 80)
    if case.get("viaIngress") or case["line"] in (3007, traffic_xff.LINE):
        number = 443 if scheme == "https" else 80
        place, port = world.proxies["ingress"], str(number)
        full = f"b-ext-se.{FQDN}" if case["line"] == 3007 else f"b.{FQDN}"
    else:
        source = _source(case, child)
        place = world.proxies[source]
        full = target if "." in target else f"{target}.{FQDN}"
        port = f"{full}:{number}"
    if port not in place.ports:
        return f"no listener {port}"
    return Call(
        port=place.ports[port],
        host=host or full,
        scheme=scheme,
        path=http.get("Path") or "/",
        method=http.get("Method") or "GET",
        headers=lost.headers,
        http2=bool(http.get("HTTP2")),
        count=options.get("Count") or 1,
        message=options.get("Message") or "hello\n",
        follow=bool(http.get("FollowRedirects")),
        wait_s=1.0 if case["group"] == "serverFirstTestCases" else 5.0,
        **more,
    )


def _target(options: dict[str, Any], case: dict[str, Any], child: dict[str, Any]) -> str:
    to = (options.get("To") or {}).get("$expr", "")
    address = options.get("Address")
    if case["group"] == "TestExternalService" or isinstance(address, dict):
        return EXTERNAL
    if isinstance(address, str):
        return address.partition(".")[0]
    return {"t.Apps.C": "c", "t.Apps.Headless": "headless", "t.Apps.A": "a"}.get(to, "b")


def _source(case: dict[str, Any], child: dict[str, Any]) -> str:
    caller = ((child.get("call") or case.get("call") or {}).get("$expr")) or ""
    if case["group"] == "TestExternalService":
        return "a"
    return "b" if "t.Apps.B" in caller else "a"


def _resolved(tree: Any, call: Call) -> Any:
    """A check with what Istio works out when it runs."""
    if isinstance(tree, dict):
        if tree.get("$expr") == "opts.GetHost()":
            return call.host
        return {key: _resolved(value, call) for key, value in tree.items()}
    return [_resolved(item, call) for item in tree] if isinstance(tree, list) else tree
