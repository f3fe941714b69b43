"""Readers share, a writer is alone, and readers who keep coming do not keep a writer out."""

import threading

from trimtab.retrieval.locking import SharedLock


def test_readers_share() -> None:
    lock = SharedLock()
    both = threading.Barrier(2, timeout=10)

    def read() -> None:
        with lock.shared():
            both.wait()

    other = threading.Thread(target=read)
    other.start()
    read()
    other.join()


def test_a_writer_waits_for_readers_and_goes_before_new_ones() -> None:
    lock = SharedLock()
    order: list[str] = []
    reading, release = threading.Event(), threading.Event()

    def first() -> None:
        with lock.shared():
            reading.set()
            assert release.wait(10)
            order.append("first reader")

    def write() -> None:
        with lock.exclusive():
            order.append("writer")

    def second() -> None:
        with lock.shared():
            order.append("second reader")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert reading.wait(10)
    threads.append(threading.Thread(target=write))
    threads[1].start()
    while not lock.is_wanted:
        threading.Event().wait(0.001)
    threads.append(threading.Thread(target=second))
    threads[2].start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first reader", "writer", "second reader"]


def test_writers_are_alone() -> None:
    """Two threads raise two numbers that must stay equal, a third looks."""
    lock = SharedLock()
    numbers = [0, 0]
    wrong: list[tuple[int, int]] = []
    done = threading.Event()

    def write() -> None:
        for _ in range(500):
            with lock.exclusive():
                numbers[0] += 1
                numbers[1] += 1

    def read() -> None:
        while not done.is_set():
            with lock.shared():
                if numbers[0] != numbers[1]:
                    wrong.append((numbers[0], numbers[1]))

    writers = [threading.Thread(target=write) for _ in range(2)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert numbers == [1000, 1000]
    assert wrong == []


def test_an_error_inside_gives_the_lock_back() -> None:
    lock = SharedLock()
    for hold in (lock.shared, lock.exclusive):
        try:
            with hold():
                raise KeyError
        except KeyError:
            pass
    with lock.exclusive():
        pass
