//! CIDRs, out of what people and programs write.

use std::collections::BTreeSet;

use ipnet::IpNet;

/// Items that are quoted in a sentence.
const QUOTED: usize = 5;

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The blocks, in network form.
    pub(super) good: BTreeSet<IpNet>,
    /// The items that are none.
    pub(super) bad: Vec<String>,
}

impl Blocks {
    /// Reads texts, each with any number of blocks and commas or spaces between.
    pub(super) fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut blocks = Self::default();
        let items = texts.into_iter().flat_map(|text| text.split([',', ' ', '\n', '\t']));
        for item in items.filter(|item| !item.is_empty()) {
            match item.parse::<IpNet>() {
                // Everything: a route to it would be the pod's default route.
                Ok(block) if block.prefix_len() > 0 => {
                    blocks.good.insert(block.trunc());
                }
                _ => blocks.bad.push(item.to_owned()),
            }
        }
        blocks
    }

    /// Says what is no block, if anything.
    pub(super) fn complaint(&self) -> Option<String> {
        let (shown, more) = self.bad.split_at(self.bad.len().min(QUOTED));
        let shown: Vec<String> = shown.iter().map(|item| format!("{item:?}")).collect();
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        (!shown.is_empty())
            .then(|| format!("{}{more} left out, not a CIDR that can be routed to", shown.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whatever_stands_between_its_items() {
        let blocks = Blocks::read(["10.96.0.1/12,fd00::/112", " 10.0.0.0/8 10.0.0.0/8\n", ""]);
        let good: Vec<String> = blocks.good.iter().map(ToString::to_string).collect();
        assert_eq!(good, ["10.0.0.0/8", "10.96.0.0/12", "fd00::/112"].map(str::to_owned));
        assert_eq!(blocks.complaint(), None);
    }

    #[test]
    fn what_is_no_block_is_named() {
        let blocks = Blocks::read(["10.0.0.1", "ten/8", "0.0.0.0/0", "::/0", "a", "b", "c", "10.0.0.0/33"]);
        assert!(blocks.good.is_empty());
        let complaint = blocks.complaint().unwrap();
        assert!(complaint.contains("\"10.0.0.1\"") && complaint.contains("and 3 more"), "{complaint}");
    }
}
