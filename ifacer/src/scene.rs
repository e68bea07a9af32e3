//! What a node has of what a request is about.

use std::net::IpAddr;

use netlink::{Error, Link, Rtnetlink};

use crate::request::Request;

/// The node's interfaces, and of those that are to become parts of a bond, what the node would lose with them.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// All interfaces.
    pub links: Vec<Link>,
    /// Their addresses, by the interface's number.
    pub addresses: Vec<(u32, IpAddr)>,
    /// The numbers of those through which a default route leads.
    pub defaults: Vec<u32>,
}

impl Scene {
    /// Asks the kernel; no more than matters to the request.
    pub fn read(netlink: &mut Rtnetlink, request: &Request) -> Result<Self, Error> {
        let mut scene = Self { links: netlink.links()?, ..Self::default() };
        let Some(bond) = &request.bond else { return Ok(scene) };
        let own = scene.link(bond.name.as_str()).map(|link| link.index);
        let links = request.interfaces.iter().filter_map(|name| scene.link(name.as_str()));
        let new: Vec<u32> =
            links.filter(|link| own.is_none() || link.master != own).map(|link| link.index).collect();
        if new.is_empty() {
            return Ok(scene);
        }
        let addresses = netlink.addresses()?.into_iter();
        scene.addresses = addresses.map(|it| (it.device, it.address)).collect();
        for device in new {
            if netlink.routes_of_device(device)?.iter().any(|route| route.to.prefix() == 0) {
                scene.defaults.push(device);
            }
        }
        Ok(scene)
    }

    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of an interface, for messages.
    pub(crate) fn name(&self, index: u32) -> String {
        let found = self.links.iter().find(|link| link.index == index);
        found.map_or_else(|| format!("the interface number {index}"), |link| link.name.clone())
    }
}
