"""Notebooks and pages as a reader meets them, in Chromium; skipped, with the reason, where there is none."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bisenet.data.places import NOTEBOOKS
from bisenet.report.page import build

api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e '.[test]'")

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (  # nothing but the page is asked for; the sandbox does not work for root, nor in most containers
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WIDTHS = {"desktop": 1280, "phone": 390}
PATIENCE = 300  # seconds for all cells of a notebook, on a machine with other work

SETTINGS = {  # all cells are in the page, also those out of sight, and no question about news covers them
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"checkForUpdates": False, "doNotDisturbMode": True, "fetchNews": "false"},
}
READY = """async () => {
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await jupyterapp.commands.execute('notebook:clear-all-cell-outputs');
    jupyterapp.commands.execute('notebook:run-all-cells');
}"""
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
ERRORS = """[...document.querySelectorAll('.jp-OutputArea-output')].filter(output =>
    output.dataset.mimeType == 'application/vnd.jupyter.error' || /Traceback|Error displaying/.test(output.textContent)
).map(output => output.textContent)"""
FIGURES = "[...document.querySelectorAll('.jp-OutputArea-output img')].map(figure => figure.naturalWidth)"


@pytest.fixture(scope="module")
def browser() -> Iterator[api.Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=QUIET.split())
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: api.Browser) -> Iterator[api.Page]:
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def lab(browser: api.Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """Address and token of a JupyterLab on a copy of the notebooks, with settings of its own."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, home / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for name, content in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    folders |= {"JUPYTER_CONFIG_DIR": "configuration", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", "--allow-root"]
    with (home / "log.txt").open("w") as log:
        options = {"stdout": log, "stderr": log, "env": environment, "start_new_session": True}
        server = subprocess.Popen([*command, f"--ServerApp.root_dir={home / 'notebooks'}"], **options)
    try:
        yield connection(server, home)
    finally:
        stop(server)


def connection(server: subprocess.Popen, home: Path) -> dict:
    """What a server writes into its folder as soon as it listens."""
    until = time.monotonic() + 60
    while not (found := list(home.glob("runtime/jpserver-*.json"))):
        running = server.poll() is None and time.monotonic() < until
        assert running, f"JupyterLab did not start within a minute:\n{(home / 'log.txt').read_text()}"
        time.sleep(0.2)
    return json.loads(found[0].read_text())


def stop(server: subprocess.Popen) -> None:
    """End the server's process group; politely first, so that it ends its kernels, which are groups of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(server.pid, number)
            server.wait(20)


def run_all(page: api.Page, lab: dict, name: str) -> None:
    """Open a notebook as a reader would, and run all its cells, to the end or the first error."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{lab['url']}lab/tree/{name}?token={lab['token']}&reset")
    page.wait_for_function(f"window.jupyterapp?.shell?.currentWidget?.context?.path == '{name}'", timeout=60_000)
    page.evaluate(READY)
    done = f"({PROMPTS}).every(text => /\\[\\d+\\]/.test(text)) || ({ERRORS}).length"
    page.wait_for_function(done, timeout=1000 * PATIENCE)


def test_all_cells_of_the_quickstart_run_in_the_browser(page, lab):
    name = "quickstart.ipynb"
    run_all(page, lab, name)
    assert page.evaluate(ERRORS) == []
    cells = [cell for cell in json.loads((NOTEBOOKS / name).read_text())["cells"] if cell["cell_type"] == "code"]
    assert page.evaluate(PROMPTS) == [f"[{number + 1}]:" for number in range(len(cells))]
    figures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    page.wait_for_function(f"({FIGURES}).length >= {figures} && ({FIGURES}).every(width => width > 0)")
    explores(page)


def explores(page: api.Page) -> None:
    """Controls of the explorer change its figure, and a broken photograph gives its line."""
    panel = page.locator(".jp-OutputArea-output .widget-vbox")
    figure = panel.locator("img")
    before = figure.get_attribute("src")
    panel.get_by_role("button", name="Semantic Branch silenced").click()
    api.expect(figure).not_to_have_attribute("src", before, timeout=60_000)
    broken = {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}
    with page.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="own photograph").click()
    chooser.value.set_files(broken)
    api.expect(panel).to_contain_text("holiday.jpg: 10 bytes that cannot be read as a picture", timeout=60_000)


def opens_well(page: api.Page, path: Path) -> None:
    """Assert that a local page loads whole and without errors, and is nowhere wider than a desktop or a phone."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
    for device, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri(), wait_until="networkidle")
        widest = page.evaluate("document.documentElement.scrollWidth")
        assert widest <= width, f"{path.name} is {widest} pixels wide on a {device} of {width}; make it scroll or wrap"
    assert not wrong, f"{path.name} does not load well: {wrong}"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<p>Words that wrap</p>", ""),
        ("<div style='overflow-x: auto'><div style='width: 900px'>A table in a box that scrolls</div></div>", ""),
        ("<div style='width: 900px'>A wide table</div>", "pixels wide on a phone of 390"),
        ("<div style='width: 2000px'>A very wide table</div>", "pixels wide on a desktop of 1280"),
        ("<img src='missing.png' alt=''>", "missing.png"),
        ("<script>undefinedFunction()</script>", "undefinedFunction is not defined"),
    ],
)
def test_pages_that_are_too_wide_or_broken_are_found(page, tmp_path, body, complaint):
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{body}")
    if not complaint:
        opens_well(page, path)
        return
    with pytest.raises(AssertionError, match=complaint):
        opens_well(page, path)


def test_the_page_of_results_opens_well(page, tmp_path, monkeypatch):
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    index = build()
    opens_well(page, index)
    figures = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(figures) > 20
    assert min(figures) > 0
    for whole in sorted(tmp_path.glob("html/as-shipped/*.html")):
        opens_well(page, whole)
