"""The discovery service as grpcio sees it: a stranger's client on our codec, subscribing, accepting and rejecting."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trio
import trio.testing
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.rpc import status_pb2

from runtime.envoy.discovery import Discovery, RejectedError, StreamLostError
from runtime.envoy.resources import CLUSTER, ENDPOINTS, resources

pytestmark = pytest.mark.integration


def clusters(**seconds: int) -> list[object]:
    return [cluster_pb2.Cluster(name=name, connect_timeout={"seconds": value}) for name, value in seconds.items()]


class Caller:
    """A grpcio client in a thread of its own; ``answers`` is what came."""

    def __init__(self, path: Path) -> None:
        self.answers: queue.Queue[object] = queue.Queue()
        self._requests: queue.Queue[object] = queue.Queue()
        self._channel = grpc.insecure_channel(f"unix:{path}", options=[("grpc.default_authority", "envoy")])
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self._channel)
        self._call = stub.DeltaAggregatedResources(self._outgoing())
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _outgoing(self) -> Iterator[object]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for answer in self._call:
                self.answers.put(answer)
        except grpc.RpcError:
            pass

    def say(self, kind: str, **fields: object) -> None:
        self._requests.put(discovery_pb2.DeltaDiscoveryRequest(type_url=kind, **fields))

    def accept(self, answer: object, error: str = "") -> None:
        detail = {"error_detail": status_pb2.Status(code=13, message=error)} if error else {}
        self.say(answer.type_url, response_nonce=answer.nonce, **detail)  # type: ignore[attr-defined]

    async def hear(self) -> object:
        return await trio.to_thread.run_sync(lambda: self.answers.get(timeout=5))

    def close(self) -> None:
        self._call.cancel()
        self._requests.put(None)
        self._channel.close()
        self._thread.join(5)


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[Discovery, Caller]]:
    discovery = Discovery(tmp_path / "socket")
    discovery.available = resources(clusters(a=1, b=1))
    async with trio.open_nursery() as nursery:
        await nursery.start(discovery.serve)
        caller = Caller(discovery.path)
        try:
            caller.say(CLUSTER)
            yield discovery, caller
        finally:
            caller.close()
            nursery.cancel_scope.cancel()


def names(answer: object) -> list[str]:
    return [one.name for one in answer.resources]  # type: ignore[attr-defined]


async def test_who_subscribes_gets_everything_and_then_only_what_changes(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        first = await caller.hear()
        assert names(first) == ["a", "b"]
        caller.accept(first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discovery.push, resources(clusters(b=2, c=1)), (CLUSTER,))
            second = await caller.hear()
            assert names(second) == ["b", "c"]
            assert list(second.removed_resources) == ["a"]  # type: ignore[attr-defined]
            caller.accept(second)
        await discovery.push(resources(clusters(b=2, c=1)), (CLUSTER,))
        assert caller.answers.empty()


async def test_a_rejection_reaches_who_pushed(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear())
        raised: list[RejectedError] = []

        async def push() -> None:
            try:
                await discovery.push(resources(clusters(a=9)), (CLUSTER,))
            except RejectedError as error:
                raised.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            caller.accept(await caller.hear(), "no such time")
        assert [str(one) for one in raised] == ["no such time"]


async def test_a_rejection_that_nobody_waits_for_is_kept(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear(), "cannot be")
        with trio.fail_after(5):
            while not discovery.rejected:  # noqa: ASYNC110  what a thread of grpcio's sends
                await trio.sleep(0.01)
        assert discovery.rejected == "cannot be"


async def test_what_is_offered_is_in_use_when_the_offer_returns(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear())
        returned = trio.Event()

        async def offer() -> None:
            await discovery.offer(resources(clusters(a=2, b=1)), (CLUSTER,))
            returned.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(offer)
            answer = await caller.hear()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not returned.is_set()
            caller.accept(answer, "too late")
        assert discovery.rejected == "too late"


async def test_names_that_do_not_exist_are_told_as_removed_so_that_nobody_waits(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear())
        discovery.available = resources([*clusters(a=1), endpoint_pb2.ClusterLoadAssignment(cluster_name="a")])
        caller.say(ENDPOINTS, resource_names_subscribe=["a", "nowhere"])
        answer = await caller.hear()
        assert names(answer) == ["a"]
        assert list(answer.removed_resources) == ["nowhere"]  # type: ignore[attr-defined]


async def test_a_cluster_that_changes_gets_its_endpoints_again(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear())
        endpoints = endpoint_pb2.ClusterLoadAssignment(cluster_name="a")
        discovery.available = resources([*clusters(a=1), endpoints])
        caller.say(ENDPOINTS, resource_names_subscribe=["a"])
        caller.accept(await caller.hear())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discovery.push, resources([*clusters(a=2), endpoints]), (CLUSTER, ENDPOINTS))
            for _ in range(2):
                answer = await caller.hear()
                assert names(answer) == ["a"]
                caller.accept(answer)


async def test_an_answer_larger_than_every_window_arrives_whole(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear())
        many = resources(clusters(**{f"cluster-{'x' * 200}-{number}": 1 for number in range(6_000)}))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discovery.push, many, (CLUSTER,))
            answer = await caller.hear()
            assert len(names(answer)) == 6_000
            caller.accept(answer)


async def test_a_push_to_an_envoy_that_is_gone_fails(tmp_path: Path) -> None:
    async with served(tmp_path) as (discovery, caller):
        caller.accept(await caller.hear())
        failed: list[StreamLostError] = []

        async def push() -> None:
            try:
                await discovery.push(resources(clusters(a=3)), (CLUSTER,))
            except StreamLostError as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            await caller.hear()
            caller.close()
        assert failed
