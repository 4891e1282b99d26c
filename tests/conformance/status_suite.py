"""The suite's steps about statuses, in their order: each is one case. Steps that change the cluster change the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from compiler.pipeline import understand
from compiler.status import shape, statuses
from compiler.tree import MemoryTree
from tests.conformance.corpus import DATA, Tally, read
from tests.conformance.status_changes import CHANGES

ROOT = DATA / "gateway-conformance" / "manifests"
# What the suite makes by code before its tests run, beside what has ``-checks-`` in its name; their contents are fine.
HELD = frozenset({"certificate", "mismatch-ca-certificate"})
PATCHED = "what an earlier step changes is Go code, not data"
NOT_STATUS = frozenset(
    {
        "kubernetes.NamespacesMustBeReady",
        "kubernetes.WaitForGatewayAddress",
        "kubernetes.DumpEchoLogs",
        "kubernetes.GetTLSSecret",
        "kubernetes.GetConfigMapData",
    }
)
Found = dict[tuple[str, str, str], dict[str, Any]]
"""Statuses by kind, namespace and name."""
Args = dict[str, Any]


def run_suite(tally: Tally) -> None:
    """All tests that have a step about a status."""
    for test in read("gateway-conformance/tests.json")["tests"]:
        steps = [
            step
            for step in test["steps"]
            if _about_status(step["call"]) or step["call"].startswith(("Client.", "Applier."))
        ]
        if any(_about_status(step["call"]) for step in steps):
            _test(tally, test, steps)


def _about_status(call: str) -> bool:
    return call.startswith("kubernetes.") and call not in NOT_STATUS


def _test(tally: Tally, test: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    documents = _documents(test)
    found: Found | None = None
    patched = False
    for step in steps:
        call, args = step["call"].partition(".")[2], step["args"]
        label = f"{test['name']} {step['id']} {call}"
        change = CHANGES.get((test["name"], step["id"]))
        if change is not None:
            change(documents)
            found = None
        if step["call"] in ("Client.Patch", "Applier.MustApplyObjectsWithCleanup"):
            patched = patched or change is None
        elif step["call"] == "Client.Delete":
            documents, found = _without(documents, args), None
        elif step["call"].startswith("kubernetes."):
            if patched:
                tally.leave(label, PATCHED)
                continue
            found = found if found is not None else _statuses(documents)
            tally.count(label, _problem(call, args, found))


def _documents(test: dict[str, Any]) -> list[dict[str, Any]]:
    base = "mesh/manifests.yaml" if test["suite"] == "mesh" else "base/manifests.yaml"
    found = []
    for path in (base, *test["manifests"]):
        text = (ROOT / path).read_text().replace("{GATEWAY_CLASS_NAME}", "istio")
        # The suite fills in EndpointSlices once its pods run; no status depends on them.
        found += [item for item in yaml.load_all(text, yaml.CSafeLoader) if item and item["kind"] != "EndpointSlice"]
    return [*found, *_held(found)]


def _held(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Secrets and ConfigMaps that the suite makes, of those that documents refer to."""
    made = {}
    for document in documents:
        for ref in _references(document.get("spec") or {}):
            if ref["name"] in HELD or "-checks-" in ref["name"]:
                place = (
                    ref.get("kind", "Secret"),
                    ref.get("namespace", document["metadata"].get("namespace")),
                    ref["name"],
                )
                made[place] = {
                    "apiVersion": "v1",
                    "kind": place[0],
                    "metadata": {"namespace": place[1], "name": place[2]},
                }
    return list(made.values())


