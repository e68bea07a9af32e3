# Run by a node guest's PID 1: containerd, images, kubelet and kube-proxy.
set -u
source "$folder/settings"
for plugin in $plugins; do cp "$plugin" /opt/cni/bin/; done
cp "$folder"/cni/* /etc/cni/net.d/
containerd -c "$folder/containerd.toml" > "$folder/containerd.log" 2>&1 &
kube-proxy --config "$folder/kube-proxy.yaml" > "$folder/kube-proxy.log" 2>&1 &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.05; done
for image in $images; do ctr -n k8s.io images import "$image"; done
kubelet --config "$folder/kubelet.yaml" --kubeconfig "$folder/kubelet.kubeconfig" --hostname-override "$node" \
    --cert-dir /var/lib/kubelet/pki --node-ip "$addresses" > "$folder/kubelet.log" 2>&1 &
wait
