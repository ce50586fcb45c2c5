"""Which server the page calls: its own, also below a path, and others only where its operator allows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.web.conftest import ServerThat
from tests.web.fake_server import echo
from tests.web.patience import wait_for, wait_until_connected

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_below_a_path_of_a_reverse_proxy_everything_is_found(page: Page, server_that: ServerThat) -> None:
    server = server_that(echo, prefix="/voices/moshi")
    missing: list[str] = []
    page.on("response", lambda response: missing.append(response.url) if response.status >= 400 else None)
    for address in (server.url, server.url + "index.html"):
        page.goto(address)
        page.click("#connect")
        wait_for(page, "#transcript", "word2")
        page.click("#connect")
    assert len(server.queries) == 2
    assert missing == []


def test_another_server_is_called_only_where_the_operator_allows_it(page: Page, server_that: ServerThat) -> None:
    other = server_that(echo)
    host = f"127.0.0.1:{other.port}"
    own = server_that(echo)
    page.goto(f"{own.url}?worker_addr={host}")
    wait_for(page, "#notice", f"Its address asks for {host}")
    # The notice is there already, since the page was loaded: it does not tell that this click has been answered.
    with page.expect_response("**/settings.json"):
        page.click("#connect")
    wait_for(page, "#notice", "This page does not call another server")
    assert page.locator("#connect-label").inner_text() == "Connect"
    own.worker_hosts.append(host)
    page.click("#connect")
    wait_until_connected(page)
    assert (len(own.queries), len(other.queries)) == (0, 1)
    assert page.locator("#notice").is_hidden()


def test_the_pages_own_server_may_be_named(page: Page, server_that: ServerThat) -> None:
    server = server_that(echo)
    page.goto(f"{server.url}?worker_addr=127.0.0.1:{server.port}")
    page.click("#connect")
    wait_until_connected(page)
    assert len(server.queries) == 1
