"""Which pictures are shown, and which hosts a browser may load them from."""

from __future__ import annotations

import pytest

from consumers.console.pictures import Pictures
from pipeline.config import MediaConfig
from tests.support.console_harness import VIEWER_KEY, ConsoleHarness, keyed
from tests.support.serve_harness import World

HOSTS = MediaConfig(
    hosts=("img.example.com", ".cdn.example.com", "127.0.0.1:9000"),
    encoders={"photo": "efficientnet-lite0", "sound": "speech-embedding", "drawing": "./vit"},
)


@pytest.mark.parametrize(
    ("media", "chosen"),
    [
        ({"photo": "https://img.example.com/1"}, "https://img.example.com/1"),
        ({"drawing": "http://a.cdn.example.com/1"}, "http://a.cdn.example.com/1"),
        ({"cover": "http://127.0.0.1:9000/a.JPG?w=2"}, "http://127.0.0.1:9000/a.JPG?w=2"),
        (
            {"sound": "https://img.example.com/a.png", "photo": "https://img.example.com/2"},
            "https://img.example.com/2",
        ),
        ({"cover": "https://img.example.com/a.wav"}, ""),
        ({"photo": "https://evil.example.com/a.png"}, ""),
        ({"photo": "https://img.example.com:8443/a.png"}, ""),
        ({"photo": "https://img.example.com@evil.example.com/a.png"}, ""),
        ({}, ""),
    ],
)
def test_the_first_picture_of_an_allowed_host_is_shown(media: dict[str, str], chosen: str) -> None:
    assert Pictures(HOSTS).chosen(media) == chosen


def test_without_hosts_no_picture_is_shown() -> None:
    assert Pictures(MediaConfig()).chosen({"photo": "https://img.example.com/a.png"}) == ""


def test_the_policy_of_contents_allows_these_hosts_for_pictures_alone(open_shop: World) -> None:
    plain = ConsoleHarness(open_shop)
    headers = plain.browser(VIEWER_KEY).get("/ask").headers
    assert "img-src 'self';" in headers["Content-Security-Policy"]
    settings = open_shop.settings
    open_shop.settings = settings.model_copy(update={"media": HOSTS})
    try:
        headers = ConsoleHarness(open_shop, keyed()).browser(VIEWER_KEY).get("/ask").headers
    finally:
        open_shop.settings = settings
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["img-src"] == (
        "'self' https://img.example.com http://img.example.com https://*.cdn.example.com "
        "http://*.cdn.example.com https://127.0.0.1:9000 http://127.0.0.1:9000"
    )
    assert {policy[name] for name in ("script-src", "connect-src", "form-action")} == {"'self'"}
