# What QEMU is built with beyond the CPU, memory and interrupt controllers: all that the guests'
# command line names (harness/guest/argv.py, harness/guest/bare_metal.py), and nothing else.
# Each device more is compile time in everybody's first run.

# The machines of kernel-config/cpus/*.toml: "q35" and "pc".
CONFIG_Q35=y
CONFIG_I440FX=y

# SSH goes through a network card, and fresh keys need entropy.
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_RNG=y

# Linux's console.
CONFIG_SERIAL_ISA=y

# isa-debugcon and isa-debug-exit: output and exit code of bare-metal programs.
CONFIG_ISA_DEBUG=y
CONFIG_TEST_DEVICES=y
