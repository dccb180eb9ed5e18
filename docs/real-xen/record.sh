#!/bin/sh
# Runs a guest as the first domain (PV when its name says so, else PVH) of a real Xen, under QEMU's software emulation, and prints a record of its console.
# Usage: record.sh XEN GUEST.elf VCPUS [COMMAND-LINE]
# XEN is the unpacked hypervisor: zcat /boot/xen-4.17-amd64.gz > xen.elf
set -eu
xen=$1 guest=$2 vcpus=$3 cmdline=${4-}
case $guest in *pv64.elf) kind= ;; *) kind=dom0=pvh ;; esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
qemu-system-x86_64 -M q35 -accel tcg -cpu EPYC,+svm,-monitor -device intel-iommu -m 1024 -smp 1 -nographic -no-reboot \
  -kernel "$xen" -initrd "$guest $cmdline" \
  -append "console=com1 com1=115200,8n1 $kind dom0_mem=256M dom0_max_vcpus=$vcpus" < /dev/null > "$log" 2>&1 &
qemu=$!
# Xen halts but leaves QEMU running when the guest has powered off.
n=0
until grep -aq 'Hardware Dom0 \|halting machine\|Panic on CPU' "$log" || [ $n -ge 120 ]; do
  sleep 0.5
  n=$((n + 1))
done
kill $qemu
wait $qemu 2> /dev/null || true
version=$(grep -ao 'Xen version [^)]*)' "$log" | head -n 1)
echo "# $version; $(qemu-system-x86_64 --version | head -n 1)"
echo "# guest: $(basename "$guest" .elf)"
echo "# vcpus: $vcpus"
echo "# cmdline: $cmdline"
tr -d '\r' < "$log" | sed -n '/^---/,$p' | grep -av '^(XEN)\|^qemu' || true
