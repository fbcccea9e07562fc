"""The second place: one of several swaps wins, and nothing is lost."""

import threading

from compliance.log.second import FileCheckpoints

A, B = "hub.example/audit/2026", "hub.example/audit/2027"


def test_checkpoints_of_logs_are_apart_and_survive(tmp_path):
    place = FileCheckpoints(tmp_path / "second")
    assert place.load(A) is None
    assert place.swap(A, None, b"one")
    assert place.load(B) is None
    again = FileCheckpoints(tmp_path / "second")
    assert again.load(A) == b"one"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "second").iterdir())


def test_swap_from_another_checkpoint_changes_nothing(tmp_path):
    place = FileCheckpoints(tmp_path)
    assert not place.swap(A, b"one", b"two")
    assert place.swap(A, None, b"one")
    assert not place.swap(A, None, b"two")
    assert place.load(A) == b"one"


def test_one_of_many_swaps_wins_each_time(tmp_path):
    place = FileCheckpoints(tmp_path)
    place.swap(A, None, b"0")
    won = []

    def work(name):
        mine = FileCheckpoints(tmp_path) if name % 2 else place
        while (old := mine.load(A)) != b"40":
            new = b"%d" % (int(old) + 1)
            if mine.swap(A, old, new):
                won.append(new)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [b"%d" % number for number in range(1, 41)]


def test_origin_cannot_leave_the_directory(tmp_path):
    place = FileCheckpoints(tmp_path / "second")
    place.swap("../../outside", None, b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
