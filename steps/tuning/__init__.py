"""How the guest is placed: its vCPUs on CPUs, its memory in huge pages, CPUs kept free of everything else."""
