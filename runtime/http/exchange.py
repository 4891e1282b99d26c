"""One request and its response: the spine of the runtime.

    start -> (rules, decide, resolve) -> [delay] -> attempt -> [retry ...] -> response passes -> done

The four pure steps of ``snapshot`` decide; this class carries out. It never waits: what must wait (a fault's delay, a back-off, a connection,
a name) calls back. Exactly one of three ends comes: the whole response was passed on, a reply of our own was, or the downstream is
gone or was cut off. The generation is pinned at the start, so one request never sees two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from policies.head import Headers, Peer, RequestHead, ResponseHead
from policies.traffic import NO_EDITS
from runtime.balance.retries import UNCOUNTED
from runtime.http.deadlines import Deadlines
from runtime.http.edits import compiled
from runtime.http.forwarding import add_cookie, forwarded_head, rehashed
from runtime.http.held_body import HeldBody
from runtime.http.passthrough import passthrough
from runtime.http.replies import http_date, local_reply
from runtime.http.rules import SNAPSHOT, TRACE, Fields, count_attempt
from runtime.http.shadow import Shadow, shadows_of
from runtime.http.stream import Downstream, EndpointPool, UpstreamStream
from runtime.http.trying import IDEMPOTENT, ask, attempt_failed, exhausted, judge_grpc, none_healthy, note_failure
from runtime.http1 import ProtocolError
from runtime.limits.enforcing import enforce
from runtime.policy_change import request_allowed
from runtime.telemetry import REPLIES, Failure
from snapshot.decision import LocalReply
from snapshot.resolve import resolve

if TYPE_CHECKING:
    from policies.traffic import Destination
    from runtime.balance.cluster import LiveCluster
    from runtime.generation import Chain, Generation, Plan
    from runtime.plane import Plane
    from snapshot.section import Endpoint

_BODILESS = frozenset({204, 304})
_SERVER_ERROR = 500


class Exchange:
    """One exchange. Owns its timers, the request body that is held for retries, and what the report will say."""

    # Defaults stand on the class and not in slots: most exchanges change few of them, and setting thirty cost a microsecond for each.
    plan: Plan
    forwarded: RequestHead
    bytes_received = 0
    bytes_sent = 0
    code = 0
    flags: tuple[str, ...] = ()
    details = "via_upstream"
    transport_failure = ""
    upstream_host = ""
    upstream_local = ""
    service_time_ms = -1
    grpc_status: str | None = None
    number = 0
    destination: Destination | None = None
    endpoint: Endpoint | None = None
    cluster: LiveCluster | None = None
    done = False
    _stamp = False
    pool: EndpointPool | None = None
    _upstream: UpstreamStream | None = None
    tried: tuple[Endpoint, ...] = ()
    _held: HeldBody | None = None
    replayable = True
    _fresh_try = False
    _tunnel = False
    _half_closed = False
    _shadows: Sequence[Shadow] = ()
    _deadlines: Deadlines | None = None
    retrying = UNCOUNTED

    def __init__(
        self,
        plane: Plane,
        generation: Generation,
        chain: Chain,
        downstream: Downstream,
        head: RequestHead,
        fields: Fields,
    ) -> None:
        self.plane = plane
        self.generation = generation
        self.chain = chain
        self.downstream = downstream
        self.head = head
        self.fields = fields
        self.started = plane.lane.now

    @property
    def client(self) -> Peer:
        """See FromClient."""
        return self.downstream.peer

    # --- deciding ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Decides and sets out. The request's body, where there is one, follows by ``on_request_data``."""
        head = self.head
        downstream = self.downstream
        chain = self.chain
        plane = self.plane
        generation = self.generation
        fields = self.fields
        if plane.stamp or TRACE in fields:
            self._stamp = plane.stamp or (fields[TRACE] == b"snapshot" and not chain.rules.edge)
        chain.rules.request(head, fields, downstream)
        content_type = fields.get(b"content-type")
        if content_type is not None and content_type.startswith(b"application/grpc"):
            self.grpc_status = ""
        if not downstream.complete:
            self._held = HeldBody()
        self.plan = plan = generation.plan(chain, head, downstream.peer)
        action = resolve(plan.decision, generation, self.started, plane.draws, head, downstream.peer)
        self.destination = action.destination
        self.endpoint = action.endpoint
        if action.flags:
            self.flags = action.flags
        if action.delay_ms:
            reply = action.reply
            self.set_deadline("parked", action.delay_ms, lambda: self._act(reply))
        elif (
            action.reply is None
            and plan.plain
            and self.destination is not None
            and self.destination.request_headers is NO_EDITS
        ):
            # What most requests are: nothing to rewrite, nothing to wait for, no deadline of the route.
            self.forwarded = head
            self.attempt()
        else:
            self._act(action.reply)

    def _act(self, reply: LocalReply | None) -> None:
        limits = self.plan.decision.limits
        if limits and "FI" not in self.flags:
            enforce(self, limits, lambda: self._go(reply))
        else:
            self._go(reply)

    def _go(self, reply: LocalReply | None) -> None:
        if reply is not None:
            if self.destination is not None:
                # Nobody there could take it: that is said of the cluster where it was going.
                self.cluster = self.generation.clusters.get(self.destination.cluster)
                none_healthy(self.plane, self.destination.cluster)
            self.reply(reply)
            return
        self.forwarded = forwarded_head(self.head, self.plan, self.destination, tells_path=self.chain.rules.tells_path)
        if self.forwarded is not self.head:
            self.endpoint = rehashed(self)
        if self.downstream.complete:
            self._start_deadline()
        if self.plan.decision.mirrors:
            self._shadows = shadows_of(self)
        if self.endpoint is None:
            passthrough(self)
        else:
            self.attempt()

    # --- attempts ------------------------------------------------------------------------------------------------------------

    def attempt(self) -> None:
        """Sends the request, or sends it again, to ``endpoint``."""
        self.number += 1
        if self.number > 1:
            count_attempt(self.forwarded, self.number)
        assert self.endpoint is not None
        assert self.destination is not None
        self.cluster = cluster = self.generation.clusters[self.destination.cluster]
        self.pool = pool = cluster.pool(self.endpoint, self.downstream.protocol, tunnel=self.head.method == "CONNECT")
        retry = self.plan.decision.retry
        if retry is not None and retry.per_try_timeout_ms:
            self.set_deadline("try", retry.per_try_timeout_ms, self._on_try_timeout)
        pool.acquire(self)

    def on_stream(self, stream: UpstreamStream) -> None:
        """See Waiter."""
        downstream = self.downstream
        self._upstream = stream
        self.upstream_host = stream.host
        self.upstream_local = stream.local
        forwarded = self.forwarded
        held = self._held
        # Without ``held`` there is no body, or one that has been passed on: a retry would not be allowed then.
        end = held is None or (downstream.complete and not held)
        try:
            stream.send_request(
                forwarded,
                content_length=downstream.content_length,
                end=end,
                upgrade=downstream.upgrade,
                checked=forwarded is self.head,
            )
        except ProtocolError as error:
            # A rewrite made a target that cannot stand in a request: the configuration's mistake, this request's failure.
            self.transport_failure = str(error)
            self.reply(REPLIES[Failure.BUG])
            return
        if held is not None:
            self._send_held(stream, held)

    def _send_held(self, stream: UpstreamStream, held: HeldBody) -> None:
        held.send(stream, complete=self.downstream.complete)
        if self.plan.decision.retry is None:
            self._pass_unheld()
        self.downstream.resume()
        stream.flush()

    def _pass_unheld(self) -> None:
        """From here on the body only passes, so the request cannot be sent again."""
        self._held = None
        self.replayable = False

    def on_unavailable(self, failure: Failure, reason: str) -> None:
        """See Waiter."""
        attempt_failed(self, failure, reason)

    def on_upstream_failed(self, failure: Failure, reason: str) -> None:
        """See ExchangeSide."""
        stream, self._upstream = self._upstream, None
        if self.code:
            # Part of the response is out: it must be cut off, never ended (security.md, truncated bodies).
            self.transport_failure = reason
            note_failure(self, failure)
            self._cut_off(REPLIES[failure])
            return
        stale = stream is not None and stream.reused and not self._fresh_try
        if stale and failure is Failure.UPSTREAM_CLOSED and self._safe_again():
            # The upstream closed an idle connection while the request was on its way to it: that is nobody's failure, but a try.
            self._fresh_try = True
            self.number += 1
            assert self.pool is not None
            self.pool.acquire_fresh(self)
            return
        attempt_failed(self, failure, reason)

    def _safe_again(self) -> bool:
        return self.replayable and self.head.method in IDEMPOTENT

    def give_up_attempt(self) -> None:
        """Lets go of the attempt that is under way, where one is: its stream, its place in a queue, its deadline."""
        stream, self._upstream = self._upstream, None
        if stream is not None:
            stream.cancel()
        elif self.pool is not None:
            self.pool.abandon(self)
        if self._deadlines is not None:
            self._deadlines.unset("try")
        self.release_retry()

    def release_retry(self) -> None:
        """The attempt counts no longer among the retries of its cluster."""
        self.retrying.release()
        self.retrying = UNCOUNTED

    # --- the request's body --------------------------------------------------------------------------------------------------

    def on_request_data(self, data: bytes) -> None:
        """See ExchangeSide."""
        self.bytes_received += len(data)
        upstream = self._upstream
        if self._held is not None and not self._held.keep(data):
            if upstream is None:
                self.downstream.pause()
            else:
                self._pass_unheld()
        for shadow in self._shadows:
            shadow.send(data)
        if upstream is not None:
            upstream.send_data(data)
            if upstream.full:
                self.downstream.pause()

    def on_request_end(self, trailers: Headers) -> None:
        """See ExchangeSide."""
        if trailers and self._held is not None:
            # A stream that is only to come, or a retry, must end as this one does.
            self._held.trailers = trailers
        if self._upstream is not None:
            self._upstream.send_end(trailers)
        for shadow in self._shadows:
            shadow.complete(trailers)
        if self._tunnel:
            self._end_tunnel_side()
        else:
            self._start_deadline()

    def flush_upstream(self) -> None:
        """The downstream's round is over: write what it brought."""
        if self._upstream is not None:
            self._upstream.flush()

    def on_upstream_drained(self) -> None:
        """See ExchangeSide."""
        self.downstream.resume()

    # --- the response --------------------------------------------------------------------------------------------------------

    def on_informational(self, head: ResponseHead) -> None:
        """See ExchangeSide."""
        self.downstream.send_informational(head.status, head.headers)
        self.downstream.flush()

    def on_response(self, head: ResponseHead, fields: Fields, content_length: int | None, body: bytes) -> None:
        """See ExchangeSide: the common case, in one step."""
        self._upstream = None
        headers = self._accept_response(head, fields)
        if headers is None:
            return
        if content_length is None and head.status not in _BODILESS and self.head.method != "HEAD":
            content_length = 0
        self.bytes_sent = len(body)
        self.downstream.send_whole(head.status, headers, content_length, body)
        self._finish()

    def on_response_head(self, head: ResponseHead, fields: Fields, *, content_length: int | None, end: bool) -> None:
        """See ExchangeSide."""
        if end:
            self._upstream = None
        headers = self._accept_response(head, fields)
        if headers is None:
            return
        status = head.status
        if end and content_length is None and status not in _BODILESS and self.head.method != "HEAD":
            content_length = 0
        self.downstream.send_head(status, headers, content_length=content_length, end=end)
        if end:
            self._finish()

    def _accept_response(self, head: ResponseHead, fields: Fields) -> Headers | None:
        """The headers to pass on, or None where the request is tried again instead."""
        cluster = self.cluster
        if cluster is not None and cluster.watch is not None:
            cluster.watch.on_head(self, head.status, fields)
        edits = ask(self, "", head)
        if edits is None:
            return None
        if self._deadlines is not None:
            self._deadlines.unset("try")
        self.code = status = head.status
        if self.number > 1:
            self.release_retry()
            retry = self.plan.decision.retry
            if retry is not None and status in retry.statuses:
                if self.number > retry.attempts:
                    exhausted(self)
            elif self.pool is not None:
                self.pool.load.recovered += 1
        headers = self._response_headers(head.headers, fields, status)
        for level in edits:
            headers = compiled(level).apply(headers)
        return headers

    def _response_headers(self, headers: Headers, fields: Fields, status: int) -> Headers:
        now = self.plane.lane.now
        self.service_time_ms = int((now - self.started) * 1000)
        if self.grpc_status is not None:
            self.grpc_status = fields.get(b"grpc-status", b"").decode("ascii", "replace")
            if self.grpc_status or status >= _SERVER_ERROR:
                judge_grpc(self)
        elif status < _SERVER_ERROR:
            self.pool.tally.succeeded += 1  # type: ignore[union-attr]  # who answers came from a pool
        else:
            self.pool.tally.erred += 1  # type: ignore[union-attr]
        headers = self.chain.rules.response(
            headers, fields, service_time_ms=self.service_time_ms, stamp=self.plane.stamp
        )
        if b"date" not in fields:
            headers.append((b"date", http_date()))
        if self._stamp:
            headers.append((SNAPSHOT, self.generation.stamp))
        cluster = self.cluster
        if cluster is not None and cluster.table is not None:
            add_cookie(cluster, self.head, self.downstream.peer, headers)
        return headers

    def on_response_data(self, data: bytes) -> None:
        """See ExchangeSide."""
        downstream = self.downstream
        self.bytes_sent += len(data)
        downstream.send_data(data)
        if downstream.full and self._upstream is not None:
            self._upstream.pause()

    def on_response_end(self, trailers: Headers) -> None:
        """See ExchangeSide."""
        if self._tunnel:
            self.downstream.send_end(trailers)
            self._end_tunnel_side()
            return
        self._upstream = None
        if self.grpc_status == "":
            said = dict(trailers)
            self.grpc_status = said.get(b"grpc-status", b"").decode("ascii", "replace")
            if self.cluster is not None and self.cluster.watch is not None:
                self.cluster.watch.on_fields(self.endpoint, said)
            if self.code < _SERVER_ERROR:
                judge_grpc(self)
        self.downstream.send_end(trailers)
        self._finish()

    def on_downstream_drained(self) -> None:
        """See ExchangeSide."""
        if self._upstream is not None:
            self._upstream.resume()

    def flush_downstream(self) -> None:
        """See ExchangeSide."""
        if not self.done:
            downstream = self.downstream
            downstream.flush()
            if downstream.full and self._upstream is not None:
                self._upstream.pause()

    def on_tunnel(self, head: ResponseHead) -> None:
        """See ExchangeSide. What switches protocols is a response like others: it bears the edits of its route (Envoy)."""
        headers = head.headers
        if self.pool is not None:
            accepted = self._accept_response(head, dict(headers))
            if accepted is None:
                return
            headers = accepted
        elif self._stamp:
            headers.append((SNAPSHOT, self.generation.stamp))
        self._tunnel = True
        self._held = None
        self.code = head.status
        self.details = "via_upstream"
        if self._deadlines is not None:
            self._deadlines.unset("route")
        self.downstream.start_tunnel(head.status, headers)

    def _end_tunnel_side(self) -> None:
        """A tunnel ends when both directions have (half-close is passed on)."""
        if not self._half_closed:
            self._half_closed = True
            return
        stream, self._upstream = self._upstream, None
        if stream is not None:
            stream.close_tunnel()
        self._finish()

    # --- replies of our own, and ends ----------------------------------------------------------------------------------------

    def reply(self, reply: LocalReply) -> None:
        """Answers instead of the upstream."""
        self.give_up_attempt()
        status, headers, body = local_reply(reply, grpc=self.grpc_status is not None)
        self.code = status
        self.details = reply.details
        if reply.flag:
            self.flags = (*self.flags, *reply.flag.split(","))
        if self.grpc_status is not None:
            self.grpc_status = dict(headers).get(b"grpc-status", b"").decode()
        headers += [(b"date", http_date()), *self.chain.rules.own_server]
        if self._stamp:
            headers.append((SNAPSHOT, self.generation.stamp))
        for level in self.plan.decision.response_edits:
            headers = compiled(level).apply(headers)
        downstream = self.downstream
        sends_body = bool(body) and self.head.method != "HEAD" and status not in _BODILESS
        downstream.send_head(
            status, headers, content_length=None if status in _BODILESS else len(body), end=not sends_body
        )
        if sends_body:
            self.bytes_sent = len(body)
            downstream.send_data(body)
            downstream.send_end([])
        self._finish()

    def on_downstream_failed(self, failure: Failure) -> None:
        """See ExchangeSide."""
        if self.done:
            return
        if failure is Failure.DOWNSTREAM_PROTOCOL and not self.code:
            self.reply(REPLIES[failure])
        else:
            self._cut_off(REPLIES[failure])

    def on_idle(self) -> None:
        """Nothing moved for the stream's idle time."""
        if self.code:
            self._cut_off(REPLIES[Failure.STREAM_IDLE])
        else:
            self.reply(REPLIES[Failure.STREAM_IDLE])

    def reconsider(self, generation: Generation, chain: Chain, *, close: bool) -> None:
        """The policies have changed: a tunnel that they would not let in now is cut off, or any where that is asked for."""
        if self._tunnel:
            principal = self.plan.principal
            if close or not request_allowed(generation, chain, self.head, self.downstream.peer, principal):
                self._cut_off(REPLIES[Failure.POLICY_CHANGED])

    def _cut_off(self, why: LocalReply) -> None:
        self.give_up_attempt()
        self.flags = (*self.flags, *why.flag.split(","))
        self.details = why.details.replace("before_response", "after_response")
        self._report()
        self.downstream.abort()

    def _finish(self) -> None:
        if self.done:
            return
        self._report()
        self.downstream.exchange_done()

    def _report(self) -> None:
        self.done = True
        if self._deadlines is not None:
            self._deadlines.end()
        for shadow in self._shadows:
            shadow.request_ended()
        self.plane.reporter.exchange(self)

    # --- time ----------------------------------------------------------------------------------------------------------------

    def _start_deadline(self) -> None:
        """The route's time-out counts from the end of the request to the end of the response (Envoy)."""
        timeout_ms = self.plan.decision.timeout_ms
        if timeout_ms and not self.done:
            self.set_deadline("route", timeout_ms, self._on_timeout)

    def _on_timeout(self) -> None:
        if self.code:
            if self.pool is not None:
                self.pool.load.timed_out += 1
            self._cut_off(REPLIES[Failure.UPSTREAM_TIMEOUT])
        else:
            # An upstream that has begun to answer is not silent (Envoy).
            note_failure(self, Failure.UPSTREAM_TIMEOUT)
            self.reply(REPLIES[Failure.UPSTREAM_TIMEOUT])

    def _on_try_timeout(self) -> None:
        self.give_up_attempt()
        attempt_failed(self, Failure.PER_TRY_TIMEOUT, "")

    def set_deadline(self, name: str, after_ms: int, on_due: Callable[[], None]) -> None:
        """See Deadlines.set."""
        if self._deadlines is None:
            self._deadlines = Deadlines(self.plane.lane)
        self._deadlines.set(name, after_ms, on_due)
