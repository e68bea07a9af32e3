//! The judge. It knows what clients were answered and what the API server shows, and none of the product's code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

/// More than this is not written down: the first ones tell.
const MOST: usize = 40;

/// One address on record in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) pool: String,
    pub(crate) address: IpAddr,
    pub(crate) uid: String,
}

/// Who was told to have which address, and whatever must not be and was.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// First and last address of each pool.
    pools: BTreeMap<String, (IpAddr, IpAddr)>,
    /// By the pod's UID.
    holds: BTreeMap<String, Hold>,
    holders: BTreeMap<IpAddr, String>,
    begun: u64,
    ended: u64,
    listings: u64,
    most: usize,
    wrongs: Vec<String>,
}

/// A pod's addresses, from an ADD's answer until just before the DEL is sent.
#[derive(Debug)]
struct Hold {
    number: u64,
    addresses: BTreeSet<IpAddr>,
}

/// Which holds there were at one moment.
#[derive(Debug)]
pub(crate) struct Moment(BTreeMap<String, u64>);

impl Oracle {
    pub(crate) fn pool(&mut self, name: &str, first: IpAddr, last: IpAddr) {
        self.pools.insert(name.to_owned(), (first, last));
    }

    /// A pod was answered these addresses, and had asked for one of each of these choices of pools.
    pub(crate) fn answered(&mut self, uid: &str, wish: &[Vec<String>], addresses: &BTreeSet<IpAddr>) {
        let of = |pools: &Vec<String>| {
            let of = |address: &&IpAddr| pools.iter().any(|pool| self.offers(pool, **address));
            addresses.iter().filter(of).count()
        };
        if addresses.len() != wish.len() || wish.iter().any(|pools| of(pools) != 1) {
            self.wrong(format!("{uid} asked for {wish:?} and was answered {addresses:?}"));
        }
        if let Some(hold) = self.holds.get(uid) {
            if hold.addresses != *addresses {
                let before = hold.addresses.clone();
                self.wrong(format!(
                    "{uid} has {before:?} and was answered {addresses:?} when it asked again"
                ));
            }
            return;
        }
        for address in addresses {
            if let Some(other) = self.holders.insert(*address, uid.to_owned()) {
                self.wrong(format!("{address} was answered to {uid} while {other} has it"));
            }
        }
        self.begun += 1;
        let hold = Hold { number: self.begun, addresses: addresses.clone() };
        self.holds.insert(uid.to_owned(), hold);
        self.most = self.most.max(self.holders.len());
    }

    /// A pod's addresses may be another's from now on: the DEL is about to be sent, or will never be and the pod about to go.
    pub(crate) fn gives_up(&mut self, uid: &str) {
        let Some(hold) = self.holds.remove(uid) else { return };
        self.ended += 1;
        for address in hold.addresses {
            if self.holders.get(&address).is_some_and(|holder| holder == uid) {
                self.holders.remove(&address);
            }
        }
    }

    /// Notes who has what just before the pools are read.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.holds.iter().map(|(uid, hold)| (uid.clone(), hold.number)).collect())
    }

    /// All pools were read after `before`: who has had something since before is on record with exactly that.
    pub(crate) fn listed(&mut self, before: &Moment, pools: &[Value]) {
        self.listings += 1;
        let records = match records(pools) {
            Ok(records) => records,
            Err(why) => return self.wrong(why),
        };
        let mut by_uid: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut pool_of: BTreeMap<IpAddr, &str> = BTreeMap::new();
        let mut wrongs = Vec::new();
        for Record { pool, address, uid } in &records {
            if !self.offers(pool, *address) {
                wrongs.push(format!("{address} is on record in {pool}, which does not offer it"));
            }
            if let Some(other) = pool_of.insert(*address, pool) {
                wrongs.push(format!("{address} is on record in {pool} and in {other}"));
            }
            by_uid.entry(uid).or_default().insert(*address);
        }
        for (uid, hold) in &self.holds {
            if before.0.get(uid) != Some(&hold.number) {
                continue;
            }
            let recorded = by_uid.remove(uid.as_str()).unwrap_or_default();
            if recorded != hold.addresses {
                let answered = &hold.addresses;
                wrongs.push(format!("{uid} was answered {answered:?}, and on record it has {recorded:?}"));
            }
        }
        for wrong in wrongs {
            self.wrong(wrong);
        }
    }

    /// All pods are gone for long enough: nothing may be left, and what began has ended.
    pub(crate) fn at_the_end(&mut self, pools: &[Value], endpoints: &[String]) {
        match records(pools) {
            Ok(left) => left.into_iter().for_each(|Record { pool, address, uid }| {
                self.wrong(format!("leaked: {address} of {pool} is still {uid}'s"));
            }),
            Err(why) => self.wrong(why),
        }
        for endpoint in endpoints {
            self.wrong(format!("leaked: the SpiderEndpoint {endpoint} is still there"));
        }
        if !self.holds.is_empty() || self.begun != self.ended {
            let (begun, ended) = (self.begun, self.ended);
            self.wrong(format!("{begun} pods got addresses and {ended} gave them up"));
        }
    }

    pub(crate) fn wrong(&mut self, wrong: String) {
        if self.wrongs.len() < MOST {
            self.wrongs.push(wrong);
        }
    }

    pub(crate) fn wrongs(&self) -> &[String] {
        &self.wrongs
    }

    /// How many pods had addresses, how many addresses were held at once at most, and how often the pools were read.
    pub(crate) fn extent(&self) -> (u64, usize, u64) {
        (self.begun, self.most, self.listings)
    }

    fn offers(&self, pool: &str, address: IpAddr) -> bool {
        self.pools.get(pool).is_some_and(|(first, last)| *first <= address && address <= *last)
    }
}

/// Reads what pools say of their addresses, and whether their counts agree with it.
pub(crate) fn records(pools: &[Value]) -> Result<Vec<Record>, String> {
    let mut all = Vec::new();
    for pool in pools {
        let name = pool["metadata"]["name"].as_str().ok_or("a pool without name")?;
        let text = pool["status"]["allocatedIPs"].as_str().unwrap_or("{}");
        let text = if text.is_empty() { "{}" } else { text };
        let held: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("{name}: allocatedIPs: {error}: {text}"))?;
        let count = pool["status"]["allocatedIPCount"].as_u64().unwrap_or_default();
        if usize::try_from(count) != Ok(held.len()) {
            return Err(format!("{name} says {count} addresses are held, and lists {}", held.len()));
        }
        for (address, record) in held {
            let address = address.parse().map_err(|error| format!("{name}: {address}: {error}"))?;
            let uid = record["podUid"].as_str().ok_or_else(|| format!("{name}: {address} is nobody's"))?;
            all.push(Record { pool: name.to_owned(), address, uid: uid.to_owned() });
        }
    }
    Ok(all)
}

#[path = "oracle/tests.rs"]
mod tests;
