"""The page in a real browser: what a person does with it, and what it says."""

import base64
import re
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from common.serve.app import create_app
from common.serve.served import find
from tests.common.serve.clients import PATIENT, running
from tests.toys import CLASSES

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: make install-browser")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PATIENCE = 300_000  # ms, which only what hangs takes
LIMITS = replace(PATIENT, megabytes=0.2, megapixels=1)
PNG = cv2.imencode(".png", np.full((20, 30), 90, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def app(drawn):
    return create_app(find(str(drawn), None, None, tta=False, threads=1), LIMITS)


@pytest.fixture(scope="module")
def address(app):
    with running(app) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page, and at the end holds it to what must be true of every visit."""
    contexts, errors, asked = [], [], []

    def open_page(ready=True, **options):
        context = browser.new_context(**{"locale": "en-GB", **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        if ready:
            page.wait_for_selector("#example-list button")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, f"blob:{address}"))] == []


def bars(page):
    """[(name, share in %)], once they are there."""
    page.wait_for_selector("#result[aria-busy=false] .bar")
    names, shares = (
        page.locator(".bar .name").all_inner_texts(),
        page.locator(".bar .share").all_inner_texts(),
    )
    return list(zip(names, (float(share.rstrip("%")) for share in shares), strict=True))


def choose(page, content=PNG, name="a.png"):
    page.set_input_files("#file", [{"name": name, "mimeType": "image/png", "buffer": content}])


def transfer(page, content=PNG):
    """A DataTransfer with a file, as a drop or the clipboard brings it; None: with text alone."""
    return page.evaluate_handle(
        """text => {
            const transfer = new DataTransfer();
            if (text === null) transfer.setData("text/plain", "words");
            else {
                const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
                transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
            }
            return transfer;
        }""",
        None if content is None else base64.b64encode(content).decode(),
    )


def check_answer(page):
    found = bars(page)
    assert sorted(name for name, _ in found) == CLASSES
    shares = [share for _, share in found]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.3)
    widths = page.eval_on_selector_all(".fill", "all => all.map((one) => parseFloat(one.style.width))")
    assert widths == pytest.approx(shares, abs=0.06)
    assert found[0][0] == page.inner_text("#best-name")
    assert found[0][0] in page.inner_text("#spoken")  # what a screen reader says


def test_a_file_dropped_chosen_or_pasted_becomes_bars(opened):
    page = opened()
    for bring in ("drop", "choose", "paste"):
        if bring == "drop":
            page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(page)})
        elif bring == "choose":
            choose(page)
        else:
            page.evaluate(
                "clipboardData => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData }))",
                transfer(page),
            )
        check_answer(page)
        assert (
            page.locator("#preview").is_visible() and page.get_attribute("#spoken", "aria-live") == "polite"
        )
        page.evaluate("document.querySelectorAll('.bar').forEach((one) => one.remove())")


def test_an_example_becomes_bars_and_a_heat_map_for_each_class(opened):
    page = opened()
    assert page.locator("#sample").is_visible()
    page.locator("#example-list button").first.click()
    check_answer(page)
    label = page.locator("#example-list button").first.inner_text().strip()
    assert page.inner_text("#truth") == f"This picture's label: {label}"
    page.wait_for_selector("#heat:not([hidden])")
    assert (
        page.eval_on_selector(
            "#heat-picture", "async (one) => { await one.decode(); return one.naturalWidth }"
        )
        == 448
    )
    second = page.locator(".bar").nth(1)
    first = page.get_attribute("#heat-picture", "src")
    second.click()
    page.wait_for_function("before => document.getElementById('heat-picture').src !== before", arg=first)
    assert second.get_attribute("aria-pressed") == "true"
    name = second.locator(".name").inner_text()
    assert name in page.get_attribute("#heat-picture", "alt") and name in page.inner_text("#spoken")


def test_the_picture_chosen_last_is_the_one_answered(opened):
    page = opened()
    held = []
    # Its picture is there; when it is clicked, it is asked for once more, and that answer waits.
    page.route("**/page/examples/0", lambda route: held.append(route))
    buttons = page.locator("#example-list button")
    buttons.nth(0).click()
    while not held:
        page.wait_for_timeout(10)
    buttons.nth(1).click()
    check_answer(page)
    held[0].continue_()
    page.wait_for_timeout(500)
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    assert buttons.nth(0).get_attribute("aria-pressed") == "false"


def test_a_drawing_is_not_asked_for_after_a_picture(opened):
    page = opened()
    page.get_by_role("tab", name="Draw").click()
    stroke(page, force=0.5, height=0.5)
    page.locator("#example-list button").first.click()  # before the pen has paused for long
    check_answer(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1000)
    assert not [url for url in asked if "predict" in url] and page.locator("#truth").is_visible()


def stroke(page, force, height):
    """A horizontal stroke of a pen that presses so much, at a share of the paper's height."""
    box = page.locator("#paper").bounding_box()
    pen = page.context.new_cdp_session(page)
    options = {"button": "left", "buttons": 1, "pointerType": "pen", "force": force, "clickCount": 1}
    y = box["y"] + height * box["height"]
    for kind, share in [
        ("mousePressed", 0.2),
        ("mouseMoved", 0.5),
        ("mouseMoved", 0.8),
        ("mouseReleased", 0.8),
    ]:
        x = box["x"] + share * box["width"]
        pen.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **options})


