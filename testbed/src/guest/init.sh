#!/bin/bash
# PID 1 of a node guest. The host's file system lies below the root, and nothing that is written reaches it, but for what
# is written into the node's own folder ($folder, from the kernel's command line).

# The root becomes a throw-away layer over the host's file system.
mount -t proc proc /proc
source "$folder/settings"
export LD_LIBRARY_PATH=$libraries
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
ln -s "$debian/bin/kmod" /mnt/modprobe
/mnt/modprobe -d "$debian" overlay
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root
cd /mnt/root || exit
mkdir -p below
pivot_root . below
umount -l /below/proc
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# What the testbed puts there later must be seen at once, which a layered file system does not promise.
mkdir -p "$folder"
mount --bind "/below$folder" "$folder"
for place in /run /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log /etc/cni /opt; do
    mkdir -p "$place"
    mount -t tmpfs -o mode=755 tmpfs "$place"
done
# Of a node's disk, what outlives a reboot.
mkdir -p "$folder/disk/spidernet" /var/lib/spidernet
mount --bind "$folder/disk/spidernet" /var/lib/spidernet
mkdir -p /run/programs /opt/cni/bin /etc/cni/net.d /var/log/pods /var/log/containers
mount --make-rshared /

# Programs find "iptables" on PATH, and the kernel finds "modprobe" where it is told: this kernel has the legacy tables only.
for tool in iptables ip6tables; do
    for verb in "" -save -restore; do ln -s "$debian/usr/sbin/xtables-legacy-multi" "/run/programs/$tool$verb"; done
done
printf '#!/bin/bash\nLD_LIBRARY_PATH=%q exec -a modprobe %q -d %q "$@"\n' "$libraries" "$debian/bin/kmod" "$debian" \
    > /run/programs/modprobe
chmod +x /run/programs/modprobe
echo /run/programs/modprobe > /proc/sys/kernel/modprobe
ln -s "$debian/usr/bin/busybox" /run/programs/busybox
[ -e "$debian/bin/busybox" ] && ln -sf "$debian/bin/busybox" /run/programs/busybox
export PATH=/run/programs:$programs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$debian/usr/sbin:$debian/usr/bin:$debian/sbin:$debian/bin
export XTABLES_LIBDIR=$libraries/xtables
modprobe -a -q ipvlan macvlan veth bridge br_netfilter 8021q ip_tables iptable_nat iptable_filter iptable_mangle iptable_raw \
    ip6_tables ip6table_nat ip6table_filter ip6table_mangle ip6table_raw xt_comment xt_conntrack xt_MASQUERADE xt_mark \
    xt_addrtype xt_statistic xt_nfacct nf_conntrack
# kubelet refuses to start when it finds no clock speed, and this kernel prints none.
{ sed '/^$/d' /proc/cpuinfo; printf 'cpu MHz\t\t: 2000.000\n\n'; } > /run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo

echo "$node" > /proc/sys/kernel/hostname
for setting in net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
    net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0; do
    name=${setting%%=*}
    echo "${setting#*=}" > "/proc/sys/${name//.//}"
done
ip -batch "$folder/network"
ip -batch "$folder/rules"
ip -6 -batch "$folder/rules6"

if [ -f "$folder/software" ]; then
    # Its output is a log of its own, so that the console stays readable.
    bash "$folder/software" > "$folder/software.log" 2>&1 < /dev/null &
fi

# A door for the host: each line names a script in the door's folder, which runs beside the others.
stty -echo
echo "testbed: $node is up"
while read -r id; do
    (
        (source "$folder/door/$id") > "$folder/door/$id.out" 2> "$folder/door/$id.err" < /dev/null
        echo $? > "$folder/door/$id.status"
    ) &
done
