"""The log's bench measures a log that verifies; its figures depend on the disk."""

from clients.bench.log import log_text, measure_log


def test_small_log_is_measured_and_verified():
    told = []
    figures = measure_log(entries=600, threads=2, seconds=0.2, tell=told.append)
    assert set(figures["append"]) == {
        "1_thread", "threads", "with_private_parts", "four_times_the_threads",
    }  # fmt: skip
    assert all(rate["per_s"] > 0 for rate in figures["append"].values())
    assert set(figures["read_s"]) == {"checkpoint", "export", "verify", "proof"}
    assert "600 entries" in log_text(figures)
    assert told[-1] == "reading 600 entries"
