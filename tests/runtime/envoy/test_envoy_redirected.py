"""What Envoy is told of redirected connections: which listeners, at which addresses, with which chains."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from runtime.bootstrap import Bootstrap
from runtime.endpoints import LiveData
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.translate import translate
from snapshot.index import Selector
from tests.compiler.compiled import compiled

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec:
  selector: {app: app}
  clusterIP: 10.96.0.9
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 90, targetPort: 9000}]
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: block, namespace: shop}
spec:
  hosts: [block.test]
  addresses: [10.98.0.0/16, 10.96.0.9]
  ports: [{number: 90, name: tcp, protocol: TCP}]
  resolution: NONE
"""


def translated(interception: str = "redirect", delivery: Delivery = Delivery.STATIC) -> dict[str, dict[str, Any]]:
    """Listeners and clusters, as plain data by name."""
    bootstrap = Bootstrap(Selector(), "", "", "", interception=interception)  # type: ignore[arg-type]
    prepared = compiled(SHOP).slice("sidecar/shop/app")
    made = translate(prepared, Placement(bootstrap, LiveData(bootstrap), delivery))
    plain = [
        json_format.MessageToDict(one, preserving_proto_field_name=True) for one in (*made.listeners, *made.clusters)
    ]
    return {one["name"]: one for one in plain}


def places(listener: dict[str, Any]) -> list[tuple[str, int]]:
    every = [listener["address"], *(one["address"] for one in listener.get("additional_addresses", ()))]
    return [(one["socket_address"]["address"], one["socket_address"]["port_value"]) for one in every]


def ports(listener: dict[str, Any]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for chain in listener["filter_chains"]:
        found.setdefault(chain.get("filter_chain_match", {}).get("destination_port", 0), set()).add(chain["name"])
    return found


def test_all_that_comes_in_has_one_listener_with_chains_by_port_and_its_own_ports_refused() -> None:
    inbound = translated()["virtualInbound"]
    assert ("0.0.0.0", 15006) in places(inbound)
    found = ports(inbound)
    assert found.keys() == {0, 8080, 9000, 15001, 15006}
    assert found[15006] == {"refused|15006"}
    assert "undeclared|0|mtls-http" in found[0]


def test_what_goes_out_is_handed_to_listeners_that_are_never_bound() -> None:
    made = translated()
    outbound = made["virtualOutbound"]
    assert ("127.0.0.1", 15001) in places(outbound)
    assert outbound["use_original_dst"] is True
    service = made["app.shop.svc.cluster.local:80"]
    assert (places(service), service["bind_to_port"]) == ([("10.96.0.9", 80)], False)
    assert places(made["intercepted|80"]) == [("0.0.0.0", 80), ("::", 80)]


def test_of_two_services_at_one_address_and_port_the_first_has_it_and_blocks_are_chains_of_the_port() -> None:
    made = translated()
    assert places(made["app.shop.svc.cluster.local:90"]) == [("10.96.0.9", 90)]
    assert "block.test:90" not in made
    by_port = made["intercepted|90"]["filter_chains"]
    (block,) = [one for one in by_port if one["name"].startswith("block.test")]
    assert block["filter_chain_match"]["prefix_ranges"] == [{"address_prefix": "10.98.0.0", "prefix_len": 16}]


def test_who_asks_the_outbound_port_itself_finds_the_explicit_proxy_and_other_addresses_of_that_port_nothing() -> None:
    chains = [
        one["filter_chain_match"]
        for one in translated()["virtualOutbound"]["filter_chains"]
        if one.get("filter_chain_match", {}).get("destination_port") == 15001
    ]
    assert [[one["address_prefix"] for one in match["prefix_ranges"]] for match in chains] == [["127.0.0.1", "::1"]]


def test_where_a_connection_was_going_and_what_a_request_names_are_clusters_of_their_own() -> None:
    made = translated()
    assert made["inbound|8080||"]["type"] == made["PassthroughCluster"]["type"] == "ORIGINAL_DST"
    assert made["inbound|8080||"]["upstream_bind_config"]["source_address"]["address"] == "127.0.0.6"
    named = made["PassthroughCluster|named"]
    assert named["cluster_type"]["name"] == "envoy.clusters.dynamic_forward_proxy"


@pytest.mark.parametrize("delivery", list(Delivery))
def test_a_proxy_that_does_not_intercept_is_told_nothing_of_it(delivery: Delivery) -> None:
    made = translated("none", delivery)
    assert not {"virtualInbound", "InboundPassthroughCluster", "PassthroughCluster|named"} & made.keys()
    assert all(one.get("bind_to_port", True) for one in made.values())
