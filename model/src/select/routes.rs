//! The routes that a pod asks for, and the NICs that they leave through.

use std::net::IpAddr;

use ipnet::IpNet;

/// One item of the annotation `ipam.spidernet.io/routes`; both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRoute {
    /// Where to.
    pub dst: IpNet,
    /// The next hop.
    pub gw: IpAddr,
}

/// Returns, for each NIC, the routes whose next hop lies in one of its subnets, and the routes that no NIC can take. Where
/// several NICs can, the first takes it: two routes to one place would not do.
#[must_use]
pub fn routes_by_nic(
    routes: &[PodRoute],
    nics: &[(String, Vec<IpNet>)],
) -> (Vec<Vec<PodRoute>>, Vec<PodRoute>) {
    let (mut taken, mut left) = (vec![Vec::new(); nics.len()], Vec::new());
    for &route in routes {
        let near = |(_, subnets): &(String, Vec<IpNet>)| subnets.iter().any(|net| net.contains(&route.gw));
        match nics.iter().position(near).and_then(|at| taken.get_mut(at)) {
            Some(own) => own.push(route),
            None => left.push(route),
        }
    }
    (taken, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_leaves_through_the_nic_whose_subnet_holds_its_next_hop() {
        let route = |dst: &str, gw: &str| PodRoute { dst: dst.parse().unwrap(), gw: gw.parse().unwrap() };
        let nics = [
            (
                "eth0".to_owned(),
                vec!["172.31.199.185/20".parse().unwrap(), "2001:db8::5/64".parse().unwrap()],
            ),
            ("net1".to_owned(), vec!["192.168.0.156/24".parse().unwrap()]),
        ];
        let (a, b, c, d) = (
            route("10.0.0.0/8", "192.168.0.253"),
            route("10.1.0.0/16", "172.31.207.1"),
            route("fd00::/8", "2001:db8::1"),
            route("10.2.0.0/16", "10.9.9.9"),
        );
        let (taken, left) = routes_by_nic(&[a, b, c, d], &nics);
        assert_eq!(taken, [vec![b, c], vec![a]]);
        assert_eq!(left, [d]);
    }
}
