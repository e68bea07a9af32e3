use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::link::{GET_LINK, IFLA_IFNAME, NEW_LINK, head};
use crate::message::text;
use crate::route::{RTA_OIF, RTA_TABLE};
use crate::socket::{Socket, Want};
use crate::{Address, Change, Error, Family, Link, Neighbour, Netns, Route, Rule, Veth};
use crate::{address, neighbour, route, rule};

/// What came of one change.
#[derive(Debug)]
pub enum Outcome {
    /// It was made.
    Done,
    /// It was so before.
    Already,
    /// The kernel refused.
    Refused(Error),
}

/// The links, addresses, routes, rules and neighbours of one network namespace: that in which it was opened.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
    /// Of the interfaces as they were last listed, for messages.
    names: Vec<(u32, String)>,
    /// How many messages were sent, for those who count.
    sent: u32,
}

impl Rtnetlink {
    /// Opens the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::route()?;
        socket.filter_dumps();
        Ok(Self { socket, names: Vec::new(), sent: 0 })
    }

    /// How many messages it sent: questions and changes.
    #[must_use]
    pub const fn sent(&self) -> u32 {
        self.sent
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.sent += 1;
        let messages = self.socket.ask("list the interfaces", GET_LINK, Want::All, &head(0))?;
        let links: Vec<Link> =
            messages.iter().filter(|it| it.kind == NEW_LINK).filter_map(Link::parse).collect();
        self.names = links.iter().map(|link| (link.index, link.name.clone())).collect();
        Ok(links)
    }

    /// The interface of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut payload = head(0);
        text(&mut payload, IFLA_IFNAME, name);
        self.sent += 1;
        let doing = format!("look up the interface {name}");
        match self.socket.ask(&doing, GET_LINK, Want::One, &payload) {
            Ok(messages) => Ok(messages.first().and_then(Link::parse).inspect(|link| {
                self.names.retain(|(index, _)| *index != link.index);
                self.names.push((link.index, link.name.clone()));
            })),
            Err(error) if error.code() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.sent += 1;
        let messages = self.socket.ask("list the addresses", address::GET_ADDRESS, Want::All, &[0; 8])?;
        Ok(Address::parse_all(&messages))
    }

    /// All unicast routes of all tables through one interface each.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        self.sent += 1;
        let messages = self.socket.ask("list the routes", route::GET_ROUTE, Want::All, &[0; 12])?;
        Ok(Route::parse_all(&messages))
    }

    /// Those of one table: a node may have a hundred thousand in another.
    pub fn routes_of_table(&mut self, table: u32) -> Result<Vec<Route>, Error> {
        let mut routes = self.some_routes(RTA_TABLE, table)?;
        routes.retain(|route| route.table == table);
        Ok(routes)
    }

    /// Those of all tables that lead through one interface.
    pub fn routes_of_device(&mut self, device: u32) -> Result<Vec<Route>, Error> {
        let mut routes = self.some_routes(RTA_OIF, device)?;
        routes.retain(|route| route.device == device);
        Ok(routes)
    }

    /// Those with a number in an attribute; a kernel that does not filter lists all.
    fn some_routes(&mut self, attribute: u16, number: u32) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            self.sent += 1;
            let doing = format!("list some {family} routes");
            let question = route::question(family, attribute, number);
            match self.socket.ask(&doing, route::GET_ROUTE, Want::All, &question) {
                Ok(messages) => routes.extend(Route::parse_all(&messages)),
                // There is no such table yet, or no such family.
                Err(error) if error.code().is_some_and(is_nothing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }

    /// All rules.
    pub fn rules(&mut self) -> Result<Vec<Rule>, Error> {
        self.sent += 1;
        let messages = self.socket.ask("list the rules", rule::GET_RULE, Want::All, &[0; 12])?;
        Ok(Rule::parse_all(&messages))
    }

    /// The permanent neighbours of one interface, or of all.
    pub fn neighbours(&mut self, device: Option<u32>) -> Result<Vec<Neighbour>, Error> {
        self.sent += 1;
        let question = neighbour::question(device);
        let messages =
            self.socket.ask("list the neighbours", neighbour::GET_NEIGHBOUR, Want::All, &question)?;
        let mut neighbours = Neighbour::parse_all(&messages);
        neighbours.retain(|neighbour| device.is_none_or(|device| neighbour.device == device));
        Ok(neighbours)
    }

    /// From which address this namespace sends to another; nothing when it knows no way.
    pub fn source_toward(&mut self, to: IpAddr) -> Result<Option<IpAddr>, Error> {
        self.sent += 1;
        let doing = format!("find the way to {to}");
        match self.socket.ask(&doing, route::GET_ROUTE, Want::One, &route::way_question(to)) {
            Ok(messages) => Ok(route::source_of(&messages)),
            Err(error) if error.code().is_some_and(is_no_way) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lays a cable from here into another namespace. The end here is up; the other is set up from its side.
    pub fn create_veth(&mut self, veth: &Veth, peer: &Netns) -> Result<(), Error> {
        self.sent += 1;
        let doing = format!(
            "create the veth pair {} here and {} in {}",
            veth.name,
            veth.peer_name,
            peer.path().display()
        );
        let outcomes = self.socket.batch(&doing, &[veth.request(peer.as_fd())])?;
        match outcomes.into_iter().next() {
            Some(Err(refusal)) => Err(Error::refused(doing, refusal.errno, refusal.reason)),
            _ => Ok(()),
        }
    }

    /// Removes an interface by its name; whether there was one.
    pub fn remove_link(&mut self, name: &str) -> Result<bool, Error> {
        match self.apply(&[Change::RemoveLink(name.to_owned())])?.pop() {
            Some(Outcome::Refused(error)) => Err(error),
            Some(Outcome::Already) => Ok(false),
            Some(Outcome::Done) | None => Ok(true),
        }
    }

    /// Makes all changes in order, in one call, and tells what came of each. The kernel goes on after a refusal.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Vec<Outcome>, Error> {
        let requests: Vec<_> = changes.iter().map(Change::request).collect();
        self.sent += u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let outcomes = self.socket.batch("change the network", &requests)?;
        let outcomes = changes.iter().zip(outcomes).map(|(change, outcome)| match outcome {
            Ok(()) => Outcome::Done,
            Err(refusal) if change.is_so_already(refusal.errno) => Outcome::Already,
            Err(refusal) => {
                Outcome::Refused(Error::refused(self.describe(change), refusal.errno, refusal.reason))
            }
        });
        Ok(outcomes.collect())
    }

    /// A change in words, with the names of the interfaces as they were last listed.
    #[must_use]
    pub fn describe(&self, change: &Change) -> String {
        change.describe(&|device| {
            let found = self.names.iter().find(|(index, _)| *index == device);
            found.map_or_else(|| format!("number {device}"), |(_, name)| name.clone())
        })
    }
}

fn is_nothing(code: i32) -> bool {
    let code = Errno::from_raw_os_error(code);
    matches!(code, Errno::NOENT | Errno::SRCH | Errno::OPNOTSUPP | Errno::AFNOSUPPORT)
}

fn is_no_way(code: i32) -> bool {
    let kind = io::Error::from_raw_os_error(code).kind();
    matches!(kind, io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable)
        || is_nothing(code)
        || matches!(Errno::from_raw_os_error(code), Errno::INVAL | Errno::ACCESS)
}
