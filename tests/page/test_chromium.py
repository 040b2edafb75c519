"""report.html in a real Chromium: opened from disk, sorted, clicked, played, by keys, in the dark, on a phone.

Skipped where there is no Chromium or no playwright, unless WVAD_REQUIRE_CHROMIUM is set; then they fail.
"""
import io
import os
import re
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from wvad_core.reports import page as pages
from wvad_core.reports import report_pages
from wvad_core.reports.comparison import compare
from wvad_core.reports.page import Page, PageEvent, PageVideo
from wvad_core.reports.results import summarise
from wvad_core.scoring.evaluation import VideoScores

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "</script><img src=x onerror=\"window.hacked=1\"> 'é'\u2028"
SCORES = np.array([0.1, 0.2, 0.9, 0.8, 0.3, 0.05, 0.6, 0.7])
STEP = 0.5
"""Seconds of a snippet of the video that is played."""
CURVE = {"height": 240, "left": 52, "right": 12, "top": 14, "bottom": 26}
"""Where chart.js draws, in pixels."""


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
        reason = None if CHROMIUM else "no Chromium is on the path"
    except ImportError:
        reason = "playwright is not installed"
    if reason:
        (pytest.fail if os.environ.get("WVAD_REQUIRE_CHROMIUM") else pytest.skip)(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def encoded(path, codec="libx264", seconds=4, rate=10):
    """A file of pictures that become brighter."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for k in range(seconds * rate):
            picture = np.full((96, 160, 3), 40 + 4 * k, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def jpeg(grey):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 36), (grey, grey, grey)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The folder of a page of four videos: one that plays, one that is missing, two that are scores alone."""
    folder = tmp_path_factory.mktemp("scored")
    encoded(folder / "shop #1 50%.mp4")
    times = STEP * np.arange(len(SCORES))
    events = [PageEvent(3, 4, 3.5, 0.7, "Fight"), PageEvent(1, 2, 1, 0.9)]
    thumbnails = [(0.0, jpeg(10)), (1.0, jpeg(100)), (3.5, jpeg(200))]
    videos = [PageVideo("quiet 10", times, SCORES / 10, category="Normal"), PageVideo("quiet 9", times, SCORES / 9, truth=[(2, 3)]),
              PageVideo("shop #1 50%.mp4", times, SCORES, events=events, media=folder / "shop #1 50%.mp4",
                        thumbnails=thumbnails, truth=[(1, 2.5)], classes={"Fight": SCORES / 2, "Normal": 1 - SCORES / 2}),
              PageVideo(HOSTILE, times, SCORES[::-1] * 0.99, events=[PageEvent(0, 1, 0.5, 0.6)], thumbnails=thumbnails,
                        media=folder / "no 'such\" 1%20.mp4")]
    pages.write(folder / "report.html", Page("Scores of <b>4</b> videos", videos, threshold=0.5, note="a note"))
    encoded(folder / "old.mp4", "mpeg4")
    pages.write(folder / "relative.html", Page("t", [PageVideo("v", times, 1e-4 * SCORES, media=folder / "old.mp4")]))
    return folder


@contextmanager
def opened(browser, path, expected=(), fragment="", **context):
    """The page, opened from disk; at the end nothing must have gone wrong in it, and nothing left the disk."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
    page, problems, asked = context.new_page(), [], []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(20_000)
    page.goto(path.as_uri() + fragment)
    yield page
    folder = path.parent.as_uri()
    problems += [url for url in asked if not url.startswith((folder, "data:image/jpeg;base64,"))]
    assert [problem for problem in problems if not any(re.search(known, problem) for known in expected)] == []
    assert page.evaluate("window.hacked") is None
    context.close()


MISSING = ("Failed to load resource: net::ERR_FILE_NOT_FOUND",)


def names(page):
    return page.locator("#videos td.name").all_text_contents()


def state(page):
    """Where the cursor is, in seconds, by its place on the screen and by what assistive technology is told; its score."""
    found = page.evaluate("""() => { const box = document.querySelector(".curve svg").getBoundingClientRect();
        const line = document.querySelector(".cursor line").getBoundingClientRect();
        const curve = document.querySelector("#curve"), media = document.querySelector("video");
        return {x: line.x + line.width / 2 - box.x, width: box.width, now: +curve.getAttribute("aria-valuenow"),
                text: curve.getAttribute("aria-valuetext"), length: +curve.getAttribute("aria-valuemax"),
                media: media && media.currentTime, paused: media && media.paused}; }""")
    shown = (found["x"] - CURVE["left"]) / (found["width"] - CURVE["left"] - CURVE["right"]) * found["length"]
    assert shown == pytest.approx(found["now"], abs=0.02)
    return SimpleNamespace(time=found["now"], text=found["text"], media=found["media"], paused=found["paused"])


def click_at(page, seconds, length):
    box = page.locator(".curve svg").bounding_box()
    x = CURVE["left"] + (box["width"] - CURVE["left"] - CURVE["right"]) * seconds / length
    page.mouse.click(box["x"] + x, box["y"] + 100)


def test_opened_sorted_and_filtered(browser, scored):
    with opened(browser, scored / "report.html") as page:
        assert page.title() == page.locator("h1").text_content() == "Scores of <b>4</b> videos"
        by_peak = ["shop #1 50%.mp4", HOSTILE, "quiet 9", "quiet 10"]
        assert names(page) == by_peak
        assert page.locator("h2").text_content() == by_peak[0] and page.locator("article").count() == 1
        for column, order in (("peak", by_peak[::-1]), ("name", [HOSTILE, "quiet 9", "quiet 10", by_peak[0]]),
                              ("name", [by_peak[0], "quiet 10", "quiet 9", HOSTILE]), ("count", [by_peak[0], HOSTILE])):
            page.locator(f"#videos th.{column} button").click()
            assert names(page)[:len(order)] == order
        assert page.locator("#videos th[aria-sort=descending]").text_content() == "events"
        page.fill("#filter", "QUIET norm")
        assert names(page) == ["quiet 10"] and page.locator("#count").text_content() == "1 of 4 videos"
        page.fill("#filter", "<img")
        assert names(page) == [HOSTILE]


def test_the_curve_is_that_of_the_scores(browser, scored):
    """Read back from what is drawn: a step for each snippet; bands where events and ground truth are; the threshold."""
    with opened(browser, scored / "report.html") as page:
        width = page.locator(".curve svg").bounding_box()["width"] - CURVE["left"] - CURVE["right"]
        height = CURVE["height"] - CURVE["top"] - CURVE["bottom"]
        numbers = [float(n) for n in re.findall(r"[\d.]+", page.locator(".curve path.line").get_attribute("d"))]
        x, y, end = np.array(numbers).reshape(-1, 3).T
        assert (x - CURVE["left"]) / width * 4 == pytest.approx(STEP * np.arange(8), abs=0.01)
        assert (end - CURVE["left"]) / width * 4 == pytest.approx(STEP * np.arange(1, 9), abs=0.01)
        assert 1 - (y - CURVE["top"]) / height == pytest.approx(SCORES, abs=1e-3)
        for kind, expected in (("rect.truth", [(1, 2.5)]), ("rect.event", [(1, 2), (3, 4)])):
            ends = page.locator(f".curve {kind}").evaluate_all(
                "all => all.map(r => [r.x.baseVal.value, r.x.baseVal.value + r.width.baseVal.value])")
            found = [[(end - CURVE["left"]) / width * 4 for end in of] for of in ends]
            assert np.array(found) == pytest.approx(np.array(expected), abs=0.01)
        strip = page.locator(".curve rect.truth").evaluate("r => [r.y.baseVal.value, r.height.baseVal.value]")
        assert sum(strip) == CURVE["top"] + height and strip[1] < 10  # below the events' bands, not across them
        assert float(page.locator("line.threshold").get_attribute("y1")) == pytest.approx(CURVE["top"] + height / 2)
        page.locator("#curve").hover(position={"x": CURVE["left"] + width * 2.2 / 8, "y": 100})  # at 1.1 s
        assert page.locator(".tip").inner_text().split("\n") == ["0:01.1", "0.900 score", "0.550 Normal"]


def test_the_list_shows_each_video_small(browser, scored):
    """The key frame nearest to its highest score, and its curve with its events below, or its ground truth."""
    with opened(browser, scored / "report.html") as page:
        assert page.locator("#videos .spark").count() == 4 and page.locator("#videos .small").count() == 2
        shop, pictures = page.locator("#videos tr.chosen"), page.locator(".strip img")
        assert shop.locator("img").get_attribute("src") == pictures.nth(1).get_attribute("src")  # at 1 s
        numbers = re.findall(r"[\d.]+", shop.locator("path.spark-line").get_attribute("d"))
        x, y, end = np.array(numbers, float).reshape(-1, 3).T
        assert x == pytest.approx(100 * np.arange(8) / 8) and end == pytest.approx(x + 100 / 8)
        assert (15 - y) / 14 == pytest.approx(SCORES, abs=0.01)
        marks = shop.locator("rect.event-bar").evaluate_all("all => all.map(r => [r.x.baseVal.value, r.width.baseVal.value])")
        assert np.array(marks) == pytest.approx(np.array([[25, 25], [75, 25]]))
        truth = page.locator(".spark rect.truth").evaluate_all("all => all.map(r => [r.x.baseVal.value, r.width.baseVal.value])")
        assert np.array(truth) == pytest.approx(np.array([[50, 25]]))


def test_a_video_plays_and_the_cursor_is_in_step(browser, scored):
    with opened(browser, scored / "report.html") as page:
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        assert state(page).media == 0 and page.evaluate("document.querySelector('video').duration") == pytest.approx(4)
        page.keyboard.press(" ")
        page.wait_for_function("() => document.querySelector('video').currentTime > 0.4")
        away = page.evaluate("""() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(
            document.querySelector('video').currentTime - +document.querySelector('#curve').ariaValueNow))))""")
        assert abs(away) < 0.15
        page.keyboard.press(" ")
        page.wait_for_function("() => document.querySelector('video').paused")
        page.wait_for_function("() => Math.abs(document.querySelector('video').currentTime"
                               " - document.querySelector('#curve').getAttribute('aria-valuenow')) < 0.02")
        click_at(page, 3.2, 4)
        assert state(page).time == state(page).media == pytest.approx(3.2, abs=0.02)
        assert state(page).text == "0:03, score 0.600"
        page.locator("#events tbody tr").first.click()
        assert state(page).media == 1 and page.locator("#events tr.now").count() == 1
        assert page.locator("#events tbody").inner_text().split() == [
            "0:01", "–", "0:02", "0:01", "0.900", "0:03", "–", "0:04", "0:04", "0.700", "Fight"]
        page.locator(".strip button").last.click()
        assert state(page).media == 3.5
        page.evaluate("document.querySelector('video').currentTime = 2")  # as its own controls do
        page.wait_for_function("() => document.querySelector('#curve').getAttribute('aria-valuenow') === '2.00'")


def test_a_video_that_is_missing(browser, scored):
    """Its key frame nearest to the cursor, and a line that says so."""
    with opened(browser, scored / "report.html", MISSING, "#video-4") as page:
        page.locator(".missing").wait_for()
        assert page.locator("h2").text_content() == HOSTILE and page.locator("video").count() == 0
        said = page.locator(".missing").text_content()
        assert said.startswith("The video cannot be played here: no 'such\" 1%20.mp4 is missing, or")
        click_at(page, 2, 4)
        shown, strip = page.locator(".stage img").get_attribute("src"), page.locator(".strip img")
        assert shown == strip.nth(1).get_attribute("src") != strip.nth(2).get_attribute("src")
        page.keyboard.press(" ")


def test_keys(browser, scored):
    with opened(browser, scored / "report.html", MISSING) as page:
        for key, expected in (("j", HOSTILE), ("j", "quiet 9"), ("ArrowDown", "quiet 10"), ("j", "quiet 10"),
                              ("k", "quiet 9")):
            page.keyboard.press(key)
            page.wait_for_function("name => document.querySelector('h2').firstChild.textContent === name", arg=expected)
            assert page.locator("#videos tr.chosen td.name").all_text_contents() == [expected]
            assert page.locator("#videos a[aria-current]").count() == 1
        for key, time in (("ArrowRight", 0.5), ("ArrowRight", 1), ("ArrowLeft", 0.5)):
            page.keyboard.press(key)
            assert state(page).time == time
        page.keyboard.press("/")
        page.keyboard.type("jk/ ")  # letters, in the field
        assert page.input_value("#filter") == "jk/ " and names(page) == []
        page.fill("#filter", "shop")
        page.keyboard.press("Enter")
        page.wait_for_function("() => location.hash === '#video-3'")
        assert page.evaluate("document.activeElement === document.body")


def test_without_a_threshold_the_curve_is_relative_and_says_so(browser, scored):
    with opened(browser, scored / "relative.html") as page:
        assert "No threshold is known" in page.locator("#no-threshold").inner_text()
        assert page.locator(".threshold").count() == 0 and "100 %" in page.locator(".curve svg").text_content()
        numbers = [float(n) for n in re.findall(r"[\d.]+", page.locator(".curve path.line").get_attribute("d"))][1::3]
        height = CURVE["height"] - CURVE["top"] - CURVE["bottom"]
        page.locator(".missing").wait_for()  # MPEG-4 Part 2 is of a kind that Chromium does not play
        assert page.locator(".missing").text_content().endswith("that this browser does not play.")
        relative = (SCORES - SCORES.min()) / np.ptp(SCORES)
        assert 1 - (np.array(numbers) - CURVE["top"]) / height == pytest.approx(relative, abs=1e-3)


CONTRAST = """() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = colour => parts(colour).slice(0, 3).map(c => linear(c / 255)).reduce(
    (sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const own = e => getComputedStyle(e).backgroundColor, opaque = colour => (parts(colour)[3] ?? 1) === 1;
  const behind = e => !e ? "rgb(255, 255, 255)" : opaque(own(e)) ? own(e) : behind(e.parentElement);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  return [...document.querySelectorAll("body *")].filter(e => e.matches("text") || [...e.childNodes].some(
      n => n.nodeType === 3 && n.textContent.trim()) && !e.matches("script, noscript *, caption"))
    .map(e => [ratio(getComputedStyle(e)[e.matches("text") ? "fill" : "color"], behind(e)), e.outerHTML.slice(0, 90)]);
}"""
UNNAMED = """() => [...document.querySelectorAll("button, input, a, img, video, [role=slider], [role=img]")].filter(
  e => !(e.ariaLabel || e.alt || e.textContent.trim() || e.closest("[aria-hidden]"))).map(e => e.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(browser, scored, scheme):
    """Contrast of all text by the formula of WCAG 2.1, level AA; everything that acts has a name."""
    with opened(browser, scored / "report.html", color_scheme=scheme) as page:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
        found = page.evaluate(CONTRAST)
        assert len(found) > 50 and [what for what in found if what[0] < 4.5] == []
        assert page.evaluate(UNNAMED) == []


def test_on_a_phone(browser, scored):
    """No wider than the screen; what is touched is large enough; a finger moves the cursor."""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, scored / "report.html", **phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        box = page.locator("#videos tbody tr").first.bounding_box()
        assert box["height"] >= 36 and box["width"] >= 380
        page.locator("#videos tbody tr").nth(2).tap()
        page.wait_for_function("() => location.hash === '#video-2'")
        page.wait_for_function("() => document.querySelector('h2').getBoundingClientRect().top < 60")
        curve = page.locator(".curve svg").bounding_box()
        assert curve["x"] >= 0 and curve["x"] + curve["width"] <= 390
        page.locator("#curve").scroll_into_view_if_needed()
        page.locator("#curve").tap(position={"x": CURVE["left"] + (curve["width"] - 64) / 2, "y": 100})
        assert state(page).time == pytest.approx(2, abs=0.05)


def test_2000_videos(browser, tmp_path):
    """Opened at once; of one alone the curve is drawn."""
    rng = np.random.default_rng(0)
    peaks = rng.permutation(2000)
    pages.write(tmp_path / "report.html", Page("t", [PageVideo(f"v{i}", np.arange(150) * 0.5, np.linspace(0, peak, 150))
                                                     for i, peak in enumerate(peaks)], threshold=1000))
    with opened(browser, tmp_path / "report.html") as page:
        assert names(page) == [f"v{i}" for i in np.argsort(-peaks)]
        assert page.locator("path.line").count() == 1 + 1  # and its sample in the legend
        page.keyboard.press("k")
        page.fill("#filter", "v1999")
        assert names(page) == ["v1999"]


def test_nothing_from_elsewhere_is_allowed(browser, scored):
    with opened(browser, scored / "report.html", ("Content Security Policy", "^http://127.0.0.1:9/")) as page:
        blocked = page.evaluate("""async () => {
            const found = [];
            addEventListener("securitypolicyviolation", event => found.push(event.effectiveDirective));
            new Image().src = "http://127.0.0.1:9/x.png";
            await fetch("http://127.0.0.1:9/").catch(() => 0);
            document.body.append(Object.assign(document.createElement("script"), {textContent: "window.hacked = 1"}));
            await new Promise(done => setTimeout(done, 50));
            return found.sort(); }""")
        assert blocked == ["connect-src", "img-src", "script-src-elem"]


def reported(seed):
    rng = np.random.default_rng(seed)
    truth = [np.random.default_rng(i).integers(0, 17, 60) / 16 * (i % 2) for i in range(4)]
    videos = tuple(VideoScores(f"v{i}", ("Fight",) if i % 2 else ("Normal",), bool(i % 2),
                               (rng.random(60) + of).astype(np.float32), of) for i, of in enumerate(truth))
    return summarise(videos, {"method": "m"}, replicates=10, probabilities=False)


def test_the_page_of_a_comparison(browser, tmp_path):
    """Results first, with the ROC curve as it is drawn; then a video with the curves of both runs, over frames."""
    reports = [reported(1), reported(2)]
    pages.write(tmp_path / "report.html", report_pages.of_comparison(compare(reports, ["a", "<b>"], replicates=20)))
    with opened(browser, tmp_path / "report.html", viewport={"width": 390, "height": 844}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#to-overview").get_attribute("aria-current") == "page"
        assert page.locator("#overview h3").all_text_contents() == [
            "Metrics", "Differences from [1]", "Categories", "ROC curve", "Precision-recall curve"]
        for report, line in zip(reports, page.locator(".plot").first.locator("> svg path.line").all()):
            points = np.array(re.findall(r"([\d.]+) ([\d.]+)", line.get_attribute("d")), float)
            x, y = (points[:, 0] - 40) / 300, 1 - (points[:, 1] - 8) / 300
            assert np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) == pytest.approx(report.metrics["auc"], abs=2e-3)
        page.keyboard.press("j")
        page.locator("#curve").wait_for()
        assert page.locator(".curve path.line").count() == 2
        assert page.locator(".legend li").all_text_contents()[:2] == ["[1] a", "[2] <b>"]
        assert page.locator("#readout").inner_text().startswith("frame 0 of 960")
        page.locator("#to-overview").click()
        page.locator("#overview").wait_for()
