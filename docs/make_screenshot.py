"""Takes docs/report.png: the page that `wvad demo --video` writes, in Chromium.

Run: python docs/make_screenshot.py [FOLDER]     the demo's output, which is made where it is not there
"""
from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from wvad_core.cli import demo

SIZE = {"width": 1200, "height": 750}
SHOWN, SECOND = "fighting", 13.4
PICTURE = Path(__file__).with_name("report.png")
COLOURS = 256
"""Of the picture's palette."""


SOUGHT = """async seconds => {
    const video = document.querySelector("video");
    const heard = name => new Promise(done => video.addEventListener(name, done, {once: true}));
    if (video.readyState < 2) await heard("loadeddata");
    video.currentTime = seconds;
    await heard("seeked");
    video.controls = false;  // which are not seen while it plays
}"""
"""Shows a second of the video, and ends when it is there."""


def main(folder: Path) -> None:
    page_file = folder / "report.html"
    if not page_file.exists():
        demo.main(["--video", "--output", str(folder)])
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", device_scale_factor=1)
        page.goto(page_file.as_uri())
        page.locator(f"#videos a[title={SHOWN}]").click()
        page.evaluate(SOUGHT, SECOND)
        page.mouse.move(1, 1)
        page.wait_for_timeout(600)
        taken = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    taken.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1024} kB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
