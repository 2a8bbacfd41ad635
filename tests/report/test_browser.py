"""The report in a browser: what a person does with it, offline, from a folder."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from anomalyclip.events.verdicts import read_verdicts
from anomalyclip.report.page import ReportVideo, write_report
from tests.reported import FPS, event, model, scored

EVIL = 'z</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">\''
FRAMES = 60
JPEG = bytes(cv2.imencode(".jpg", np.full((48, 64, 3), 90, dtype=np.uint8))[1])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 6 s: `gate` (two events), `yard` (one), one with an evil name (one), and features alone."""
    folder = tmp_path_factory.mktemp("report")
    draw(folder / "the clip #1.mp4")
    videos = [
        clip("yard", [event("yard", 30, 39, "Arson", peak=0.7, severity="detection")]),
        clip("gate", [event("gate", 10, 19, "Fighting", peak=0.95), event("gate", 40, 44, "Arson", peak=0.85)]),
        clip(EVIL, [event(EVIL, 5, 9, EVIL, peak=0.6, severity="detection")], truth=[(0.5, 1, EVIL)]),
        scored("features", scores=[0.62] * FRAMES),
    ]
    return write_report(folder, model(name=EVIL, note=EVIL), videos)


def clip(name: str, events: list[Any], truth: list[tuple[float, float, str]] | None = None) -> ReportVideo:
    scores = np.full(FRAMES, 0.1)
    for one in events:
        scores[one.start_frame : one.end_frame + 1] = one.peak
    frames = {one.peak_frame: JPEG for one in events}
    return scored(name, events, scores.tolist(), address="the clip #1.mp4", truth=truth, frames=frames)


def draw(file: Path) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(FRAMES):
            picture = np.full((48, 64, 3), 4 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def page(browser: Chrome, report: Path) -> Chrome:
    """The report, opened anew in a browser that has kept nothing."""
    browser.get(report.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".chart canvas"))
    return browser


def wait(browser: Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: condition())


