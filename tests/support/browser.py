"""A headless Chromium, driven through chromedriver by the W3C WebDriver protocol over HTTP.

Plain urllib is enough for that, so the tests need no package for it. Debian has both programs:
``chromium`` and ``chromium-driver``.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

if os.environ.get("NYMEA_BRIEF"):
    MISSING: str | None = "a build of the Debian package looks at no page: debian/rules"
elif CHROMIUM and CHROMEDRIVER:
    MISSING = None
else:
    MISSING = "chromium or chromedriver is missing (Debian: apt install chromium chromium-driver)"

PATIENCE = 60.0
"""Seconds; a browser on a busy machine takes its time."""

LOADED = 120.0
"""Seconds until a page shows what it has to ask its server for, twice if need be."""

BETWEEN = 0.1
"""Seconds between two looks at it: each takes the page's own time."""

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # it runs as root in CI
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm is small in containers
    "--disable-quic",
    "--no-first-run",
    # Somebody looks at it, whatever it makes of having no screen.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
    "--lang=en",
    # Names of the pages. Over IPv6, so that a visitor does not have the address of all else here.
    "--host-resolver-rules=MAP *.example.org [::1]",
)

SCREENSHOTS = os.environ.get("NYMEA_SCREENSHOTS")
"""Directory where screenshots are kept; without it they are thrown away."""

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name of an element's reference in JSON (WebDriver section 12)."""

DESKTOP, PHONE = (1280, 900, False), (390, 844, True)
"""Screens, as `Browser.resize` takes them."""

TAB, ENTER, ESCAPE, SPACE = "\ue004", "\ue007", "\ue00c", " "
ARROW_LEFT, HOME = "\ue012", "\ue011"


def _drop(pipe: IO[bytes]) -> None:
    """Read what nobody wants to know, for a full pipe would stop its writer."""
    with pipe:
        for _line in pipe:
            pass


class Browser:
    """One window of a browser with an empty profile."""

    def __init__(self) -> None:
        self._profile = tempfile.mkdtemp(prefix="browser-")
        self._session = ""
        self._driver, port = self._startDriver()
        self._url = f"http://127.0.0.1:{port}"
        try:
            self._open()
        except BaseException:
            self.stop()
            raise

    def _startDriver(self) -> tuple[subprocess.Popen[bytes], int]:
        """Return the process and its port.

        It takes one for IPv4, and ends when somebody else has the same one for IPv6, which happens
        now and then.
        """
        assert CHROMEDRIVER is not None
        said = b""
        for _attempt in range(5):
            driver = subprocess.Popen(
                [CHROMEDRIVER, "--port=0"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HOME": self._profile},
            )
            assert driver.stdout is not None
            for line in driver.stdout:
                said += line
                found = re.search(rb"started successfully on port (\d+)", line)
                if found:
                    threading.Thread(target=_drop, args=(driver.stdout,), daemon=True).start()
                    return driver, int(found[1])
            driver.stdout.close()
            driver.wait(PATIENCE)
        shutil.rmtree(self._profile, True)
        raise AssertionError(f"chromedriver does not start: {said.decode(errors='replace')}")

    def _open(self) -> None:
        options = {
            "binary": CHROMIUM,
            "args": [*ARGUMENTS, f"--user-data-dir={self._profile}/profile"],
        }
        answer = self._post(
            "/session",
            {
                "capabilities": {
                    "alwaysMatch": {
                        "browserName": "chrome",
                        "goog:chromeOptions": options,
                        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                    }
                }
            },
        )
        self._session = f"/session/{answer['sessionId']}"

    def stop(self) -> None:
        """Close the browser and forget everything."""
        try:
            if self._session:
                self._request("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(PATIENCE)
            shutil.rmtree(self._profile, True)

    # The protocol

    def _post(self, path: str, value: dict[str, Any]) -> Any:
        return self._request("POST", path, value)

    def _request(self, method: str, path: str, value: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            None if value is None else json.dumps(value).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None

    def command(self, name: str, **parameters: Any) -> Any:
        """Give a command of the Chrome DevTools protocol."""
        return self._post(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; return what it returns."""
        return self._post(
            f"{self._session}/execute/sync", {"script": script, "args": list(arguments)}
        )

    # What a person does

    def get(self, url: str) -> None:
        """Go to a page."""
        self._post(f"{self._session}/url", {"url": url})

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._post(f"{self._session}/actions", {"actions": [source]})

    def hover(self, selector: str, x: int = 0, y: int = 0) -> None:
        """Point at an element's middle, or so many pixels from it."""
        found = self._post(f"{self._session}/element", {"using": "css selector", "value": selector})
        move = {
            "type": "pointerMove",
            "duration": 0,
            "origin": {ELEMENT: found[ELEMENT]},
            "x": x,
            "y": y,
        }
        source = {"type": "pointer", "id": "mouse", "actions": [move]}
        self._post(f"{self._session}/actions", {"actions": [source]})

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until a JavaScript expression is true; return its value."""
        deadline = time.monotonic() + LOADED
        while True:
            value = self.run(f"return ({script})", *arguments)
            if value:
                return value
            if time.monotonic() > deadline:
                state = self.run(
                    "return [document.visibilityState, document.body.innerText.slice(0, 500)]"
                )
                raise AssertionError(f"never true: {script}; {self.console()}; {state}")
            time.sleep(BETWEEN)

    # What it is like

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        """Have a screen of this size."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, scheme: str) -> None:
        """Have a person who prefers "dark" or "light"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    # What is to be seen

    def console(self) -> list[str]:
        """Return what was written to the console since the last call, CSP violations too."""
        return [entry["message"] for entry in self._log("browser")]

    def requested(self) -> list[str]:
        """Return the URLs that were asked for since the last call."""
        urls = []
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
        return urls

    def _log(self, kind: str) -> Any:
        return self._post(f"{self._session}/se/log", {"type": kind})

    def screenshot(self, name: str) -> bytes:
        """Return the whole page as PNG; keep it, if screenshots are kept."""
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        image = base64.b64decode(shot["data"])
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            (Path(SCREENSHOTS) / f"{name}.png").write_bytes(image)
        return image


_browsers: list[Browser] = []


def browser() -> Browser:
    """Return the one of this run; it starts when it is needed."""
    if not _browsers:
        _browsers.append(Browser())
    return _browsers[0]


@atexit.register
def _stop() -> None:
    while _browsers:
        _browsers.pop().stop()
