"""Python imports this before anything else, where its folder is on the path: a decoder waits until strace looks on."""

import os
import subprocess
import time
from pathlib import Path

CALLS = "open,openat,openat2,connect,socket,execve"

if b"decoder_process import main" in Path("/proc/self/cmdline").read_bytes():
    line = ["strace", "-f", "-y", "-s", "300", "-e", f"trace={CALLS}"]
    line += ["-o", f"{os.environ['TRACED_CALLS']}-{os.getpid()}", "-p", str(os.getpid())]
    subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.01)
