"""Hosts on one machine: network namespaces, joined by cables of their own. They share the disks."""

import ctypes
import os
import subprocess
from contextlib import contextmanager, suppress

NEW_NETWORK = 0x40000000  # CLONE_NEWNET, linux/sched.h


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def inside(host):
    """Within it this thread, and whatever it starts, has the network of a host."""
    enter = ctypes.CDLL(None, use_errno=True).setns
    before, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/run/netns/{host}"))
    try:
        if enter(there, NEW_NETWORK):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        yield
    finally:
        enter(before, NEW_NETWORK)
        os.close(before)
        os.close(there)


@contextmanager
def three_hosts():
    """Three names of hosts. The second one has the address 10.99.1.1 for the first, 10.99.2.1 for the third.

    Raises:
        OSError, subprocess.CalledProcessError: that is not allowed here.
    """
    one, middle, two = names = [f"tintype-{os.getpid()}-{place}" for place in ("one", "middle", "two")]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-netns", name, "link", "set", "lo", "up")
        for number, name in enumerate((one, two), 1):
            near, far = f"to-{number}", "to-middle"
            ip("link", "add", near, "netns", middle, "type", "veth", "peer", "name", far, "netns", name)
            for host, end, address in ((middle, near, 1), (name, far, 2)):
                ip("-netns", host, "address", "add", f"10.99.{number}.{address}/24", "dev", end)
                ip("-netns", host, "link", "set", end, "up")
        with inside(one):
            pass
        yield names
    finally:
        for name in names:
            with suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", name)
