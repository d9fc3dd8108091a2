"""The report in a real browser: no request, no message, and at every width nothing is cut or sticks out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import render_report
from report_evidence import healthy, troubled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
).split()
MESSAGES = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded")
FAULTS = """
(() => {
  const wide = document.documentElement.clientWidth, found = [], say = (why, e) =>
    found.push(`${why}: ${e.tagName} ${e.getAttribute("class") || ""} ${e.textContent.slice(0, 60)}`);
  const hidden = e => e.closest("thead") && getComputedStyle(e.closest("thead")).position === "absolute";
  if (document.documentElement.scrollWidth > wide) found.push(document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect();
    if (hidden(e) || !box.width) continue;
    if (box.right > wide + 1 || box.left < -1) say("sticks out", e);
    if (!e.closest("svg") && e.clientWidth && e.scrollWidth > e.clientWidth + 1) say("is cut", e);
  }
  for (const svg of document.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(e => [e, e.getBoundingClientRect()]);
    texts.forEach(([e, one], place) => {
      const past = Math.max(box.left - one.left, one.right - box.right, box.top - one.top, one.bottom - box.bottom);
      if (past > 1) say("leaves its picture", e);
      for (const [, two] of texts.slice(place + 1))
        if (one.left < two.right && two.left < one.right && one.top < two.bottom - 2 && two.top < one.bottom - 2)
          say("lies under another", e);
    });
  }
  return found.slice(0, 5);
})()
"""
CONTRAST = """
(() => {
  const light = text => {
    const linear = v => v <= 10 ? v / 3295 : ((v / 255 + .055) / 1.055) ** 2.4;
    const [red, green, blue] = text.match(/[\\d.]+/g).map(Number).map(linear);
    return .2126 * red + .7152 * green + .0722 * blue;
  };
  const under = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  const found = new Set();
  for (const e of document.querySelectorAll("body :not(script, title)")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e), ink = e.closest("svg") ? style.fill : style.color;
    const [high, low] = [light(ink), light(under(e))].sort((a, b) => b - a), ratio = (high + .05) / (low + .05);
    if (ratio < 4.5) found.add(`${ratio.toFixed(2)} ${e.tagName} ${e.getAttribute("class") || ""}`);
  }
  return [...found].slice(0, 5);
})()
"""


class Browser:
    """Headless Chromium, spoken to over a pipe in the DevTools protocol: messages end in a NUL."""

    def __init__(self, profile: Path) -> None:
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if not program:
            why = "chromium is not installed: expected Debian's package"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()
        line = [
            "bash",
            "-c",
            f'exec "$@" 3<&{theirs} 4>&{ours}',
            "bash",
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(line, pass_fds=(theirs, ours), start_new_session=True, **quiet)  # type: ignore[call-overload]
        os.close(theirs)
        os.close(ours)
        self._count, self._rest, self._session = 0, b"", {}
        self.events: list[dict[str, Any]] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Audits", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            self.events.append(answer)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._from, 1 << 16)
            assert data, "the browser ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, url: str) -> None:
        self.do("Page.navigate", url=url)
        while not self.seen("Page.loadEventFired"):
            self.events.append(self._read())

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") in methods]

    def look(self, width: int, scheme: str = "light", media: str = "screen") -> None:
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.do("Emulation.setEmulatedMedia", media=media, features=features)

    def ask(self, expression: str) -> Any:
        answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder on a loopback port, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driven = Browser(tmp_path_factory.mktemp("profile"))
    yield driven
    driven.close()


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> tuple[Browser, list[str]]:
    """The page on evidence with hostile names and long lists, open in the browser."""
    artifacts = troubled(tmp_path_factory.mktemp("troubled"))
    assert render_report.main(["--root", str(artifacts.parent), "--quiet"]) == 0
    with served(artifacts) as (place, asked):
        browser.open(f"{place}/{render_report.PAGE}")
        browser.ask("new Promise(done => setTimeout(done, 300))")
    return browser, asked


def test_it_asks_for_nothing_and_has_nothing_to_say(opened: tuple[Browser, list[str]]) -> None:
    browser, asked = opened
    assert asked == [f"/{render_report.PAGE}"]
    urls = [event["params"]["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert [url for url in urls if not url.startswith("data:")] == [
        url for url in urls if url.endswith(render_report.PAGE)
    ]
    assert browser.seen(*MESSAGES) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 901, 1280, 1920])
def test_nothing_sticks_out_or_is_cut_and_all_can_be_read(
    opened: tuple[Browser, list[str]], width: int, scheme: str
) -> None:
    browser, _ = opened
    browser.look(width, scheme)
    assert browser.ask(FAULTS) == []
    assert browser.ask(CONTRAST) == []


def test_on_paper_it_is_dark_on_light_whatever_the_screen_likes(opened: tuple[Browser, list[str]]) -> None:
    browser, _ = opened
    browser.look(794, "dark", "print")
    assert browser.ask(FAULTS) == []
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(252, 251, 249)"
    assert browser.ask("[...document.querySelectorAll('input')].every(e => getComputedStyle(e).display === 'none')")


def test_a_click_sorts_and_a_word_filters(opened: tuple[Browser, list[str]]) -> None:
    browser, _ = opened
    browser.look(1280)
    rows = "const rows = [...document.querySelectorAll('#durations table')].at(-1).tBodies[0].rows"
    click = "[...document.querySelectorAll('#durations table')].at(-1).tHead.rows[0].cells[2].firstChild.click()"
    values = (
        f"(() => {{ {rows}; return [...rows].map(row => parseFloat(row.cells[2].textContent.replace(',', ''))) }})()"
    )
    worst_first = browser.ask(values)
    browser.ask(click)
    assert browser.ask(values) == worst_first
    browser.ask(click)
    assert browser.ask(values) == worst_first[::-1] != worst_first
    box = "document.querySelector('#durations input')"
    browser.ask(f"{box}.value = 'no such test'; {box}.dispatchEvent(new Event('input'))")
    assert browser.ask(f"(() => {{ {rows}; return [...rows].filter(row => row.offsetHeight).length }})()") == 0


def test_without_its_script_the_page_says_the_same(browser: Browser, tmp_path: Path) -> None:
    artifacts = healthy(tmp_path)
    assert render_report.main(["--root", str(tmp_path), "--quiet"]) == 0
    text = "document.querySelector('main').innerText.replaceAll(/\\s+/g, ' ')"
    said = []
    for disabled in (False, True):
        browser.do("Emulation.setScriptExecutionDisabled", value=disabled)
        browser.events.clear()
        browser.open((artifacts / render_report.PAGE).as_uri())
        said.append(browser.ask(text))
    browser.do("Emulation.setScriptExecutionDisabled", value=False)
    assert said[0] == said[1]
    assert "The foundation" not in said[0]
    assert len(said[0]) > 1000
