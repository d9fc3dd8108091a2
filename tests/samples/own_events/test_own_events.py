import multiprocessing
import sys

import events


def test_own_module():
    assert events.NAME == "the project's own events"


def test_no_new_names():
    assert not any("scripts" in path for path in sys.path)
    assert "EvidenceError" not in dir(events)


def test_spawned_process():
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=print)
    process.start()
    process.join()
    assert process.exitcode == 0
