"""Makes the n-th write (or read) of a process and its children go wrong; Python imports it by itself from PYTHONPATH.

FAULT_COUNT  a file that gets a line of 120 bytes per write, so the n-th line is the n-th write of all processes
FAULT_WITHIN only paths that start with this count
FAULT_KIND   write: what opens, makes, writes, syncs or renames; read: what opens a file to read it; clock
FAULT_AT     which one goes wrong (0: none)
FAULT_DO     an errno's name; kill, torn (half is written, then kill), short (half is written, then the disk is full);
             gone (the file is removed); slow (every one waits a moment)
FAULT_STAY   if set, everything after it goes wrong as well: a full disk
"""

import builtins
import errno
import io
import os
import random
import signal
import sys
import time

WITHIN, KIND = os.environ.get("FAULT_WITHIN", "\0"), os.environ.get("FAULT_KIND", "")
AT, DO, STAY = int(os.environ.get("FAULT_AT", "0")), os.environ.get("FAULT_DO", ""), "FAULT_STAY" in os.environ
COUNT = os.open(os.environ["FAULT_COUNT"], os.O_RDWR | os.O_APPEND | os.O_CREAT) if KIND in ("write", "read") else -1
WIDTH = 120
real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "rename", "mkdir", "sendfile")}
real_open, chance = io.open, random.Random()


def path_of(what):
    try:
        return os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.path.abspath(os.fsdecode(what))
    except (OSError, TypeError, ValueError):
        return ""


def due(kind, what):
    """Count this operation; what is to be done to it, if anything."""
    path = path_of(what)
    if not path.startswith(WITHIN):
        return ""
    line = f"{kind} {path[len(WITHIN):]}"[: WIDTH - 1]
    real["write"](COUNT, (line.ljust(WIDTH - 1) + "\n").encode("utf-8", "replace")[:WIDTH])
    number = os.lseek(COUNT, 0, os.SEEK_CUR) // WIDTH
    if DO == "slow":
        time.sleep(chance.uniform(0, 0.004))
    return DO if number == AT or (STAY and AT and number > AT) else ""


def strike(kind, what):
    """Count it, and fail or die if it is its turn."""
    done = due(kind, what)
    if done in ("kill", "torn"):
        os.kill(os.getpid(), signal.SIGKILL)
    if done == "gone" and os.path.isfile(what):
        os.unlink(what)
    if done == "short" or hasattr(errno, done):
        number = getattr(errno, done, errno.ENOSPC)
        raise OSError(number, os.strerror(number), what if not isinstance(what, int) else None)


def partly(kind, what, data, write):
    """A write, whole or half or not at all."""
    done = due(kind, what)
    if done in ("torn", "short") and len(data) > 1:
        written = write(bytes(data[: len(data) // 2]))
        if done == "short":
            return written
    if done in ("kill", "torn"):
        os.kill(os.getpid(), signal.SIGKILL)
    if done == "short" or hasattr(errno, done):
        number = getattr(errno, done, errno.ENOSPC)
        raise OSError(number, os.strerror(number))
    return write(data)


class Raw(io.FileIO):
    def write(self, data):
        data = bytes(data)
        return partly("write", self.fileno(), data, super().write)


def open_counted(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    writes = set(mode) & set("wax+")
    if isinstance(file, int) or not path_of(file).startswith(WITHIN) or bool(writes) != (KIND == "write"):
        return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if KIND == "read":
        strike("read", file)
        return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if opener is None:
        strike("create", file)
    raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    if "b" in mode and buffering == 0:
        return raw
    buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)


def os_open(path, flags, mode=0o777, *, dir_fd=None):
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    if dir_fd is None and bool(writes) == (KIND == "write"):
        strike("create" if writes else "read", path)
    return real["open"](path, flags, mode, dir_fd=dir_fd)


def os_write(fd, data):
    return partly("write", fd, bytes(data), lambda part: real["write"](fd, part))


def before(name, place=0):
    def call(*arguments, **options):
        strike(name, arguments[place])
        return real[name](*arguments, **options)

    return call


if KIND in ("write", "read"):
    io.open = builtins.open = open_counted
    os.open = os_open
if KIND == "write":
    os.write = os_write
    os.fsync, os.mkdir, os.sendfile = before("fsync"), before("mkdir"), before("sendfile")
    os.replace, os.rename = before("replace", 1), before("rename", 1)
if KIND == "clock":
    start, calls, read_ns = time.time(), [0], time.time_ns

    def time_ns():
        calls[0] += 1
        return read_ns() - calls[0] * 90_000_000_000

    time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9
