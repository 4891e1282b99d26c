"""What takes a proxy out of service: who may ask for it, and what happens then."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from click.testing import CliRunner

from runtime.supervisor.supervisor import Supervisor
from tests.ports import accepts
from tests.runtime.supervisor.test_supervisor import Bench, bench, page, serves, supervised, until
from weft.commands.proxy_config import log as log_command

__all__ = ["bench"]
pytestmark = pytest.mark.integration
ACTIONS = ("/healthcheck/fail", "/healthcheck/ok", "/drain_listeners", "/quitquitquit")
TOKEN = "correct horse"


@pytest.fixture
def guarded(bench: Bench, tmp_path: Path) -> Bench:
    """A proxy with an admin socket and a token."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    bench.bootstrap = msgspec.structs.replace(
        bench.bootstrap, admin_socket=str(tmp_path / "admin.sock"), admin_token=str(tmp_path / "token")
    )
    return bench


async def post(supervisor: Supervisor, path: str, token: str = "") -> httpx.Response:
    host, port = supervisor.pages["admin"]
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"http://{host}:{port}{path}", headers=headers)


async def post_over_socket(supervisor: Supervisor, path: str) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(uds=supervisor.bootstrap.admin_socket)
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.post(f"http://admin{path}")


async def test_only_a_token_or_the_socket_may_take_a_proxy_out_of_service(guarded: Bench) -> None:
    digest = guarded.publish("one")
    async with supervised(guarded) as supervisor:
        await until(serves(supervisor, digest))
        for path in ACTIONS:
            assert (await post(supervisor, path)).status_code == 403
            assert (await post(supervisor, path, "correct hors")).status_code == 403
            assert (await page(supervisor, path)).status_code == 405
        assert not supervisor.stopping
        assert not supervisor.leaving.unhealthy
        mode = (await trio.Path(supervisor.bootstrap.admin_socket).stat()).st_mode & 0o777
        assert mode == 0o600


async def test_without_a_token_nobody_may_act_over_a_port(bench: Bench) -> None:
    digest = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, digest))
        refusal = await post(supervisor, "/quitquitquit", TOKEN)
        assert refusal.status_code == 403
        assert "admin_token" in refusal.text


async def test_a_failed_health_check_makes_the_proxy_not_ready_until_it_is_restored(guarded: Bench) -> None:
    digest = guarded.publish("one")
    async with supervised(guarded) as supervisor:
        await until(serves(supervisor, digest))
        assert (await page(supervisor, "/ready")).status_code == 200
        assert (await post_over_socket(supervisor, "/healthcheck/fail")).text == "OK\n"
        failed = await page(supervisor, "/ready")
        assert (failed.status_code, "health check" in failed.text) == (503, True)
        assert (await supervisor.ask("status"))[0].count(b'"leaving": true') == 1
        assert guarded.answer()[0] == digest
        assert (await post(supervisor, "/healthcheck/ok", TOKEN)).text == "OK\n"
        assert (await page(supervisor, "/ready")).status_code == 200
        assert (await supervisor.ask("status"))[0].count(b'"leaving": false') == 1


async def test_drained_listeners_stay_closed_whatever_is_published(guarded: Bench) -> None:
    digest = guarded.publish("one")
    async with supervised(guarded) as supervisor:
        await until(serves(supervisor, digest))
        assert (await post_over_socket(supervisor, "/drain_listeners")).text == "OK\n"
        await until(lambda: not accepts("127.0.0.1", guarded.port))
        second = guarded.publish("two")
        await until(serves(supervisor, second))
        assert not accepts("127.0.0.1", guarded.port)


async def test_draining_gracefully_and_skipping_the_exit_only_asks_clients_to_leave(guarded: Bench) -> None:
    digest = guarded.publish("one")
    async with supervised(guarded) as supervisor:
        await until(serves(supervisor, digest))
        assert (await post_over_socket(supervisor, "/drain_listeners?skip_exit")).status_code == 400
        assert (await post_over_socket(supervisor, "/drain_listeners?graceful&skip_exit")).status_code == 200
        await until(lambda: supervisor.leaving.unhealthy)
        assert guarded.answer()[0] == digest


async def test_quitquitquit_ends_the_proxy_gracefully(guarded: Bench) -> None:
    digest = guarded.publish("one")
    supervisor = Supervisor(guarded.bootstrap, command=("/bin/false",))
    del digest
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            assert (await post_over_socket(supervisor, "/quitquitquit")).text == "OK\n"
    assert supervisor.stopping


async def test_levels_are_read_by_all_and_set_by_a_token_or_over_the_socket(guarded: Bench, tmp_path: Path) -> None:
    digest = guarded.publish("one")
    before = logging.getLogger("weft.proxy").level
    try:
        async with supervised(guarded) as supervisor:
            await until(serves(supervisor, digest))
            assert "  weft.proxy: " in (await page(supervisor, "/logging")).text
            assert (await page(supervisor, "/logging?weft.proxy=debug")).status_code == 405
            assert (await post(supervisor, "/logging?weft.proxy=debug")).status_code == 403
            assert "  weft.proxy: debug" in (await post(supervisor, "/logging?weft.proxy=debug", TOKEN)).text
            admin = ":".join(map(str, supervisor.pages["admin"]))
            for arguments in (
                (supervisor.bootstrap.admin_socket, "--level", "weft.proxy:error"),
                (admin, "--level", "weft.proxy:error", "--token-file", str(tmp_path / "token")),
            ):
                done = await trio.to_thread.run_sync(CliRunner().invoke, log_command, arguments)
                assert "  weft.proxy: error" in done.output
            refused = await trio.to_thread.run_sync(CliRunner().invoke, log_command, (admin, "--level", "info"))
            assert (refused.exit_code, "authorization" in refused.output) == (1, True)
    finally:
        logging.getLogger("weft.proxy").setLevel(before)
