"""Run a command and write what it cost: LIMIT OUT COMMAND...

LIMIT is in seconds of processor time of any one process of it (and IDLE times that in all). OUT is JSON:
status (null: stopped), wall and cpu in seconds, memory in MB, of the largest of its processes. This is a
process of its own, and imports little, because a child's peak starts from what its parent had at the fork.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time

IDLE = 6.0  # the machine may be busy


def main() -> None:
    limit, out, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)),
    )
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, IDLE * limit)
    _, code, usage = os.wait4(process.pid, 0)
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    status = os.waitstatus_to_exitcode(code)
    stopped = status != 0 and (cpu > limit - 1 or wall >= IDLE * limit)
    cost = {
        "status": None if stopped else status,
        "wall": wall,
        "cpu": cpu,
        "memory": usage.ru_maxrss / 1024.0,
    }
    with open(out, "w") as file:
        json.dump(cost, file)


if __name__ == "__main__":
    main()
