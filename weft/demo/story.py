"""The story: a mesh that lives in Git, told in eight steps while a steady load runs. Each step proves what it says, or ends the demonstration."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable

import msgspec
import trio

from weft.demo.generator import Generator
from weft.demo.load import Report
from weft.demo.mesh import DemoMesh
from weft.demo.pipeline import Publication
from weft.demo.plan import BY_NAME, INGRESS, OUTBOUND, DemoError
from weft.demo.screen import Screen, share_text
from weft.local.http_client import BadReplyError, HttpClient, Reply

LEAST_REQUESTS = 20_000
PUBLICATIONS = 20
PATIENCE_S = 68.0
"""How long after its start the demonstration begins nothing new: the whole must stay well under 90 seconds."""
EVERYBODY_V1 = """      route:
        - destination:
            host: reviews
            subset: v1
"""
EVERYBODY_80_20 = """      route:
        - destination:
            host: reviews
            subset: v1
          weight: 80
        - destination:
            host: reviews
            subset: v2
          weight: 20
"""
DENY = """# Stars are the reviews' business; the storefront has no reason to ask for them itself.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: no-stars-for-the-storefront
  namespace: bookshop
spec:
  selector:
    matchLabels:
      app: ratings
  action: DENY
  rules:
    - from:
        - source:
            principals:
              - bookshop.example/ns/bookshop/sa/storefront
