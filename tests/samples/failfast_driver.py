"""Runs pytest many times, each in a fork of one process that has loaded the platform's conftest.py.

Reads from stdin a JSON list of cases {dir, args, files, words} (files, words: the order to use), writes a list of
{code, ran, setups}: pytest's status, the ids in the order in which they ran, the session fixtures set up.
"""

import importlib.util
import json
import os
import sys

import pytest

spec = importlib.util.spec_from_file_location("tpr_conftest", sys.argv[1])
platform = importlib.util.module_from_spec(spec)
sys.modules["tpr_conftest"] = platform
spec.loader.exec_module(platform)


class Spy:
    def __init__(self):
        self.ran, self.setups = [], []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid):
        self.ran.append(nodeid)

    def pytest_fixture_setup(self, fixturedef):
        if fixturedef.scope == "session":
            self.setups.append(fixturedef.argname)


def run(case):
    os.chdir(case["dir"])
    sys.path.insert(0, case["dir"])
    order = platform.Order("forced", tuple(case.get("files", ())), case.get("words", {}))
    platform.find_order = lambda *_: order
    spy = Spy()
    code = pytest.main(["-p", "tpr_conftest", "-p", "no:cacheprovider", *case["args"]], plugins=[spy])
    return {"code": int(code), "ran": spy.ran, "setups": spy.setups}


def fork(case):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(writer, json.dumps(run(case)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return json.loads(said or "null")


sys.stdout, quiet = open(os.devnull, "w"), sys.stdout
pytest.main(["--help"])  # the forks need not load every plugin anew
sys.stdout = quiet
print(json.dumps([fork(case) for case in json.load(sys.stdin)]))