def _references(node: Any) -> Iterator[dict[str, Any]]:
    """What is listed under a key that ends in ``ertificateRefs``."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key.endswith("ertificateRefs"):
            yield from (ref for ref in value if ref.get("kind", "Secret") in ("Secret", "ConfigMap"))
        else:
            yield from _references(value)
    for item in node if isinstance(node, list) else ():
        yield from _references(item)


def _without(documents: list[dict[str, Any]], args: list[dict[str, Any]]) -> list[dict[str, Any]]:
    meta = args[0]["ObjectMeta"]
    return [
        item
        for item in documents
        if item["kind"] != "ReferenceGrant"
        or (item["metadata"]["namespace"], item["metadata"]["name"]) != (meta["Namespace"], meta["Name"])
    ]


def _statuses(documents: list[dict[str, Any]]) -> Found:
    mesh, diagnostics = understand(
        MemoryTree({"mesh.yaml": yaml.dump_all(documents, Dumper=yaml.CSafeDumper).encode()})
    )
    assert mesh is not None, [f"{item.span.line} {item.message}" for item in diagnostics if item.severity == 3]
    found = [shape(status) for status in statuses(mesh, complete=True)]
    return {
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]): item["status"]
        for item in found
    }


def _problem(call: str, args: Args, found: Found) -> str | None:
    kind, ending = next((kind, call.removeprefix(kind)) for kind in KINDS if call.startswith(kind))
    return CHECKS[ending](kind, args, found)


def _status(found: Found, kind: str, named: dict[str, Any]) -> dict[str, Any]:
    return found.get((kind, named["Namespace"], named["Name"]), {})


def _differs(conditions: list[dict[str, Any]], wanted: dict[str, Any]) -> str | None:
    """Why no condition is the one wanted; an empty reason is any."""
    got = next((item for item in conditions if item["type"] == wanted["Type"]), None)
    if got is None:
        return f"no condition {wanted['Type']}"
    # Where the data lack quotes around a status, a condition has only what Go's composite literal named.
    status, reason = wanted.get("Status", ""), wanted.get("Reason", "")
    if (status and got["status"] != status) or (reason and got["reason"] != reason):
        return f"{wanted['Type']} is {got['status']} {got['reason']}, wanted {status} {reason}"
    return None


def _first(problems: Iterator[str | None]) -> str | None:
    return next((problem for problem in problems if problem), None)


def _parents(kind: str, status: dict[str, Any], named: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a route's or policy's status for one Gateway or ListenerSet."""
    key = "ancestorRef" if kind == "BackendTLSPolicy" else "parentRef"
    entries = status.get("ancestors" if kind == "BackendTLSPolicy" else "parents", [])
    return [item for item in entries if item[key]["name"] == named["Name"]]


def _has_condition(kind: str, args: Args, found: Found) -> str | None:
    if kind in ("Gateway", "ListenerSet"):
        named = args.get("gwNN") or args.get("lsNN")
        assert named
        return _differs(_status(found, kind, named).get("conditions", []), args["expectedCondition"])
    named = args.get("routeNN") or args.get("policyNN")
    assert named
    entries = _parents(kind, _status(found, kind, named), args["gwNN"])
    if not entries:
        return f"{named['Name']} has no entry for {args['gwNN']['Name']}"
    problems = [_differs(item["conditions"], args["condition"]) for item in entries]
    return None if None in problems else problems[0]


def _resolved(kind: str, args: Args, found: Found) -> str | None:
    wanted = {"Type": "ResolvedRefs", "Status": "True", "Reason": "ResolvedRefs"}
    return _has_condition(kind, {**args, "condition": wanted}, found)


def _accepted(kind: str, args: Args, found: Found) -> str | None:
    asked = args.get("gw") or args["resource"]
    named = asked.get("gateway") or asked["resource"]
    parent_kind = asked.get("kind", {}).get("Kind", "Gateway")
    yes = {"Type": "Accepted", "Status": "True"}
    problem = _differs(_status(found, parent_kind, named).get("conditions", []), yes)
    if problem:
        return f"{named['Name']}: {problem}"
    return _first(_accepted_route(kind, route, named, asked["listeners"], found) for route in args.get("routeNNs", []))


def _accepted_route(kind: str, route: Args, named: Args, listeners: list[str], found: Found) -> str | None:
    kinds = [kind] if kind.endswith("Route") else ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"]
    entries = [item for each in kinds for item in _parents(each, _status(found, each, route), named)]
    # A test names the listeners whether its route asks for them by name or by port.
    if listeners and len(entries) != len(listeners):
        return f"{route['Name']} has {len(entries)} entries, wanted {listeners}"
    if not entries:
        return f"{route['Name']} has no entry for {named['Name']}"
    return _first(_differs(item["conditions"], {"Type": "Accepted", "Status": "True"}) for item in entries)


