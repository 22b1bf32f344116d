"""The README's picture, made from the real thing: `python -m tests.browser.picture`."""

import shutil
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import QUIET
from tests.products import free_port, start_product

PICTURE = Path(__file__).parent / "dashboard.png"
SPEC = {
    "name": "two spirals",
    "dataset": {"source": "generator", "name": "spirals", "rows": 3000, "noise": 0.08},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 64, "activation": "tanh"}] * 2},
    "training": {"epochs": 240, "batch_size": 8, "optimizer": {"type": "adam", "learning_rate": 0.0004}},
}

with tempfile.TemporaryDirectory() as folder, start_product(Path(folder), free_port()) as product:
    job = product.post("/v1/jobs", SPEC).json()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        page = browser.new_page(viewport={"width": 1120, "height": 620}, device_scale_factor=1.5)
        page.goto(product.login_link)
        page.goto(product.url + job["links"]["page"])
        while product.get(job["links"]["self"]).json()["progress"]["fraction"] < 0.6:
            time.sleep(0.1)
        time.sleep(0.5)
        page.screenshot(path=PICTURE)
        browser.close()
print(PICTURE.name, PICTURE.stat().st_size, "bytes")