def test_a_drawing_is_black_on_white_as_wide_as_the_pen_presses(opened):
    page = opened()
    page.get_by_role("tab", name="Draw").click()
    sent = page.evaluate_handle(  # a file in a form, which the browser does not show to those who watch its requests
        """() => { return { of: new Promise((resolve) => {
            const send = FormData.prototype.append;
            FormData.prototype.append = function (name, blob, ...rest) {
                blob.bytes().then((bytes) => resolve([...bytes]));
                send.call(this, name, blob, ...rest);
            };
        }) }; }"""
    )
    stroke(page, 0.2, 0.3)
    stroke(page, 1.0, 0.7)
    check_answer(page)
    picture = cv2.imdecode(np.array(sent.evaluate("({ of }) => of"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] == picture.shape[1] and set(picture[[0, 0, -1, -1], [0, -1, 0, -1]].ravel()) == {
        255
    }
    ink = (picture[:, picture.shape[1] // 2, 0] < 128).astype(int)  # a cut through both strokes
    starts, ends = np.flatnonzero(np.diff(ink) == 1), np.flatnonzero(np.diff(ink) == -1)
    thin, thick = ends - starts
    assert thick == pytest.approx(64, abs=4) and thin == pytest.approx(
        64 * 0.36, abs=4
    )  # page.brush is 0.1 of 640


def test_strokes_can_be_undone_and_cleared(opened):
    page = opened()
    page.get_by_role("tab", name="Draw").click()
    paper = "() => document.getElementById('paper').toDataURL()"
    blank = page.evaluate(paper)
    assert page.get_by_role("button", name="Undo").is_disabled()
    stroke(page, 0.5, 0.3)
    one = page.evaluate(paper)
    stroke(page, 0.5, 0.7)
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(paper) == one != blank
    page.get_by_role("button", name="Clear").click()
    assert page.evaluate(paper) == blank
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_the_keyboard_alone_reaches_everything(opened):
    page = opened()
    reached = {}
    for _ in range(40):
        page.keyboard.press("Tab")
        name, visible = page.evaluate(
            """() => {
                const one = document.activeElement;
                const shown = one.id === "file" ? one.nextElementSibling : one;
                const name = one.id || one.className || one.closest("ul")?.id;
                return [name, getComputedStyle(shown).outlineStyle !== "none"];
            }"""
        )
        if name in reached and name != "example-list":
            break
        reached[name] = visible
    assert {"language", "picture-tab", "file", "example-list"} <= set(reached)
    assert all(reached[name] for name in ("language", "picture-tab", "file", "example-list"))
    page.focus("#example-list button")
    page.keyboard.press("Enter")
    check_answer(page)
    page.wait_for_selector("#heat:not([hidden])")
    page.focus("li:nth-child(2) > .bar")
    page.keyboard.press("Space")
    assert page.locator(".bar").nth(1).get_attribute("aria-pressed") == "true"
    page.focus("#picture-tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "draw-tab" and page.locator("#paper").is_visible()


def test_every_control_and_picture_has_a_name(opened):
    page = opened()
    choose(page)
    check_answer(page)
    page.wait_for_selector("#heat:not([hidden])")
    for tab in ("picture", "draw"):
        page.click(f"#{tab}-tab")
        for role in ("button", "tab", "slider", "img", "tabpanel"):
            for one in page.get_by_role(role).all():
                assert re.search(r'"[^"]+"', one.aria_snapshot().splitlines()[0]), one.aria_snapshot()


def test_two_languages(opened):
    page = opened(locale="zh-CN")
    assert (
        page.get_attribute("html", "lang") == "zh-CN" and page.inner_text("#result-title") == "最可能的结果"
    )
    choose(page)
    bars(page)
    assert "最可能是" in page.inner_text("#spoken")
    page.evaluate(
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))"
    )
    assert "没有图片" in page.inner_text("#problem")
    page.get_by_role("button", name="English").click()
    assert page.get_attribute("html", "lang") == "en" and page.inner_text("#result-title") == "Most likely"
    assert "no picture" in page.inner_text("#problem")
    page.reload()
    page.wait_for_selector("#example-list button")
    assert page.inner_text("#result-title") == "Most likely"  # it is remembered
    assert opened(locale="de-DE").inner_text("#result-title") == "Most likely"


def test_both_languages_say_the_same_things(opened):
    page = opened()
    english, chinese = page.evaluate(
        """async () => {
            const { switchLanguage, words } = await import("/page/words.js");
            const keys = (all) => Object.entries(all).flatMap(([key, one]) =>
                typeof one === "object" ? keys(one).map((inner) => `${key}.${inner}`) : [`${key}:${typeof one}`]);
            const first = keys(words());
            switchLanguage();
            return [first, keys(words())];
        }"""
    )
    assert english == chinese and len(english) > 30


def test_errors_say_what_to_do(opened, app):
    page = opened()
    page.evaluate(
        """() => {
            window.errors = 0;
            document.getElementById("preview").addEventListener("error", () => (window.errors += 1));
        }"""
    )

    def problem():
        page.wait_for_selector("#result[aria-busy=false] #problem p")
        assert page.locator("#answer").is_hidden()
        return page.inner_text("[role=alert]")

    choose(page, b"words")
    assert "not a picture that can be read" in problem()
    page.wait_for_function("window.errors > 0")
    page.wait_for_timeout(300)
    assert page.evaluate("window.errors") == 1
    choose(page, PNG[:60])
    assert "damaged" in problem()
    choose(page, bytes(300_000))
    assert "too large. It may have 0.2 MB" in problem()
    choose(page, cv2.imencode(".png", np.zeros((1200, 1200), np.uint8))[1].tobytes())
    assert "1 million pixels" in problem() and "The service says" in problem()
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(page, None)})
    assert "no picture in what you dropped" in problem()
    service = app.state.service
    service.working += LIMITS.requests
    try:
        choose(page)
        assert "busy" in problem()
    finally:
        service.working -= LIMITS.requests
    page.get_by_role("button", name="Try again").click()
    check_answer(page)
    assert page.inner_text("#problem") == ""
    page.context.set_offline(True)
    choose(page)
    assert "cannot be reached" in problem()


def test_the_page_waits_for_the_model(opened, app):
    batcher = app.state.service.batcher
    batcher.model, model = None, batcher.model
    try:
        page = opened(ready=False)
        page.wait_for_selector("#loading:not([hidden])")
    finally:
        batcher.model = model
    page.wait_for_selector("#example-list button")
    assert page.locator("#loading").is_hidden()


def test_a_model_that_has_stopped_is_not_said_to_load(opened, app):
    batcher = app.state.service.batcher
    batcher.closed = True
    try:
        page = opened(ready=False, viewport={"width": 400, "height": 800})
        page.wait_for_selector("#problem p")
        assert page.locator("#loading").is_hidden()
        assert "has stopped" in page.inner_text("[role=alert]")  # nothing, if the card were hidden
        page.click("#language")
        assert (
            opened(ready=False, locale="zh-CN")
            .wait_for_selector("#problem p")
            .inner_text()
            .startswith("模型已停止")
        )
    finally:
        batcher.closed = False
    page.wait_for_selector("#example-list button")
    assert page.inner_text("#problem") == ""


def test_a_phone_shows_that_the_first_picture_is_worked_on(opened):
    page = opened(viewport={"width": 400, "height": 800}, is_mobile=True, has_touch=True)
    assert page.locator("#result").is_hidden()
    answers = []
    page.route("**/predict*", lambda route: answers.append(route))
    choose(page)
    page.wait_for_selector("#result[aria-busy=true]")
    assert page.locator("#result-title").bounding_box()["y"] < 700
    while not answers:
        page.wait_for_timeout(10)
    answers[0].continue_()
    check_answer(page)


def test_chinese_names_are_marked_on_an_english_page(opened):
    page = opened()
    rows = [
        {"label": label, "name": name, "probability": 0.25}
        for label, name in enumerate(["废旧 电池", "T恤", "cup", "草"])
    ]
    page.route("**/predict*", lambda route: route.fulfill(json={"predictions": rows}))
    choose(page)
    page.wait_for_selector("#heat:not([hidden])")
    marked = (
        "all => all.map((one) => [...one.querySelectorAll('[lang=zh-CN]')].map((part) => part.innerText))"
    )
    assert page.eval_on_selector_all(".bar .name", marked) == [["废旧", "电池"], ["恤"], [], ["草"]]
    assert page.eval_on_selector_all("#best-name, #heat-text, #spoken", marked) == [
        *(["废旧", "电池", "恤", "草"], ["废旧", "电池"], ["废旧", "电池"]),
    ]
    assert page.inner_text("#best-name") == "废旧 电池"
    unmarked = """() => {
        document.querySelector("noscript").remove(); // its elements are text where there are scripts
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const found = [];
        while (texts.nextNode())
        {
            const { data, parentElement } = texts.currentNode;
            if (/\\p{Script=Han}/u.test(data) && parentElement.closest("[lang]").lang === "en") found.push(data);
        }
        return found;
    }"""
    assert page.evaluate(unmarked) == []
    page.click("#language")
    assert page.locator("#best-name [lang]").count() == 0  # all of it is Chinese


def test_pictures_that_are_shown_no_more_are_freed(opened):
    page = opened()
    page.evaluate(
        """() => {
            const [make, free] = [URL.createObjectURL, URL.revokeObjectURL];
            window.held = new Set();
            URL.createObjectURL = (blob) => { const made = make(blob); window.held.add(made); return made; };
            URL.revokeObjectURL = (made) => { window.held.delete(made); free(made); };
        }"""
    )
    for _ in range(3):
        page.evaluate("document.getElementById('heat-picture').src = ''")
        choose(page)
        page.wait_for_function("() => document.getElementById('heat-picture').src.startsWith('blob:')")
    assert page.evaluate("window.held.size") == 2  # the picture and its heat map


@pytest.mark.parametrize("width", [320, 600])
def test_nothing_scrolls_sideways_on_a_phone(opened, width):
    page = opened(viewport={"width": width, "height": 800}, is_mobile=True, has_touch=True)
    overhang = "() => document.documentElement.scrollWidth - innerWidth"
    assert (
        page.locator("label[for=camera]").is_visible()
        and page.get_attribute("#camera", "capture") == "environment"
    )
    for language in ("en", "zh-CN"):
        assert page.get_attribute("html", "lang") == language
        assert page.evaluate(overhang) <= 0
        choose(page)
        check_answer(page)
        page.wait_for_selector("#heat:not([hidden])")
        assert page.evaluate(overhang) <= 0
        page.click("#draw-tab")
        assert page.evaluate(overhang) <= 0
        page.click("#language")
    small = page.eval_on_selector_all(
        "button, .button", "all => all.filter((one) => one.offsetHeight && one.offsetHeight < 40).length"
    )
    assert small == 0  # fingers need room


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(opened, scheme):
    page = opened(color_scheme=scheme)
    pairs = ["ink ground", "soft ground", "ink card", "soft card", "soft track", "soft tint", "ink tint"]
    pairs += ["on-accent accent", "on-notice notice", "on-problem problem"]
    for pair in pairs:
        text, ground = (luminance(page, name) for name in pair.split())
        lighter, darker = max(text, ground), min(text, ground)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (
            pair
        )  # https://www.w3.org/TR/WCAG21/#contrast-minimum


def luminance(page, name):
    colour = page.evaluate(
        """name => {
            document.body.style.color = `var(--${name})`;
            return getComputedStyle(document.body).color;
        }""",
        name,
    )
    channels = np.array([int(number) for number in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
