# Usage: python3 -c THIS JOBS CALL…, where a CALL is one argument list of py3compile, joined by spaces.
# The program and its modules are loaded once; each call runs in a fork of its own, JOBS of them at a time.
import os
import sys

path = "/usr/bin/py3compile"
jobs, calls = int(sys.argv[1]), sys.argv[2:]
space = {"__name__": "py3compile", "__file__": path}
with open(path, encoding="utf-8") as source:
    exec(compile(source.read(), path, "exec"), space)
# Packages share folders, so another call may make one first.
space["mkdir"] = lambda name: os.makedirs(name, exist_ok=True)

running, failed = {}, []


def reap():
    pid, status = os.wait()
    call = running.pop(pid)
    if status:
        failed.append(call)


for call in calls:
    while len(running) >= jobs:
        reap()
    pid = os.fork()
    if pid == 0:
        sys.argv = [path] + call.split()
        space["main"]()
        os._exit(0)
    running[pid] = call
while running:
    reap()
if failed:
    sys.exit("py3compile failed for: " + "; ".join(sorted(failed)))