"""
DENY_FILE = "ratings-callers.yaml"
DENY_RULE = "AuthorizationPolicy/bookshop/no-stars-for-the-storefront#spec.rules[0]"


class DumpedSection(msgspec.Struct, frozen=True):
    """One section of ``/sections``: where each of its parts stands in the mesh repository."""

    positions: dict[str, str] = {}


class Sections(msgspec.Struct, frozen=True):
    """``/sections``, the part that is read here."""

    sections: list[DumpedSection]


class Story:
    """Owns the order of events. ``propagation`` of each publication is in the mesh's observer."""

    def __init__(self, mesh: DemoMesh, load: Generator, screen: Screen, *, begun: float) -> None:
        self._mesh = mesh
        self._load = load
        self._screen = screen
        self._serving: Publication | None = None
        self._published = 0
        self._patient_until = begun + PATIENCE_S

    async def tell(self, first: Publication) -> Report:
        """All steps in order, then what is missing to LEAST_REQUESTS; returns the load's last count. Raises DemoError."""
        self._serving = first
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("(a) one request, end to end", self._one_request),
            ("(b) a commit moves reviews from v1 to 80/20 v1/v2", self._shift),
            ("(c) a commit with a mistake", self._mistake),
            ("(d) a commit denies storefront -> ratings", self._deny),
            ("(e) somebody tampers with the store", self._tamper),
            ("(f) the control plane stops; a sidecar restarts from its disk", self._outage),
            ("(g) git revert, publish: back", self._revert),
            ("(h) reviews v2, a commit at a time", self._rollout),
        )
        for title, step in steps:
            self._screen.title(title)
            await step()
            self._mesh.children.require_alive()
        self._screen.title("the load runs on until it has asked for enough")
        while (await self._load.wait_report()).sent < LEAST_REQUESTS:
            pass
        return await self._load.finish()

    def _say(self, text: str) -> None:
        self._screen.say(text)

    async def _publish(self) -> None:
        """Publishes the head, waits until every proxy serves it, and says how long that took."""
        published = await self._mesh.pipeline.publish()
        took = await self._mesh.observer.wait_live(published)
        self._serving = published
        self._published += 1
        self._say(
            f"$ weft publish   commit {published.commit} is version {published.version}, snapshot {published.digest[:12]}; "
            f"live on all {len(took)} proxies in {max(took):.0f} ms"
        )

    async def _one_request(self) -> None:
        reply = await ask("/", host="bookshop.example", address=INGRESS)
        page = msgspec.json.decode(reply.body)
        rows = [
            ("ingress", "storefront", page),
            ("storefront", "catalogue", page["book"]),
            ("storefront", "reviews", page["reviews"]),
        ]
        for source, target, answer in rows:
            require(bool(answer["caller"]), f"{target} was called without a verified identity")
            self._say(f"{source} -> {target} {answer['version']}: mutual TLS, the caller is {answer['caller']}")
        publisher = msgspec.json.decode(
            (await ask("/books/1/publisher", host="bookshop.example", address=INGRESS)).body
        )
        self._say(
            f"catalogue -> egress -> api.publisher.example: {publisher['publisher']['name']!r}, through the egress gateway"
        )
        stamp = reply.headers.get("x-weft-snapshot", "")
        self._say(f"each hop names the snapshot that it ran: {stamp}")

    async def _shift(self) -> None:
        pipeline = self._mesh.pipeline
        pipeline.replace("reviews-routing.yaml", EVERYBODY_V1, EVERYBODY_80_20)
        commit = await pipeline.commit("Reviews: a fifth of the readers see v2")
        self._say(f"$ git commit   {commit}: Reviews: a fifth of the readers see v2")
        await self._publish()
        before = (await self._load.wait_fresh()).reviews
        await trio.sleep(3.0)
        after = (await self._load.wait_fresh()).reviews
        shares = {name: count - before.get(name, 0) for name, count in after.items()}
        share = shares.get("v2", 0) / max(1, sum(shares.values()))
        require(0.05 < share < 0.4, f"reviews v2 got {share:.0%} of the pages, not about 20 %")
        self._say(f"the pages' reviews since then: {share_text(shares)}")

    async def _mistake(self) -> None:
        mesh = self._mesh
        await mesh.pipeline.branch("hurry")
        mesh.pipeline.replace(
            "reviews-routing.yaml", "subset: v2\n          weight: 20", "subset: v4\n          weight: 20"
        )
        await mesh.pipeline.commit("Reviews: everybody wants v4")
        checked = await mesh.pipeline.check()
        require(checked.code == 1, f"weft check of a missing subset exits 1, not {checked.code}")
        place = re.search(r"mesh/reviews-routing\.yaml:\d+:\d+", checked.output)
        require(place is not None, f"weft check does not name file and line:\n{checked.output}")
        self._say("$ weft check   exit 1; the pipeline stops here, nothing is published")
        self._screen.quote(checked.output)
        await mesh.pipeline.back_to_main()
        await self._same_as_before()

    async def _deny(self) -> None:
        mesh = self._mesh
        mesh.pipeline.write(DENY_FILE, DENY)
        commit = await mesh.pipeline.commit("Ratings: not for the storefront")
        self._say(f"$ git commit   {commit}: Ratings: not for the storefront")
        await self._load.expect("stars", 200, 403)
        await self._publish()
        await self._load.expect("stars", 403)
        reply = await ask("/stars/1", host="bookshop.example", address=INGRESS)
        require(reply.status == 403, f"storefront -> ratings is answered {reply.status}, not 403")
        details, place = await self._deciding_rule()
        self._say(f"storefront -> ratings: 403 {details}")
        self._say(f"decided at {place}@{self._serving.commit if self._serving else ''}")

    async def _deciding_rule(self) -> tuple[str, str]:
        """What the access log of ratings names as the reason, and where its provenance says that it stands."""
        await trio.sleep(0.5)
        log = (self._mesh.folder / "logs" / "ratings.log").read_text(encoding="utf-8", errors="replace")
        found = re.findall(r'"response_code_details":"(rbac_access_denied_matched_policy\[[^"]+\])"', log)
        require(bool(found), "the access log of ratings names no policy")
        dump = await self._mesh.observer.page("ratings", "/sections", Sections)
        rules = {source: place for section in dump.sections for source, place in section.positions.items()}
        place = rules.get(DENY_RULE, "")
        require(
            place.startswith(f"mesh/{DENY_FILE}:"),
            f"the configuration of ratings does not say where {DENY_RULE} stands",
        )
        return found[-1], place

    async def _tamper(self) -> None:
        mesh = self._mesh
        file = mesh.store / "metadata" / "timestamp.json"
        honest = file.read_bytes()
        forged = re.sub(rb'("version":\s*)(\d+)', lambda match: match[1] + str(int(match[2]) + 1).encode(), honest)
        require(forged != honest, "the timestamp has no version to forge")
        file.write_bytes(forged)
        self._say("timestamp.json now names a version that nobody signed")
        with trio.move_on_after(10):
            while not (reasons := self._problems()) or len(reasons) < len(mesh.observer.views):
                await trio.sleep(0.05)
                await mesh.observer.look()
        require(bool(self._problems()), "no proxy noticed the forged store")
        name, told = next(iter(self._problems().items()))
        self._say(f"{len(self._problems())} of {len(mesh.observer.views)} proxies refuse it; {name} says: {told}")
        await self._same_as_before()
        file.write_bytes(honest)
        await mesh.observer.wait_content()
        self._say("the honest file is back, and every proxy is content with it")

    def _problems(self) -> dict[str, str]:
        views = self._mesh.observer.views
        return {
            name: f"{view.problem.reason}: {view.problem.message}"
            for name, view in views.items()
            if view and view.problem
        }

    async def _outage(self) -> None:
        mesh = self._mesh
        await mesh.children.stop("control")
        before = (await self._load.wait_fresh()).sent
        self._say("the control plane is gone")
        proxy = BY_NAME["reviews-v3"]
        await mesh.children.stop(proxy.name)
        begin = trio.current_time()
        mesh.start_proxy(proxy)
        await mesh.observer.wait_ready(proxy.name)
        self._say(
            f"the sidecar of {proxy.name} restarted and serves from its disk, {trio.current_time() - begin:.1f} s after its start"
        )
        out = await ask("http://ratings:9080/ratings/1", host="ratings:9080", address=(proxy.address, OUTBOUND))
        require(out.status == 200, f"a call through the restarted sidecar is answered {out.status}: {out.body[:200]!r}")
        page = await ask("/", host="bookshop.example", address=INGRESS, headers="x-reader: tester\r\n")
        require(page.status == 200, f"a page with reviews v3 is answered {page.status}")
        await self._same_as_before()
        sent = (await self._load.wait_fresh()).sent - before
        self._say(
            f"out through it: 200 with mutual TLS; in through it: a page with reviews v3; meanwhile {sent:,} requests of the load"
        )
        await mesh.start_control()
        await mesh.observer.wait_content()
        self._say("the control plane is back, and every proxy has found it")

    async def _revert(self) -> None:
        commit = await self._mesh.pipeline.revert(2)
        self._say(f"$ git revert HEAD~2..HEAD   {commit}")
        await self._load.expect("stars", 200, 403)
        await self._publish()
        await self._load.expect("stars", 200)
        reply = await ask("/stars/1", host="bookshop.example", address=INGRESS)
        require(reply.status == 200, f"storefront -> ratings is answered {reply.status} after the revert")
        before = (await self._load.wait_fresh()).reviews
        await trio.sleep(1.0)
        after = (await self._load.wait_fresh()).reviews
        require(after.get("v2") == before.get("v2"), "reviews v2 is still asked")
        self._say("storefront -> ratings: 200 again; every page has reviews v1 again")

    async def _rollout(self) -> None:
        """Commit after commit until PUBLICATIONS, or until the audience has waited long enough."""
        pipeline, observer = self._mesh.pipeline, self._mesh.observer
        routing = EVERYBODY_V1
        for number in range(self._published, PUBLICATIONS):
            if trio.current_time() > self._patient_until:
                break
            share = 5 * (number - 2)
            changed = EVERYBODY_80_20.replace("80", str(100 - share)).replace("20", str(share))
            pipeline.replace("reviews-routing.yaml", routing, changed)
            routing = changed
            await pipeline.commit(f"Reviews: {share} % see v2")
            published = await pipeline.publish()
            took = await observer.wait_live(published)
            self._serving = published
            self._published += 1
            self._say(
                f"version {published.version}: {share} % see v2, live on all {len(took)} proxies in {max(took):.0f} ms"
            )

    async def _same_as_before(self) -> None:
        """Every proxy still serves the publication that served before."""
        await self._mesh.observer.look()
        serving = self._serving.digest if self._serving else ""
        others = {name: digest[:12] for name, digest in self._mesh.observer.digests().items() if digest != serving}
        require(not others, f"these proxies do not serve {serving[:12]} any more: {others}")
        self._say(f"every proxy still serves snapshot {serving[:12]}")


async def ask(target: str, *, host: str, address: tuple[str, int], headers: str = "") -> Reply:
    """One request outside of the load; raises DemoError where no reply comes."""
    client = HttpClient(address)
    try:
        return await client.get(host, target, headers)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, BadReplyError) as error:
        raise DemoError(f"{target} at {address[0]}:{address[1]}: {error or type(error).__name__}") from None
    finally:
        await client.close()


def require(holds: bool, otherwise: str) -> None:
    """Raises DemoError with ``otherwise`` unless it holds."""
    if not holds:
        raise DemoError(otherwise)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0
