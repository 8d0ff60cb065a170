"""redis-py clients that use few keys at once, and write down what they were told.

Each client asks one node after the other: GET, SET, SET NX, DEL, INCR, and compare-and-set by WATCH,
MULTI and EXEC. Every operation becomes one JSON line with the times of CLOCK_MONOTONIC in
nanoseconds at which it began and ended. The Rust test beside this file, which starts the nodes and
does them harm meanwhile, checks whether the lines of each key could have happened one after the
other.

    registers.py --redis 6379 6380 6381 --seconds 20 --output history.jsonl

Of an operation that was refused ("nothing was executed") there is no line. One whose outcome is not
known has no "ended" and tells nothing. A key is used for some operations and then never again, as
the search for an order takes the longer, the longer a history is.
"""

import argparse
import json
import random
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

CLIENTS = 6
KEYS_AT_ONCE = 3
OPERATIONS_PER_KEY = 60
# Longer than the deadline of a request, so that a node that works always answers first.
PATIENCE_S = 3
PAUSE_S = 0.004
NOT_EXECUTED = "nothing was executed"


class Keys:
    """Hands out keys; each is replaced by a new one when it has been used often enough."""

    def __init__(self):
        self.lock = threading.Lock()
        self.made = KEYS_AT_ONCE
        self.uses = {f"register:{number}": 0 for number in range(KEYS_AT_ONCE)}

    def pick(self, chance):
        """A key to use now."""
        with self.lock:
            key = chance.choice(sorted(self.uses))
            self.uses[key] += 1
            if self.uses[key] == OPERATIONS_PER_KEY:
                del self.uses[key]
                self.uses[f"register:{self.made}"] = 0
                self.made += 1
            return key


class History:
    """The lines, in the order in which operations ended."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.file = open(path, "w", encoding="ascii")

    def add(self, line):
        """Adds one operation."""
        with self.lock:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()


class Client(threading.Thread):
    """One client, which does one thing after the other."""

    def __init__(self, number, ports, keys, history, end):
        super().__init__()
        self.number = number
        self.chance = random.Random(number)
        self.nodes = [self.connect(port) for port in ports]
        self.keys = keys
        self.history = history
        self.end = end
        self.written = 0
        self.failed = False

    @staticmethod
    def connect(port):
        """A client of one node. It must not try again by itself: what is sent twice may be
        executed twice."""
        return redis.Redis(
            port=port,
            socket_timeout=PATIENCE_S,
            socket_connect_timeout=PATIENCE_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def run(self):
        try:
            self.work()
        except BaseException:
            self.failed = True
            raise

    def work(self):
        """Does one thing after the other until the end."""
        while time.monotonic() < self.end:
            node = self.chance.choice(self.nodes)
            try:
                # Makes the connection, so that a node that is down is not an unknown outcome.
                node.ping()
            except redis.RedisError:
                time.sleep(0.05)
                continue
            self.operate(node, self.keys.pick(self.chance))
            time.sleep(PAUSE_S)

    def operate(self, node, key):
        """Does one thing to a key."""
        kinds = ["get", "get", "set", "set_nx", "del", "incr", "incr", "compare_and_set"]
        kind = self.chance.choice(kinds)
        if kind == "compare_and_set":
            self.compare_and_set(node, key)
        elif kind == "get":
            self.note(key, {"do": "get"}, lambda: node.get(key))
        elif kind == "set":
            value = self.new_value()
            self.note(key, {"do": "set", "value": value}, lambda: node.set(key, value))
        elif kind == "set_nx":
            value = self.new_value()
            act = {"do": "set_nx", "value": value}
            self.note(key, act, lambda: bool(node.set(key, value, nx=True)))
        elif kind == "del":
            self.note(key, {"do": "del"}, lambda: node.delete(key))
        else:
            self.note(key, {"do": "incr"}, lambda: node.incr(key))

    def compare_and_set(self, node, key):
        """Reads a value and replaces it, if nobody has written to the key in between."""
        with node.pipeline() as pipeline:
            try:
                pipeline.watch(key)
            except redis.RedisError:
                return
            found, value = self.note(key, {"do": "get"}, lambda: pipeline.get(key))
            if not found:
                return
            new = self.new_value()

            def execute():
                pipeline.multi()
                pipeline.set(key, new)
                try:
                    pipeline.execute()
                    return True
                except redis.WatchError:
                    return False

            act = {"do": "compare_and_set", "expected": value, "value": new}
            self.note(key, act, execute)

    def note(self, key, act, ask):
        """Asks, and writes down what was told. Returns whether anything was, and what."""
        line = {"client": self.number, "key": key, **act, "began": time.monotonic_ns()}
        try:
            line["told"] = ask()
            line["ended"] = time.monotonic_ns()
        except redis.exceptions.ExecAbortError:
            return False, None
        except redis.ResponseError as error:
            if str(error).endswith(NOT_EXECUTED):
                return False, None
            assert str(error).endswith("the outcome is unknown"), error
        except (redis.ConnectionError, redis.TimeoutError):
            pass
        self.history.add(line)
        return "ended" in line, line.get("told")

    def new_value(self):
        """A number that no other operation stores, with room for increments above it."""
        self.written += 1
        return str(self.number * 10**12 + self.written * 10**6)


def main():
    """Runs the clients for as long as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis", nargs="+", type=int, required=True, metavar="PORT")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    keys, history = Keys(), History(options.output)
    end = time.monotonic() + options.seconds
    numbers = range(1, CLIENTS + 1)
    clients = [Client(number, options.redis, keys, history, end) for number in numbers]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if any(client.failed for client in clients):
        sys.exit("a client was told something that makes no sense")


if __name__ == "__main__":
    main()
