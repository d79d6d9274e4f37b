"""One job on several devices: a process for each, all with the same command; rank 0 leads, the others follow it.

`launch` starts the processes of this machine; torchrun can do it instead, for it sets the same variables. The leader
runs the command as a single process would, and tells the followers of each job that all of them have to do. What they
wait for may take hours (one process trains the SVMs), so messages and barriers have a group of their own.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from spprepro.errors import ConfigError, Interrupted

_PARENT = "SPPREPRO_PARENT"  # number of the open pipe that tells a process that its launcher has gone
_GRACE = 30.0  # seconds that the others have to leave when one has failed
_group: list[Any] = []  # of messages and barriers, once connected


def rank() -> int:
    """Of this process among all those of the job."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes work on the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process writes what all of them have found."""
    return rank() == 0


def check_world(devices: int, nodes: int) -> None:
    """Raises ConfigError where processes were started from outside (torchrun), but not as many as the job asks for."""
    if world() not in (1, devices * nodes):
        raise ConfigError(
            f"trainer.devices: {devices} x trainer.num_nodes: {nodes} is not the {world()} processes that were started;"
            " make both the same"
        )


def launch(arguments: Sequence[str], devices: int, nodes: int) -> int:
    """`python` with these arguments in one process for each device of this machine; returns their exit code.

    SIGINT and SIGTERM are passed on, once. When a process fails the others are stopped, and its code is returned.
    Raises ConfigError for several nodes without Slurm, which alone can tell this process which of them it is on, and
    Interrupted after a signal.
    """
    place = _place(devices, nodes)
    reading, writing = os.pipe()  # closed when this process goes, however that happens
    started = []
    told: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: told.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        for local in range(devices):
            own = {"RANK": int(place["GROUP_RANK"]) * devices + local, "LOCAL_RANK": local, _PARENT: reading}
            environment = {**os.environ, **place, **{key: str(value) for key, value in own.items()}}
            command = [sys.executable, *arguments]
            started.append(subprocess.Popen(command, env=environment, pass_fds=[reading], start_new_session=True))
        code = _outcome(started, told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
    if told:
        raise Interrupted(signal.Signals(told[0]).name)
    return code


def _place(devices: int, nodes: int) -> dict[str, str]:
    """Where the processes meet, and which node this is."""
    node, address, port = 0, "127.0.0.1", _free_port()
    if nodes > 1:
        if "SLURM_NODEID" not in os.environ:
            raise ConfigError(
                f"trainer.num_nodes: {nodes}; only Slurm starts several nodes by itself. Elsewhere run on each: "
                f"torchrun --nnodes={nodes} --nproc-per-node={devices} --rdzv-backend=c10d --rdzv-endpoint=HOST:29400 "
                "-m spprepro ..."
            )
        hosts = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
        address = subprocess.run(hosts, capture_output=True, text=True, check=True).stdout.split()[0]
        node, port = int(os.environ["SLURM_NODEID"]), 20000 + int(os.environ["SLURM_JOB_ID"]) % 20000
    return {
        "GROUP_RANK": str(node),
        "WORLD_SIZE": str(devices * nodes),
        "LOCAL_WORLD_SIZE": str(devices),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _outcome(started: Sequence[subprocess.Popen[bytes]], told: Sequence[int]) -> int:
    """Wait for all; the first of the signals that were `told` is passed on, the first that fails ends the others."""
    untold = list(started)
    while True:
        while told and untold:
            untold.pop().send_signal(told[0])
        codes = [process.poll() for process in started]
        failed = [code for code in codes if code]
        if failed or None not in codes:
            break
        time.sleep(0.1)
    deadline = time.monotonic() + _GRACE
    if failed:
        for process in started:
            process.terminate()
    for process in started:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    leader = started[0].returncode
    code = leader if leader > 0 else next(iter(failed), 0)
    return code if code >= 0 else 1


@contextmanager
def connected(accelerator: str) -> Iterator[None]:
    """While the block runs, the processes of the job can reach one another; nothing to do for one alone."""
    if world() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if _PARENT in os.environ:
        threading.Thread(target=_leave_with_parent, args=(int(os.environ[_PARENT]),), daemon=True).start()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if accelerator == "gpu" else None
    dist.init_process_group("nccl" if device else "gloo", device_id=device)
    _group.append(dist.new_group(backend="gloo", timeout=timedelta(days=30)))
    try:
        yield
    finally:
        _group.clear()
    dist.destroy_process_group()  # not after a fault: the others may be waiting


def _leave_with_parent(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def barrier() -> None:
    """Wait for all processes."""
    if _group:
        import torch.distributed as dist

        dist.barrier(_group[0])


@contextmanager
def one_first() -> Iterator[None]:
    """Rank 0 does the block before the others, which then find what it has left."""
    if not leads():
        barrier()
    yield
    if leads():
        barrier()


def tell(message: Mapping[str, Any] | None) -> None:
    """What the followers have to do next; None: nothing more."""
    if _group:
        _broadcast([message])


def told() -> Mapping[str, Any] | None:
    """What the leader tells next."""
    message: list[Any] = [None]
    _broadcast(message)
    found: Mapping[str, Any] | None = message[0]
    return found


def _broadcast(message: list[Any]) -> None:
    import torch.distributed as dist

    dist.broadcast_object_list(message, src=0, group=_group[0])


def everyone(mine: Any) -> list[Any]:
    """What each process has, by rank."""
    if not _group:
        return [mine]
    import torch.distributed as dist

    parts: list[Any] = [None] * world()
    dist.all_gather_object(parts, mine, group=_group[0])
    return parts
