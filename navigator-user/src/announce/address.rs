//! VIPs held on the ingress interface, so that the kernel answers ARP and NDP for them.
