//! Blocking kernel verbs: network namespaces, links, ARP and neighbour discovery frames.
