"""Clients that know nothing of kvorum write on one node and read on every other.

redis-py speaks the Redis protocol; the gRPC client has no generated code, it learns messages and
methods through server reflection. Run it against a running cluster:

    foreign.py --redis 6379 6380 6381 --grpc 50051 50052 50053
    foreign.py ... --after-restart      # only reads what an earlier run has left

.ci/run does, with the versions in requirements.txt beside this file.
"""

import argparse
import sys

import grpc
import redis
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

BINARY = bytes(range(256))
KEPT = {b"kept by redis-py": b"first", b"kept by grpc": BINARY}


class Kv:
    """kvorum.v1.Kv of one node, as its reflection describes it."""

    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        database = ProtoReflectionDescriptorDatabase(self.channel)
        assert "kvorum.v1.Kv" in database.get_services(), database.get_services()
        self.service = DescriptorPool(database).FindServiceByName("kvorum.v1.Kv")

    def call(self, method, **fields):
        """Calls a unary method with these fields in its request."""
        descriptor = self.service.methods_by_name[method]
        request = GetMessageClass(descriptor.input_type)
        response = GetMessageClass(descriptor.output_type)
        invoke = self.channel.unary_unary(
            f"/{self.service.full_name}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return invoke(request(**fields), timeout=10)


def same(actual, expected, where):
    """Ends the run if a client was told something else than expected."""
    if actual != expected:
        sys.exit(f"{where}: expected {expected!r}, got {actual!r}")


def read_everywhere(clients, services, key, value):
    """Every node returns the value, in both protocols."""
    for number, client in enumerate(clients, 1):
        same(client.get(key), value, f"redis-py, node {number}, {key!r}")
    for number, service in enumerate(services, 1):
        answer = service.call("Get", key=key)
        found = answer.value if answer.found else None
        same(found, value, f"grpc, node {number}, {key!r}")


def write_and_read(clients, services):
    """Each node takes a write in each protocol; all nodes see it, and its deletion."""
    for number, (client, service) in enumerate(zip(clients, services), 1):
        key = f"redis-py on node {number}".encode()
        same(client.set(key, BINARY), True, "SET")
        read_everywhere(clients, services, key, BINARY)
        same(client.delete(key), 1, "DEL")
        read_everywhere(clients, services, key, None)

        key = f"grpc on node {number}".encode()
        written = service.call("Put", key=key, value=BINARY)
        same(written.acked >= 2, True, f"copies acknowledged ({written.acked}) are a majority")
        read_everywhere(clients, services, key, BINARY)
        service.call("Delete", key=key)
        read_everywhere(clients, services, key, None)


def use_redis(client):
    """What redis-py does by itself: RESP3, pipelines, expiry, scans, errors as exceptions."""
    with client.pipeline(transaction=False) as pipeline:
        for number in range(100):
            pipeline.set(f"pipelined:{number}", number)
        same(all(pipeline.execute()), True, "a pipeline of SET")
    keys = [f"pipelined:{number}" for number in range(100)]
    same(client.mget(keys), [str(number).encode() for number in range(100)], "MGET")
    same(len(set(client.scan_iter(match="pipelined:*"))), 100, "SCAN")
    same(client.delete(*keys), 100, "DEL of many")
    with client.pipeline() as transaction:
        transaction.set("in a transaction", 41).incr("in a transaction")
        same(transaction.execute(), [True, 42], "MULTI")
    client.delete("in a transaction")
    client.set("expiring", "soon", ex=100)
    same(0 < client.ttl("expiring") <= 100, True, "TTL")
    client.delete("expiring")


def use_eventual(client):
    """What takes one step to read and write is refused where it would not be one."""
    try:
        client.incr("counter")
    except redis.ResponseError as error:
        same(str(error).startswith("NOTSTRONG"), True, f"INCR: {error}")
    else:
        sys.exit("INCR was executed in a keyspace that cannot do it safely")
    with client.pipeline() as transaction:
        transaction.set("in a transaction", "never")
        try:
            transaction.execute()
            raise AssertionError("a transaction was executed")
        except redis.ResponseError as error:
            same("nothing was executed" in str(error), True, f"MULTI: {error}")
    same(client.get("in a transaction"), None, "what a refused transaction leaves")


def use_grpc_errors(service):
    """A refusal has a status, a stable code, and says that nothing was executed."""
    try:
        service.call("Put", key=b"k" * 4097, value=b"v")
    except grpc.RpcError as error:
        same(error.code(), grpc.StatusCode.INVALID_ARGUMENT, "the status of a long key")
        metadata = dict(error.trailing_metadata())
        same(metadata.get("kvorum-executed"), "no", "kvorum-executed of a long key")
    else:
        sys.exit("a key of 4097 bytes was taken")


def main():
    """Runs everything against the nodes of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis", nargs="+", type=int, required=True, metavar="PORT")
    parser.add_argument("--grpc", nargs="+", type=int, required=True, metavar="PORT")
    parser.add_argument("--after-restart", action="store_true")
    options = parser.parse_args()
    clients = [redis.Redis(port=port, protocol=3) for port in options.redis]
    services = [Kv(port) for port in options.grpc]
    if not options.after_restart:
        write_and_read(clients, services)
        use_redis(clients[0])
        use_eventual(redis.Redis(port=options.redis[0], protocol=3, db=1))
        use_grpc_errors(services[0])
        by_redis, by_grpc = KEPT
        clients[0].set(by_redis, KEPT[by_redis])
        services[1].call("Put", key=by_grpc, value=KEPT[by_grpc])
    for key, value in KEPT.items():
        read_everywhere(clients, services, key, value)


if __name__ == "__main__":
    main()
