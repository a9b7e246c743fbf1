"""Redis, append-only file synced before each answer: a thousand events a call of a script in the server."""

import os
import socket
import subprocess
import tempfile
import time

import events

SCRIPT = b"""
for at = 1, #ARGV, 5 do
  local name = ARGV[at + 1] .. '|' .. ARGV[at + 2]
  if redis.call('SET', 'i|' .. name .. '|' .. ARGV[at], '', 'NX', 'EX', 600) then
    local time, micros = ARGV[at + 3], ARGV[at + 4]
    for _, key in ipairs({'t', 'h|' .. time:sub(1, 13), 'm|' .. time:sub(1, 16)}) do
      redis.call('HINCRBY', key .. '|c', name, 1)
      redis.call('HINCRBY', key .. '|s', name, micros)
    end
  end
end
"""
path, folder = events.arguments()
place = tempfile.mkdtemp() + "/redis"
server = subprocess.Popen(
    [os.environ["REDIS_SERVER"], "--port", "0", "--unixsocket", place, "--dir", folder, "--save", "",
     "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL)


def command(*parts):
    """A command in the wire format."""
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


try:
    connection = socket.socket(socket.AF_UNIX)
    while True:
        try:
            connection.connect(place)
            break
        except OSError:
            assert server.poll() is None
            time.sleep(0.05)
    answers = connection.makefile("rb")

    def ask(*parts):
        connection.sendall(command(*parts))
        answer = answers.readline()
        assert not answer.startswith(b"-"), answer
        return answer

    ask(b"SCRIPT", b"LOAD", SCRIPT)
    digest = answers.readline().strip()

    def encode(block):
        return command(b"EVALSHA", digest, b"0", *(str(part).encode() for event in block for part in event))

    taken, seconds = 0, 0.0
    for block in events.blocks(path, 1_000):
        # What a client in a fast language needs for it is not Redis's.
        request = encode(block)
        began = time.perf_counter()
        connection.sendall(request)
        answer = answers.readline()
        seconds += time.perf_counter() - began
        assert not answer.startswith(b"-"), answer
        taken += len(block)
    connection.sendall(command(b"HVALS", b"t|c"))
    counts = int(answers.readline()[1:])
    counted = 0
    for _ in range(counts):
        answers.readline()
        counted += int(answers.readline())
    events.report(taken, counted, seconds)
finally:
    server.terminate()
    server.wait()
