#!/bin/busybox sh
# PID 1 of a kernel that is booted for one program: /program, a script made for it.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
echo /sbin/modprobe > /proc/sys/kernel/modprobe
# Where it is a module, only whoever opens a socket of this family would have it loaded.
modprobe -q ipv6
# What the kernel remarks does not go into the middle of the program's lines; it is shown below, should the program fail.
dmesg -n 1
ip link set lo up
echo "testbed: the program begins on Linux $(uname -r), CPUs: $(nproc)"
sh /program < /dev/null
status=$?
[ $status = 0 ] || dmesg | tail -n 20
echo "testbed: the program ended with status $status"
# A terminal's settings change when all is written: else the last lines would be lost with the machine.
stty -echo < /dev/console
poweroff -f
