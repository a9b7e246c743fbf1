"""Processes on this machine: started, killed, stopped, started again; ports, waits, and plain HTTP."""

import contextlib
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
#: A start may take so long: three JVMs at once on two busy cores are slow.
START_SECONDS = 300


class Failed(Exception):
    """Something did not come about; the message says what, and where to look."""


def say(text):
    print(f"· {text}", file=sys.stderr, flush=True)


def outside(name):
    """The path of a program or library of others, installed where it is missing."""
    command = [ROOT / "scripts/outside", name]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def free_port(addresses=("127.0.0.1",)):
    """A port that is free on all these addresses, and was not given out before."""
    while True:
        with contextlib.ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind((addresses[0], 0))
            port = first.getsockname()[1]
            if port in free_port.given:
                continue
            try:
                for address in addresses[1:]:
                    held.enter_context(socket.socket()).bind((address, port))
            except OSError:
                continue
        free_port.given.add(port)
        return port


free_port.given = set()


def wait_until(what, is_true, seconds=START_SECONDS, ended=lambda: None):
    """Waits until something is so; the seconds it took. `ended` says why it never will be."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        why = ended()
        if why:
            raise Failed(f"{what}: {why}")
        if is_true():
            return time.monotonic() - began
        time.sleep(0.1)
    raise Failed(f"{what}: not within {seconds} s")


def answers(address, port):
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


def ask(url, body=None, headers=None, seconds=10):
    """The status of an answer and its body; status 0 where there is none."""
    request = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, http.client.HTTPException):
        return 0, b""


class Process:
    """One process: may be killed, stopped and started again as it was."""

    def __init__(self, folder, name, command, is_up, env=None, tries=1):
        self.name, self.command, self.is_up = name, [str(part) for part in command], is_up
        self.env = {**os.environ, **(env or {})}
        self.output = folder / f"{name}.log"
        self.child = None
        #: How often a start is tried before it counts as failed, a second apart, as systemd does.
        self.tries = tries
        #: Whether it is meant to run now.
        self.wanted = False

    def start(self, wait=True):
        self.wanted = True
        self.spawn()
        if wait:
            self.wait()
        return self

    def spawn(self):
        with open(self.output, "ab") as output:
            # In a group of its own: Ctrl-C is for the script, which stops everything in order.
            self.child = subprocess.Popen(
                self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)

    def wait(self, seconds=START_SECONDS):
        left = [self.tries - 1]

        def ended():
            if not self.has_ended():
                return None
            if left[0] == 0:
                return f"{self.name} ended with {self.child.returncode}; see {self.output}"
            left[0] -= 1
            time.sleep(1)
            self.spawn()
            return None

        return wait_until(f"{self.name} starts", self.is_up, seconds, ended)

    def cpu_seconds(self):
        """CPU time that it has taken so far."""
        # The name, which may hold anything, ends with the last bracket.
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def has_ended(self):
        return self.child is None or self.child.poll() is not None

    def signal(self, number):
        if not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

    def kill(self):
        self.wanted = False
        self.signal(signal.SIGKILL)
        if self.child is not None:
            self.child.wait()

    def ask_to_end(self):
        self.wanted = False
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)

    def join(self, seconds=40):
        """Waits for its end; how it ended, or none where it had to be killed."""
        if self.child is None:
            return 0
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