def _has_parents(kind: str, args: Args, found: Found) -> str | None:
    entries = _status(found, kind, args["routeName"]).get("parents", [])
    if len(entries) != len(args["parents"]):
        return f"{len(entries)} entries, wanted {len(args['parents'])}"
    for wanted in args["parents"]:
        of_parent = [item for item in entries if item["parentRef"]["name"] == wanted["ParentRef"]["Name"]]
        if not of_parent:
            return f"no entry for {wanted['ParentRef']['Name']}"
        problem = _first(_differs(of_parent[0]["conditions"], condition) for condition in wanted["Conditions"])
        if problem:
            return problem
    return None


def _none_accepted(kind: str, args: Args, found: Found) -> str | None:
    entries = _status(found, kind, args["routeName"]).get("parents", [])
    refused = {"Type": "Accepted", "Status": "False"}
    return _first(_differs(item["conditions"], refused) for item in entries)


def _no_routes(kind: str, args: Args, found: Found) -> str | None:
    attached = [item["attachedRoutes"] for item in _status(found, kind, args["gwName"])["listeners"]]
    return f"{attached} routes" if any(attached) else None


def _listeners(kind: str, args: Args, found: Found) -> str | None:
    named = args.get("gwNN") or args["lsNN"]
    got = {item["name"]: item for item in _status(found, kind, named).get("listeners", [])}
    if sorted(got) != sorted(item["Name"] for item in args["listeners"]):
        return f"listeners {sorted(got)}"
    for wanted in args["listeners"]:
        listener = got[wanted["Name"]]
        kinds, asked = (
            [item["kind"] for item in listener["supportedKinds"]],
            [item["Kind"] for item in wanted["SupportedKinds"]],
        )
        if (kinds and not asked) or not set(asked) <= set(kinds):
            return f"{wanted['Name']} takes {kinds}, wanted {asked}"
        if listener["attachedRoutes"] != wanted["AttachedRoutes"]:
            return f"{wanted['Name']} has {listener['attachedRoutes']} routes, wanted {wanted['AttachedRoutes']}"
        problem = _first(_differs(listener["conditions"], condition) for condition in wanted["Conditions"])
        if problem:
            return f"{wanted['Name']}: {problem}"
    return None


def _listener_conditions(kind: str, args: Args, found: Found) -> str | None:
    named = args.get("gwName") or args["lsName"]
    names = args.get("listenerNames") or [args["lName"]]
    got = {item["name"]: item["conditions"] for item in _status(found, kind, named).get("listeners", [])}
    return _first(_differs(got.get(name, []), condition) for name in names for condition in args["conditions"])


def _attached_sets(kind: str, args: Args, found: Found) -> str | None:
    count = _status(found, kind, args["gwName"]).get("attachedListenerSets", 0)
    return None if count == args["expectedCount"] else f"{count} ListenerSets, wanted {args['expectedCount']}"


def _latest(kind: str, args: Args, found: Found) -> str | None:
    """There are conditions; that they are of the newest generation holds of all that is worked out from one tree."""
    if "gwNN" not in args:
        entries = [item["ancestors"] for (each, _, _), item in found.items() if each == kind]
        return None if entries and all(entries) else "a policy has no conditions"
    return None if _status(found, kind, args["gwNN"]).get("conditions") else "no conditions"


KINDS = (
    "GatewayAndHTTPRoutes",
    "GatewayAndTLSRoutes",
    "GatewayAndTCPRoutes",
    "GatewayAndUDPRoutes",
    "GatewayAndRoutes",
    "RoutesAndParent",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "ListenerSet",
    "Gateway",
    "BackendTLSPolicy",
)
CHECKS: dict[str, Callable[[str, Args, Found], str | None]] = {
    "MustHaveCondition": _has_condition,
    "MustHaveResolvedRefsConditionsTrue": _resolved,
    "MustBeAccepted": _accepted,
    "MustHaveParents": _has_parents,
    "MustHaveNoAcceptedParents": _none_accepted,
    "MustHaveZeroRoutes": _no_routes,
    "StatusMustHaveListeners": _listeners,
    "ListenersMustHaveConditions": _listener_conditions,
    "ListenerMustHaveConditions": _listener_conditions,
    "MustHaveAttachedListeners": _attached_sets,
    "MustHaveLatestConditions": _latest,
}