def press(page: Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(page).send_keys(key).perform()


def cards(page: Chrome) -> dict[str, WebElement]:
    """The videos that are shown, by name, in order."""
    shown = [card for card in page.find_elements(By.CSS_SELECTOR, "article.video") if card.is_displayed()]
    return {card.find_element(By.TAG_NAME, "h2").text: card for card in shown}


def shown_events(page: Chrome) -> int:
    """Events that are shown; those of the cards on the screen."""
    return sum(item.is_displayed() for item in page.find_elements(By.CSS_SELECTOR, ".event"))


def current_time(page: Chrome, card: WebElement) -> float:
    players = card.find_elements(By.TAG_NAME, "video")
    return float(page.execute_script("return arguments[0].currentTime", players[0])) if players else -1.0


def text(page: Chrome, name: str) -> str:
    return page.find_element(By.ID, name).text


def test_videos_with_events_come_first_by_their_peak(page: Chrome) -> None:
    # `features` has a higher score than the events of the third
    assert list(cards(page)) == ["gate", "yard", EVIL, "features"]


def test_strings_with_markup_do_nothing_and_the_policy_is_kept(page: Chrome) -> None:
    assert page.execute_script("return window.hacked") is None
    assert EVIL in page.find_element(By.CSS_SELECTOR, "body > header").text
    assert page.find_element(By.ID, "key-truth").is_displayed()
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert page.get_log("browser") == []  # a script or a style that the policy refuses would be here


def test_the_policy_refuses_the_network(page: Chrome) -> None:
    refused = page.execute_async_script(
        """
        const [done, found] = [arguments[0], []];
        addEventListener("securitypolicyviolation", (event) => {
          found.push(event.effectiveDirective);
          if (found.length === 4) done(found.sort());
        });
        const script = document.createElement("script");
        script.src = "http://127.0.0.1:9/x.js";
        document.head.append(script);
        document.createElement("video").src = "http://127.0.0.1:9/x.mp4";
        new Image().src = "http://127.0.0.1:9/x.png";
        fetch("http://127.0.0.1:9/").catch(() => {});
        """
    )
    page.get_log("browser")  # the four refusals are not those of another test
    assert refused == ["connect-src", "img-src", "media-src", "script-src-elem"]


def test_filters_by_class_severity_peak_and_name(page: Chrome) -> None:
    Select(page.find_element(By.ID, "class")).select_by_value("Arson")
    assert list(cards(page)) == ["gate", "yard"]
    assert shown_events(page) == 2
    assert text(page, "shown") == "2 of 4 videos, 2 of 4 events shown"

    Select(page.find_element(By.ID, "severity")).select_by_visible_text("alert")
    assert list(cards(page)) == ["gate"]
    Select(page.find_element(By.ID, "severity")).select_by_visible_text("all")
    Select(page.find_element(By.ID, "class")).select_by_visible_text("all")

    slider = page.find_element(By.ID, "peak")
    page.execute_script("arguments[0].value = 0.65; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert list(cards(page)) == ["gate", "yard"]
    page.find_element(By.ID, "search").send_keys("YAR")
    assert list(cards(page)) == ["yard"]


def test_a_click_on_the_timeline_plays_the_video_there(page: Chrome) -> None:
    card = cards(page)["gate"]
    over = card.find_element(By.CSS_SELECTOR, ".u-over")
    ActionChains(page).move_to_element_with_offset(over, over.size["width"] // 4, 10).click().perform()
    assert 4.4 <= wait(page, lambda: (time := current_time(page, card)) > 0 and time) < 6  # three quarters of 6 s
    wait(page, lambda: card.find_element(By.CSS_SELECTOR, ".playhead").is_displayed())


def test_a_click_on_an_event_plays_the_video_there(page: Chrome) -> None:
    card = cards(page)["yard"]
    card.find_element(By.CSS_SELECTOR, ".go").click()
    assert 3 <= wait(page, lambda: (time := current_time(page, card)) > 0 and time) < 4.5


def test_the_start_button_passes_the_focus_to_the_player(page: Chrome) -> None:
    card = cards(page)["gate"]
    card.find_element(By.CSS_SELECTOR, ".start").send_keys(Keys.ENTER)
    assert wait(page, lambda: (time := current_time(page, card)) > 0 and time) >= 1  # its best event's start
    assert page.switch_to.active_element.tag_name == "video"


def test_without_a_key_frame_a_frame_of_the_event_is_shown_from_the_video(browser: Chrome, tmp_path: Path) -> None:
    videos = [scored("v", [event("v", 30, 39, "Arson")], [0.9] * FRAMES, address="the clip #1.mp4")]
    draw(tmp_path / "the clip #1.mp4")
    browser.get(write_report(tmp_path, model(), videos).as_uri())
    script = "const still = document.querySelector('.stage video'); return still?.readyState > 1 && still.currentTime"
    assert wait(browser, lambda: browser.execute_script(script)) == 3.5


def test_a_video_that_the_browser_cannot_play_says_so_with_its_source(browser: Chrome, tmp_path: Path) -> None:
    videos = [scored("v", [event("v", 0, 1, "Arson")], address="missing.mp4")]
    browser.get(write_report(tmp_path, model(), videos).as_uri())
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".stage .start"))[0].click()
    wait(browser, lambda: "cannot play /videos/v" in browser.find_element(By.CSS_SELECTOR, ".stage").text)
    browser.get_log("browser")  # the missing file


def test_verdicts_by_key_are_kept_and_saved(page: Chrome, downloads: Path) -> None:
    page.find_element(By.ID, "reviewer").send_keys("R. <Viewer>", Keys.ESCAPE)
    press(page, "j", "t", "j", "t", "f", "j", "u", "u", "k", Keys.ENTER)
    wait(page, lambda: current_time(page, cards(page)["gate"]) >= 4)  # the second event's start
    assert text(page, "judged") == "2 of 4 events judged"

    page.refresh()
    assert text(page, "judged") == "2 of 4 events judged"
    press(page, "s")
    saved = downloads / "verdicts.json"
    wait(page, saved.exists)
    content = json.loads(saved.read_text())
    assert [each.verdict for each in read_verdicts(saved)] == ["true", "false"]
    saved.unlink()
    verdicts = content.pop("verdicts")
    assert [datetime.fromisoformat(one.pop("decided_at")).tzinfo is not None for one in verdicts] == [True, True]
    video = {"video_id": "gate", "source": "/videos/gate", "corrected_label": None}
    assert verdicts == [
        {**video, "start_frame": 10, "end_frame": 19, "start": 1, "end": 2, "label": "Fighting", "verdict": "true"},
        {**video, "start_frame": 40, "end_frame": 44, "start": 4, "end": 4.5, "label": "Arson", "verdict": "false"},
    ]
    assert datetime.fromisoformat(content.pop("saved_at")).tzinfo is not None
    identity = content.pop("report_id")
    assert content == {"schema_version": 1, "model": EVIL, "reviewer": "R. <Viewer>"}
    assert f"anomalyclip-report-{identity}" in page.execute_script("return Object.keys(localStorage)")


def test_a_corrected_class_makes_an_event_true_and_a_false_one_has_no_class(page: Chrome, downloads: Path) -> None:
    press(page, "j", "c")
    focused = page.switch_to.active_element
    assert focused.tag_name == "select"
    Select(focused).select_by_visible_text("Arson")
    press(page, Keys.ESCAPE)
    assert last_verdict(page, downloads) == ("true", "Arson")
    cards(page)["gate"].find_element(By.CSS_SELECTOR, "[data-verdict=unsure]").click()
    assert last_verdict(page, downloads) == ("unsure", "Arson")
    press(page, "f")
    assert last_verdict(page, downloads) == ("false", None)


def last_verdict(page: Chrome, downloads: Path) -> tuple[str, str | None]:
    page.find_element(By.ID, "save").click()
    saved = downloads / "verdicts.json"
    wait(page, saved.exists)
    (verdict,) = json.loads(saved.read_text())["verdicts"]
    saved.unlink()
    cards(page)["gate"].find_element(By.CSS_SELECTOR, ".go").send_keys(Keys.SHIFT)  # back on the event
    return verdict["verdict"], verdict["corrected_label"]


def test_keys_skip_events_that_are_filtered_out(page: Chrome) -> None:
    Select(page.find_element(By.ID, "severity")).select_by_visible_text("detection")
    page.execute_script("document.activeElement.blur()")
    press(page, "j", "t")
    yard = cards(page)["yard"].find_element(By.CSS_SELECTOR, "[data-verdict=true]")
    assert yard.get_attribute("aria-pressed") == "true"
    Select(page.find_element(By.ID, "severity")).select_by_visible_text("alert")
    page.execute_script("document.activeElement.blur()")
    press(page, "f")  # the current event is hidden
    assert yard.get_attribute("aria-pressed") == "true"


def test_a_question_mark_shows_the_keys_and_nothing_is_judged_behind_them(page: Chrome) -> None:
    press(page, "j", "?")
    assert page.find_element(By.ID, "help").is_displayed()
    press(page, "t", Keys.ESCAPE)
    assert not page.find_element(By.ID, "help").is_displayed()
    assert text(page, "judged") == "0 of 4 events judged"


@pytest.mark.parametrize(("width", "chart"), [(390, 300), (1200, 800)])
def test_a_timeline_is_wide_and_nothing_is_wider_than_the_screen(page: Chrome, width: int, chart: int) -> None:
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        page.refresh()
        assert page.execute_script("return document.documentElement.scrollWidth") == width
        assert wait(page, lambda: page.find_elements(By.CLASS_NAME, "chart"))[0].size["width"] > chart
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_page_follows_the_scheme_of_the_system(page: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (int(colour.removeprefix("rgb(").partition(",")[0]) < 128) == (scheme == "dark")
