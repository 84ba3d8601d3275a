"""The report in a real browser: no word on its console, nothing wider than the screen, names and contrast by axe.

Needs Chromium (Debian's chromium-headless-shell or chromium), and for the last test npm's axe-core in node_modules/ or
where VFIOSTATE_AXE says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.project.test_rooms import TOP
from tests.report.test_explain import Histories
from tests.report.test_page import report

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
AXE = Path(os.environ.get("VFIOSTATE_AXE", TOP / "node_modules/axe-core/axe.min.js"))

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="needs Chromium"), pytest.mark.slow]

# What the page itself may not do is done to a copy of it: its policy is taken out, and a script put in.
ASK_WIDTH = "document.body.dataset.found = JSON.stringify([document.documentElement.scrollWidth, innerWidth])"
ASK_AXE = """
  document.querySelectorAll('details').forEach(one => one.open = true);
  axe.run({resultTypes: ['violations', 'incomplete']}).then(found => {
    document.body.dataset.found = JSON.stringify(
      found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 150) + node.failureSummary)])
        .concat([['passes', found.passes.map(one => one.id)]]));
  });"""


def browse(page: Path, width: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Chromium on a page."""
    argv = ["--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},2000",
            f"--user-data-dir={page.parent}/profile", "--virtual-time-budget=20000"]  # fmt: skip
    return subprocess.run(
        [str(BROWSER), *argv, *options, f"file://{page}"], capture_output=True, text=True, timeout=280, check=True
    )


def asked(page: str, tmp_path: Path, width: int, script: str, *options: str) -> Any:
    """What a script finds out about a page."""
    copied = tmp_path / "asked.html"
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    copied.write_text(bare.replace("</body>", f"<script>{script}</script></body>"))
    found = re.search(r'data-found="([^"]*)"', browse(copied, width, "--dump-dom", *options).stdout)
    assert found is not None
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_quiet_and_fits_the_screen(histories: Histories, tmp_path: Path, width: int) -> None:
    page = report(histories["failed"], tmp_path)
    picture = tmp_path / "page.png"
    done = browse(tmp_path / "report.html", width, f"--screenshot={picture}")
    assert picture.stat().st_size > 10_000
    assert "CONSOLE" not in done.stderr
    scrolled, inner = asked(page, tmp_path, width, ASK_WIDTH)
    assert scrolled <= inner == width


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("history", ["failed", "back"])
def test_names_contrast_and_structure_are_as_people_need_them(
    histories: Histories, tmp_path: Path, history: str, scheme: str
) -> None:
    page = report(histories[history], tmp_path)
    options = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    *violations, passes = asked(page, tmp_path, 390, AXE.read_text() + ASK_AXE, *options)
    assert violations == []
    assert {"color-contrast", "svg-img-alt", "scrollable-region-focusable"} <= set(passes[1])
