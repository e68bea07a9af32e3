//! Tables as kubectl prints them: no lines, three blanks between columns.

use std::net::{IpAddr, Ipv6Addr};

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use model::{AddressRange, AddressSet};

/// How many ranges of a pool a person takes in at a glance.
const RANGES: usize = 3;

/// Returns the text of a table; an empty cell is printed as `-`, which scripts can split.
pub(crate) fn text<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a set for people: the first ranges, their common beginning left out of the end, and how many more there are.
pub(crate) fn shortened(set: &AddressSet) -> String {
    let mut parts: Vec<String> = set.ranges().iter().take(RANGES).map(range).collect();
    let more = set.ranges().len().saturating_sub(RANGES);
    if more > 0 {
        parts.push(format!("+{more}"));
    }
    parts.join(",")
}

fn range(range: &AddressRange) -> String {
    let (first, last) = (range.first(), range.last());
    if first == last {
        return first.to_string();
    }
    let end = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first.octets()[..3] == last.octets()[..3] => {
            last.octets()[3].to_string()
        }
        (IpAddr::V6(first), IpAddr::V6(last))
            if plain_end(first) && first.segments()[..7] == last.segments()[..7] =>
        {
            format!("{:x}", last.segments()[7])
        }
        _ => last.to_string(),
    };
    format!("{first}-{end}")
}

/// Whether an address is written with its last group at the end, and not as `::` or with an IPv4 tail.
fn plain_end(address: Ipv6Addr) -> bool {
    let text = address.to_string();
    !text.ends_with("::") && !text.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(items: &[&str]) -> String {
        shortened(&AddressSet::parse(items).unwrap())
    }

    #[test]
    fn ranges_leave_out_what_both_ends_share() {
        assert_eq!(short(&["172.31.199.185-172.31.199.189"]), "172.31.199.185-189");
        assert_eq!(short(&["2001:db8:31:c0ac::185-2001:db8:31:c0ac::187"]), "2001:db8:31:c0ac::185-187");
        assert_eq!(short(&["10.0.0.250-10.0.1.3"]), "10.0.0.250-10.0.1.3");
        assert_eq!(short(&["2001:db8::/126"]), "2001:db8::-2001:db8::3");
        assert_eq!(short(&["10.0.0.7"]), "10.0.0.7");
    }

    #[test]
    fn many_ranges_are_counted() {
        assert_eq!(
            short(&["10.0.0.1", "10.0.0.3", "10.0.0.5", "10.0.0.7", "10.0.0.9"]),
            "10.0.0.1,10.0.0.3,10.0.0.5,+2"
        );
    }

    #[test]
    fn columns_align_without_lines_and_without_blanks_at_the_end() {
        let rows = [["a".to_owned(), String::new()], ["long".to_owned(), "b".to_owned()]];
        assert_eq!(text(["X", "Y"], rows), "X      Y\na      -\nlong   b\n");
    }
}
