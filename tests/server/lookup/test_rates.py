import pytest

from server.lookup.rates import rate_headers, retry_header
from server.lookup.service import Usage


def usage(used=30, resets_at=2000):
    return Usage(epoch=5, quota=100, used=used, resets_at=resets_at, period_s=500)


def test_headers_say_what_is_left_and_when_it_is_renewed():
    assert rate_headers(usage(), 1900) == {
        "RateLimit-Policy": '"epoch";q=100;w=500',
        "RateLimit": '"epoch";r=70;t=100',
    }


@pytest.mark.parametrize(("used", "now"), [(100, 2000), (120, 2500)])
def test_nothing_is_negative(used, now):
    assert rate_headers(usage(used), now)["RateLimit"] == '"epoch";r=0;t=0'
    assert retry_header(usage(used), now) == {"Retry-After": "1"}
