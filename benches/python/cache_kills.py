#!/usr/bin/env python3
"""Kills a process that uses the engine cache at each of its system calls on the cache's files, one after the other.

    cache_kills.py target/release/deps/cache-HASH

The program is the newest that `cargo test --release --test cache --no-run` built. After each kill the next process must
make a module with the right result, the one after that must find the engine, and nothing may be left half written.
Needs strace.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CALLS = """openat read pread64 write rename renameat renameat2 flock statx newfstatat fstat stat lstat close unlink
unlinkat getdents64 mkdir lseek utimensat ftruncate fcntl""".split()
ENDINGS = ("engine", "partial", "lock", "damaged")


def start(folder, before=()):
    child = [sys.argv[1], "--exact", "harness::child", "--ignored", "--nocapture", "--quiet"]
    names = {"CACHE_TEST_FOLDER": folder, "CACHE_TEST_PADDING": "200000", "CACHE_TEST_BUILD_MS": "0"}
    env = dict(os.environ, **names)
    return subprocess.run([*before, *child], env=env, capture_output=True, text=True, timeout=120)


def told(process):
    assert process.returncode == 0, process.stderr
    line = next(line for line in process.stdout.splitlines() if line.startswith("{"))
    return json.loads(line)["result"]


def kills(whole, names, state):
    """The number of kills, each from a cache with these files."""
    count = 0
    for call in CALLS:
        number = 1
        while True:
            with tempfile.TemporaryDirectory() as folder:
                engines = pathlib.Path(folder, "engines")
                if state:
                    engines.mkdir(mode=0o700)
                for name in state:
                    shutil.copy2(whole / name, engines / name)
                watched = [folder, engines, *(engines / name for name in names)]
                paths = [word for path in watched for word in ("-P", str(path))]
                inject = f"inject={call}:signal=KILL:when={number}"
                strace = ["strace", "-f", "-qq", "-o", "/dev/null", *paths, "-e", inject]
                if start(folder, strace).returncode == 0:
                    break
                first, second = told(start(folder)), told(start(folder))
                left = os.listdir(engines)
                where = (state, call, number, first, second, left)
                assert second == "hit" and (first == "hit" or not state), where
                assert sum(name.endswith(".memo") for name in left) == 1, where
                assert not any(name.endswith("partial") for name in left), where
                number, count = number + 1, count + 1
    return count


def main():
    with tempfile.TemporaryDirectory() as folder:
        assert (told(start(folder)), told(start(folder))) == ("miss", "hit")
        whole = pathlib.Path(folder, "engines")
        note = next(path.name for path in whole.iterdir() if path.suffix == ".memo")
        engine = f"{note[:64]}.engine"
        names = [f"{note[:64]}.{ending}" for ending in ENDINGS] + [note, f"{note}.partial"]
        for state in [], [engine], [engine, note]:
            print(f"{kills(whole, names, state)} kills from a cache with {len(state)} files: all is well")


if __name__ == "__main__":
    main()
