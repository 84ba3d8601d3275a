"""The threads of a guest's vCPUs pinned, from outside: QEMU has no option for it, and its sandbox forbids it."""

from __future__ import annotations

from engine.hosts.base import ChangeableHost
from steps.actions import PinThreads
from steps.guest import monitor
from steps.tuning import cpulist


def pin_threads(host: ChangeableHost, action: PinThreads) -> str:
    """Pin each vCPU's thread; what was done, in words. Raises OSError with the kernel's errno or with what the guest
    said, TimeoutError when it does not answer."""
    try:
        threads = monitor.threads(host, action.process, action.timeout)
    except ConnectionError:
        if host.alive(action.process) is not None:
            raise
        # The step's own verification says why, with the guest's last words.
        return "the guest has ended: there is nothing to pin"
    except ValueError as error:
        raise OSError(str(error)) from error
    for vcpu, cpus in enumerate(action.cpus):
        if vcpu not in threads:
            raise OSError(f"the guest has no vCPU {vcpu}")
        host.set_affinity(threads[vcpu], cpulist.parse(cpus))
    return f"{len(action.cpus)} threads"
