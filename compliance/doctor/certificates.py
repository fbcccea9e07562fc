"""How long certificates last, told in days."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from compliance.doctor.seen import DAY_S, FAIL, Seen, lasting

# A certificate is renewed by itself when a third of its time is left: at two weeks it was not.
LEAST_S = 14 * DAY_S
SOON_S = 30 * DAY_S


def certificate_lasts(path: Path, now: int, *, warn_s: int = SOON_S, fail_s: int = LEAST_S) -> Seen:
    """Judge a certificate (PEM) by its end, and by its beginning where the clock is wrong."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    begins = certificate.not_valid_before_utc.timestamp()
    if now < begins:
        day = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
        return Seen(FAIL, f"begins on {day}, after this machine's clock; set the clock")
    ends = certificate.not_valid_after_utc
    seen = lasting(ends.timestamp() - now, warn_s=warn_s, fail_s=fail_s)
    return Seen(seen.level, f"{seen.found}, until {ends:%Y-%m-%d}")
