"""Programs that run inside the lab's machine; standard library only, one file each."""
