"""Configuration files of a temporary Slurm cluster: nodes, controller and database on one machine."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.slurm.daemons import free_ports

__all__ = ["ClusterConf"]


@dataclass(frozen=True, kw_only=True)
class ClusterConf:
    """Parameters of a cluster; its ports and node names are unique, so that several can run at the same time."""

    root: Path
    """Base directory: short, since it contains Unix sockets, and readable by the cluster's user."""
    accounting: bool = False
    """Whether to run slurmdbd and MariaDB."""
    nodes: int = 2
    cpus: int = 8
    """Configured for each node, regardless of the machine."""
    memory: int = 4000
    """MiB configured for each node."""
    gpus: int = 2
    """Simulated for each node."""
    min_job_age: int = 300
    """Seconds for which the controller remembers a finished job."""
    prefix: str = field(default_factory=lambda: f"n{os.urandom(3).hex()}x")
    """Prefix of the node names, which are also names of control groups."""
    ports: list[int] = field(default_factory=lambda: free_ports(16))

    @property
    def host(self) -> str:
        """The short host name, which Slurm requires."""
        return socket.gethostname().partition(".")[0]

    @property
    def node_names(self) -> list[str]:
        """Names of the nodes."""
        return [f"{self.prefix}{number}" for number in range(1, self.nodes + 1)]

    @property
    def cgroups(self) -> bool:
        """Whether memory limits can be enforced on this machine."""
        return all(os.access(f"/sys/fs/cgroup/{name}/tasks", os.W_OK) for name in ("memory", "freezer"))

    def write(self) -> None:
        """Write the configuration files of all daemons."""
        for name in ("state", "spool", "log", "munge", "db", "run", "gpu"):
            (self.root / name).mkdir(exist_ok=True)
        key = self.root / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        (self.root / "slurm.conf").write_text(self._slurm())
        (self.root / "gres.conf").write_text(self._gres())
        (self.root / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n"
            "ConstrainSwapSpace=no\nConstrainCores=no\nConstrainDevices=no\n"
        )
        if self.accounting:
            database = self.root / "slurmdbd.conf"
            database.touch(mode=0o600)
            database.write_text(self._slurmdbd())

    def _gres(self) -> str:
        lines = []
        for node in self.node_names:
            for number in range(self.gpus):
                device = self.root / f"gpu/{node}-{number}"
                os.mknod(device, 0o20666, os.makedev(1, 3))  # the null device: Slurm requires some device
                lines.append(f"NodeName={node} Name=gpu Type=h100 File={device}\n")
        return "".join(lines)

    def _slurmdbd(self) -> str:
        return f"""\
AuthType=auth/munge
AuthInfo=socket={self.root}/munge/sock,cred_expire=5
DbdHost={self.host}
DbdAddr=127.0.0.1
DbdPort={self.ports[1]}
SlurmUser=root
PidFile={self.root}/run/slurmdbd.pid
LogFile={self.root}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.ports[2]}
StorageUser=root
StorageLoc=slurm_acct
"""

    def _slurm(self) -> str:
        accounting = "AccountingStorageType=accounting_storage/none"
        if self.accounting:
            accounting = f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.ports[1]}
AccountingStoragePass={self.root}/munge/sock
AccountingStoreFlags=job_comment,job_env,job_script
AccountingStorageTRES=gres/gpu"""
        tracking = "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none"
        if self.cgroups:
            tracking = "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup"
        gres = f"Gres=gpu:h100:{self.gpus}" if self.gpus else ""
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={self.cpus} RealMemory={self.memory} {gres}"
            for node, port in zip(self.node_names, self.ports[4:], strict=False)
        )
        # NOTE: cred_expire is also the delay before a requeued job may start again.
        return f"""\
ClusterName=ci
SlurmctldHost={self.host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={self.ports[0]}
SlurmctldPidFile={self.root}/run/slurmctld.pid
SlurmdPidFile={self.root}/run/slurmd-%n.pid
StateSaveLocation={self.root}/state
SlurmdSpoolDir={self.root}/spool/%n
SlurmctldLogFile={self.root}/log/slurmctld.log
SlurmdLogFile={self.root}/log/slurmd-%n.log
AuthType=auth/munge
AuthInfo=socket={self.root}/munge/sock,cred_expire=5
CredType=cred/munge
MpiDefault=none
MailProg=/bin/true
{tracking}
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=400
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
{accounting}
{"GresTypes=gpu" if self.gpus else ""}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=3
MinJobAge={self.min_job_age}
MaxJobCount=20000
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_min_interval=0
{nodes}
PartitionName=main Nodes=ALL Default=YES DefaultTime=10 MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL DefaultTime=10 MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=lowcancel Nodes=ALL DefaultTime=10 MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=small Nodes=ALL DefaultTime=5 MaxTime=30 MaxNodes=1 State=UP PriorityTier=10 PreemptMode=OFF
"""
