"""The lab: a real kernel, a real GRUB and a real reboot inside QEMU, on any machine."""
