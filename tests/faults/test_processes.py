"""Processes that die at a bad moment: the server during a training, a client during an upload; and those that end in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from fault_server import WAIT_S, FaultServer, is_running, stopped, until
from flows_under_fault import ROW, SMALL_MLP, SMALL_TREES, UsedHomes, check_clean, deploy, start_training

CLIENT = """
import socket, sys, time
host, port, request = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape").encode()
with socket.create_connection((host, port)) as connection:
    connection.sendall(request)
    while True:
        print(connection.recv(65536), flush=True)
"""


@contextmanager
def client(server: FaultServer, head: str, body: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that sends a request (as far as it is given) and then only listens; it is killed at the end."""
    key = server.client.headers["x-api-key"]
    request = f"{head} HTTP/1.1\\r\\nhost: x\\r\\nx-api-key: {key}\\r\\n{body}"
    host, port = server.address
    process = subprocess.Popen([sys.executable, "-c", CLIENT, host, str(port), request], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_runner_goes_on_without_its_server_and_the_next_one_takes_it_up(
    serve: Callable[..., FaultServer], used_homes: UsedHomes
) -> None:
    server = serve(used_homes.with_data, MODELTAP_CHECKPOINT_EVERY_S="0")
    job_id = start_training(server, SMALL_MLP)
    runner = server.wait_training(job_id)
    with stopped(runner, server.home):
        server.kill()
        server.start()
        job = server.job(job_id)
        assert (job["state"], job["pid"], job["fence"]) == ("running", runner, 1)
        assert server.runner_pids() == [runner]
    job = server.wait_job(job_id)
    assert (job["fence"], job["result"]["digest"]) == (1, used_homes.mlp_digest)
    assert len(server.ask("GET", "/api/models/toy")["versions"]) == 1


def test_a_job_needs_neither_the_client_that_follows_it_nor_a_server_to_end(
    serve: Callable[..., FaultServer], used_homes: UsedHomes
) -> None:
    server = serve(used_homes.with_data)
    job_id = start_training(server, SMALL_TREES)
    runner = server.wait_runner(job_id)
    with client(server, f"GET /api/jobs/{job_id}/events", "\\r\\n") as process:
        assert process.stdout is not None
        assert b"200 OK" in process.stdout.readline()
        assert b"event: " in process.stdout.readline()
        process.kill()
    assert server.job(job_id)["pid"] == runner
    server.kill()
    until("the runner ends", lambda: not is_running(runner))
    server.start()
    job = server.job(job_id)
    assert (job["state"], job["fence"], job["result"]["digest"]) == ("succeeded", 1, used_homes.trees_digest)
    check_clean(server)
    assert "Traceback" not in server.log()


def test_an_upload_whose_client_or_server_dies_leaves_nothing(serve: Callable[..., FaultServer]) -> None:
    server = serve()
    uploads = server.home / "uploads"
    head, half = "POST /api/datasets?name=toy&filename=toy.csv", "content-length: 1000000\\r\\n\\r\\n" + "x,y\\n1,2\\n" * 2000

    def size() -> int:
        return sum(path.stat().st_size for path in uploads.iterdir()) if uploads.is_dir() else 0

    with client(server, head, half) as process:
        until("half of the upload is there", lambda: size() > 0)
        process.kill()
        until("the upload is swept", lambda: size() == 0 and not list(uploads.iterdir()))
    with client(server, head, half):
        until("half of the upload is there", lambda: size() > 0)
        server.kill()
        server.start()
        assert list(uploads.iterdir()) == []
    assert server.ask("GET", "/api/datasets")["datasets"] == []
    assert server.ask("GET", "/api/jobs")["jobs"] == []
    assert "Traceback" not in server.log()


def test_a_request_under_way_is_answered_before_the_server_ends(
    serve: Callable[..., FaultServer], used_homes: UsedHomes
) -> None:
    server = serve(used_homes.with_models)
    deploy(server)
    body = msgspec.json.encode({"instances": [ROW]})
    head = [
        "POST /predict/live HTTP/1.1",
        "host: x",
        f"x-api-key: {server.client.headers['x-api-key']}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "expect: 100-continue",
    ]
    assert server.process is not None
    with socket.create_connection(server.address, timeout=WAIT_S) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        assert b"100 Continue" in connection.recv(1000)  # the request is being answered, and waits for its body
        server.process.send_signal(signal.SIGTERM)
        until("no new connection is taken", lambda: not accepts(server))
        connection.sendall(body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"predictions"' in answer
    assert server.process.wait(WAIT_S) == 0
    assert not (server.home / "server.json").exists()


def test_a_second_server_on_the_home_is_refused_and_told_who_has_it(serve: Callable[..., FaultServer]) -> None:
    server = serve()
    assert server.process is not None
    command = [sys.executable, "-m", "modeltap", "up", "--home", str(server.home), "--port", "0"]
    for arguments, shown in (([], "stderr"), (["--json"], "stdout")):
        refused = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert refused.returncode == 1
        assert f"process {server.process.pid}" in " ".join(getattr(refused, shown).split())
        assert "Traceback" not in refused.stderr
    assert server.ask("GET", "/api/server")["pid"] == server.process.pid
    assert (server.home / "server.json").exists()


def accepts(server: FaultServer) -> bool:
    try:
        socket.create_connection(server.address, timeout=WAIT_S).close()
    except ConnectionError:
        return False
    return True
