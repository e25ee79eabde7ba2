"""Live migration by libvirt and QEMU: what either host does, and what it believes of the other."""
